"""Reads a ledger page by page, so that a long one is never whole in memory. Decides nothing; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from harness.core.record import Recorded
from harness.ports import Ledger


def rows(ledger: Ledger, *, up_to: int | None = None, after_position: int = 0) -> Iterator[Recorded]:
    """Every row behind a position, in order, up to another one, which is the head as it is now where none is given."""
    position, last = after_position, ledger.head().position if up_to is None else up_to
    while position < last and (page := ledger.read_all(after_position=position)):
        yield from (row for row in page if row.position <= last)
        position = page[-1].position
