"""The ledger and the blobs in memory: the oracle the real ones are compared with. Keeps nothing past its process.

The guarded ones are what the harness is given, as of the real ones: every text passes the door.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from harness.core.blob import digest, json_value, reference
from harness.core.canonical import canonical_bytes
from harness.core.chain import Row, Walk, first_result, linked, opened
from harness.core.door import appended, passed
from harness.core.errors import Broken, Invalid, VersionConflict
from harness.core.events import BlobRef
from harness.core.projections.in_memory import InMemory
from harness.core.record import (
    GENESIS,
    Head,
    Kept,
    Projected,
    Recorded,
    StreamWrite,
    Told,
    Verification,
    checked_limit,
    drafted,
)
from harness.core.redaction import Secrets


class MemoryLedger:
    """A list of rows, all looked at for every question. Promises what ``ledger.store.Ledger`` does."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._rows: list[Row] = []
        self._checkpoints: dict[str, int] = {}
        self._changed = threading.Condition()
        self._projections = InMemory()

    def close(self) -> None:
        """Nothing to give back; the events stay until the object goes."""

    def append(self, writes: Sequence[StreamWrite]) -> list[Recorded]:
        drafts = drafted(writes)
        with self._changed:
            rows = first_result(drafts, {row.id: row for row in self._rows})
            if rows is None:
                versions = Counter(row.stream for row in self._rows)
                for write in writes:
                    if write.expected_version not in (None, versions[write.stream]):
                        raise VersionConflict(
                            stream=write.stream, expected=write.expected_version, actual=versions[write.stream]
                        )
                rows = linked(drafts, head=self.head(), versions=versions, recorded_at=self._now())
                self._rows.extend(rows)
                self._changed.notify_all()
        return [opened(row) for row in rows]

    def read_stream(self, stream: str, *, from_version: int = 1) -> list[Recorded]:
        return [opened(row) for row in self._rows if row.stream == stream and row.version >= from_version]

    def read_all(self, *, after_position: int = 0, limit: int = 1_000) -> list[Recorded]:
        return [opened(row) for row in self._rows if row.position > after_position][: checked_limit(limit)]

    def stored(self, *, after_position: int, limit: int) -> list[Row]:
        return [row for row in self._rows if row.position > after_position][: checked_limit(limit)]

    def replay(self, *, after_position: int, limit: int) -> list[Told]:
        rows = [row for row in self._rows if row.position > after_position]
        return [Told(*(getattr(row, name) for name in Told._fields)) for row in rows[: checked_limit(limit)]]

    def find(self, id: str) -> Recorded | None:
        return next((opened(row) for row in self._rows if row.id == id), None)

    def head(self) -> Head:
        return Head(self._rows[-1].position, self._rows[-1].hash) if self._rows else Head(0, GENESIS)

    def stream_version(self, stream: str) -> int:
        return sum(row.stream == stream for row in self._rows)

    def streams(self, prefix: str = "") -> list[str]:
        return sorted({row.stream for row in self._rows if row.stream.startswith(prefix)})

    def wait_past(self, position: int, *, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.head().position > position, timeout=timeout_s)

    def checkpoint(self, name: str) -> int:
        return self._checkpoints.get(name, 0)

    def save_checkpoint(self, name: str, position: int) -> None:
        last = self.head().position
        if not 0 <= position <= last:
            raise Invalid(f"position: {position} of checkpoint {name!r} is not from 0 to the last event's, {last}")
        self._checkpoints[name] = position

    def projected(self, names: Collection[str], keys: Collection[str] | None = None) -> dict[str, Kept]:
        return self._projections.projected(names, keys)

    def project(self, steps: Sequence[Projected]) -> bool:
        with self._changed:
            return self._projections.project(steps)

    def verify(self) -> Verification:
        walk = Walk()
        for row in self._rows:
            fault = walk.step(row)
            if fault is not None:
                return fault
        return walk.held()


class MemoryBlobs:
    """A dictionary of bodies by reference. Promises what ``ledger.blobs.Blobs`` does."""

    def __init__(self) -> None:
        self._bodies: dict[BlobRef, bytes] = {}

    def put(self, body: bytes) -> BlobRef:
        ref = reference(body)
        self._bodies[ref] = bytes(body)
        return ref

    def get(self, ref: BlobRef) -> bytes:
        digest(ref)
        if ref not in self._bodies:
            raise Broken(f"blob {ref} is missing from memory; it was never put")
        return self._bodies[ref]

    def put_json(self, value: Any) -> BlobRef:
        return self.put(canonical_bytes(value))

    def get_json(self, ref: BlobRef) -> Any:
        return json_value(self.get(ref), ref)


class GuardedMemoryLedger(MemoryLedger):
    """Promises what ``ledger.door.GuardedLedger`` does."""

    def __init__(self, *, now: Callable[[], datetime], secrets: Secrets) -> None:
        super().__init__(now=now)
        self.secrets = secrets

    def append(self, writes: Sequence[StreamWrite]) -> list[Recorded]:
        return appended(super().append, writes, self.secrets)


class GuardedMemoryBlobs(MemoryBlobs):
    """Promises what ``ledger.door.GuardedBlobs`` does."""

    def __init__(self, *, ledger: MemoryLedger, secrets: Secrets, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._ledger, self._secrets, self._now = ledger, secrets, now

    def put_json(self, value: Any) -> BlobRef:
        clean, ref = self._passed(value)
        return ref or super().put_json(clean)

    def cleaned(self, value: Any) -> Any:
        return self._passed(value)[0]

    def _passed(self, value: Any) -> tuple[Any, BlobRef | None]:
        return passed(value, self._secrets, put=super().put_json, append=self._ledger.append, now=self._now)
