"""Homes with a ledger of plain events and bodies, and what is done to them behind the harness's back. For tests."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid5

from harness.core.chain import Row, seal
from harness.core.record import GENESIS, Head, NewEvent, StreamWrite
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger

NAMES = UUID("9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a116")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LedgerHome:
    """A home under ``root``; another ``name`` gives another ledger, which began at another time."""

    root: Path
    name: str = "ours"

    @property
    def path(self) -> Path:
        return self.root / "ledger.db"

    @property
    def blobs(self) -> Blobs:
        return Blobs(self.root / "blobs")

    def ledger(self) -> Ledger:
        """To be closed by the caller."""
        at = NOON + timedelta(seconds=len(self.name))
        return Ledger.open(self.path, now=lambda: at)

    def append(self, first: int, count: int) -> None:
        """So many events, each with a body of its own, over three streams."""
        with closing(self.ledger()) as ledger:
            for start in range(first, first + count, 500):
                numbers = range(start, min(start + 500, first + count))
                writes = [StreamWrite(f"stream-{k}", None, [self._event(n) for n in numbers[k::3]]) for k in range(3)]
                ledger.append(writes)

    def rows(self) -> list[Row]:
        with closing(self.ledger()) as ledger:
            return list(ledger.rows(up_to=2**62))

    def holds_instead(self, rows: Sequence[Row]) -> None:
        """Somebody puts a ledger of these rows in the place of this one."""
        for path in self.root.glob("ledger.db*"):
            path.unlink()
        with closing(self.ledger()) as ledger:
            ledger.take_over(rows, Head(rows[-1].position, rows[-1].hash) if rows else Head(0, GENESIS))

    def _event(self, number: int) -> NewEvent:
        body = self.blobs.put(f"body {number % 7}".encode())
        return NewEvent(
            id=str(uuid5(NAMES, f"{self.name} {number}")), type="Seen", data={"number": number, "body": body},
            actor="harness", occurred_at=NOON,
        )  # fmt: skip


def written_anew(rows: Sequence[Row], position: int, **columns: object) -> list[Row]:
    """The rows with one event told otherwise, and every hash behind it computed anew: a chain that holds."""
    prev_hash, written = GENESIS, []
    for row in rows:
        changed = row._replace(**columns) if row.position == position else row
        sealed = (*changed[:-2], prev_hash)
        prev_hash = seal(sealed)
        written.append(Row(*sealed, prev_hash))
    return written
