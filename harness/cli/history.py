"""Reads the ledger page by page for the commands that fold it. Decides nothing; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from harness.bootstrap import Record
from harness.core.record import Recorded


def rows(record: Record, last_position: int, *, after_position: int = 0) -> Iterator[Recorded]:
    """Every row up to a position, in order; what is recorded meanwhile is left out."""
    position = after_position
    while position < last_position and (page := record.ledger.read_all(after_position=position)):
        yield from (row for row in page if row.position <= last_position)
        position = page[-1].position
