"""Which violated invariant blocks a ticket's delivery now, by the signals on record. Reads and writes only the ledger.

New deliveries alone: one that has the lock goes on, and its own gates look at every invariant. Incidents and reverts
are the way back to health, and are never blocked.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import events as e
from harness.core.ids import fingerprint, signal_stream
from harness.core.invariant import Invariant, to_hold_again
from harness.core.lifecycle import State
from harness.journal import Journal
from harness.lock import place

LOOK_AGAIN_S = 900.0
"""Whoever waits is woken when a signal ends; this is for a wake that got lost."""


def blocked(journal: Journal, invariants: Sequence[Invariant]) -> e.DeliveryBlocked | None:
    """What stands in the way of a delivery that has not begun; None when nothing does."""
    filed = journal.ticket.filed
    blocking = [one for one in invariants if one.on_violation == "block_deploys"]
    if not blocking or filed.type == "incident" or journal.spec().reverts is not None:
        return None
    for invariant in blocking:
        rows = journal.ledger.read_stream(signal_stream(fingerprint("invariant", filed.service, invariant.name)))
        if rows and rows[-1].type == e.SignalStarted.__name__:
            text = invariant.condition.condition.text
            return e.DeliveryBlocked(
                invariant=invariant.name, condition=f"{invariant.metric} {text}", since=rows[-1].occurred_at
            )
    return None


def hold_back(journal: Journal, invariants: Sequence[Invariant], budget_left: float | None) -> bool:
    """Say what the delivery waits for, once for each that it meets; whether anything blocks it.

    With the first it has its place in the queue: of several that one invariant blocks, the first in turn is the first
    to deliver when that holds again.
    """
    block = blocked(journal, invariants)
    if block is None:
        return False
    if not _told(journal, block):
        n = journal.ticket.attempt.n
        journal.record(f"{n}/blocked/{journal.ticket.version}", block, beside=place(journal, budget_left))
    return True


def rest_s(journal: Journal, invariants: Sequence[Invariant]) -> float | None:
    """Seconds until a queued delivery has to be looked at again because of this; None where nothing blocks it."""
    block = blocked(journal, invariants)
    if block is None:
        return None
    return LOOK_AGAIN_S if _told(journal, block) else 0.0


def _told(journal: Journal, block: e.DeliveryBlocked) -> bool:
    told = to_hold_again(block.invariant, block.condition)
    return journal.state is State.QUEUED and journal.ticket.waits_for == told
