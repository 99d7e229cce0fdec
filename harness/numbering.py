"""The numbers of new tickets: the lowest that none has. Only reads; whose a number is, its stream decides."""

from __future__ import annotations

from itertools import count, islice

from harness.core.ids import ticket_stream
from harness.ports import Ledger


def next_ids(ledger: Ledger, wanted: int) -> list[str]:
    """So many ids. People choose ids as well, so that counting tickets would not do."""
    taken = set(ledger.streams(ticket_stream("INF-")))
    free = (one for n in count(1) if ticket_stream(one := f"INF-{n}") not in taken)
    return list(islice(free, wanted))


def next_id(ledger: Ledger) -> str:
    """The lowest number that no ticket has."""
    return next_ids(ledger, 1)[0]
