"""The ledger and the blobs as the harness opens them: every text passes the door (``core.door``) before it is written.

Decides nothing. Whatever appends or stores does so through these two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.core.door import appended, passed
from harness.core.dropping import Drop
from harness.core.events import BlobRef
from harness.core.record import Recorded, StreamWrite
from harness.core.redaction import Secrets
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger


class GuardedLedger(Ledger):
    """A ledger into which no secret goes."""

    secrets: Secrets

    @classmethod
    def guarded(cls, where: str | Path, *, now: Callable[[], datetime], secrets: Secrets) -> GuardedLedger:
        """Opens the ledger as ``open`` does, behind the door."""
        ledger = cls.open(where, now=now)
        ledger.secrets = secrets
        return ledger

    def append(self, writes: Sequence[StreamWrite]) -> list[Recorded]:
        """Records the writes without their secrets, and what was taken out; gives what ``Ledger.append`` does."""
        return appended(super().append, writes, self.secrets)


class GuardedBlobs(Blobs):
    """Bodies into which no secret goes; what was taken out is told in ``ledger``."""

    def __init__(
        self, folder: Path, *, ledger: Ledger, secrets: Secrets, now: Callable[[], datetime],
        drops: Callable[[BlobRef], Drop | None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(folder, drops=drops)
        self._ledger = ledger
        self._secrets = secrets
        self._now = now

    def put_json(self, value: Any) -> BlobRef:
        """Stores the value without its secrets, as ``Blobs.put_json`` does."""
        clean, ref = self._passed(value)
        return ref or super().put_json(clean)

    def cleaned(self, value: Any) -> Any:
        """The value as it is stored, without its secrets; one that held any is stored."""
        return self._passed(value)[0]

    def _passed(self, value: Any) -> tuple[Any, BlobRef | None]:
        return passed(value, self._secrets, put=super().put_json, append=self._ledger.append, now=self._now)
