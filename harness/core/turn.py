"""Whose turn it is at the delivery lock, and who may interrupt whom. Pure.

The most urgent comes first, then the one whose objective has the least error budget left, then the oldest. Whoever
waits becomes more urgent with time, beyond P0 if it has to: so none waits for all that come after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import inf

from harness.core.events import DeliveryWaits
from harness.core.lifecycle import State
from harness.core.ticket import Ticket

URGENT = frozenset({"P0", "P1"})
"""So urgent a ticket has to be to interrupt another one's verification."""
TURN_S = 30.0
"""A delivery that has not taken the lock for so long, though it was free and its turn, is passed over: nobody works on
it. One that waits asks many times a second, and comes back from a lost worker sooner."""

Delivery = tuple[str, int]
"""Ticket and attempt."""


def open_waits(
    waits: Iterable[tuple[int, DeliveryWaits]], taken: Iterable[tuple[int, Delivery]]
) -> list[DeliveryWaits]:
    """Those that did not have the lock since they began to wait; each with its position in the ledger."""
    last = dict((delivery, position) for position, delivery in taken)
    return [wait for position, wait in waits if last.get((wait.ticket_id, wait.attempt), 0) < position]


def ahead_of(own: DeliveryWaits, waits: Iterable[DeliveryWaits], now: datetime, aging_s: float) -> list[DeliveryWaits]:
    """Those that come before ``own``, first in turn first.

    Whether one of them still waits (it may be cancelled, or with a person) is for the caller to ask.
    """
    others = {(one.ticket_id, one.attempt): one for one in waits if one.ticket_id != own.ticket_id}
    place = turn(own, now, aging_s)
    ahead = [(turn(one, now, aging_s), one) for one in others.values()]
    return [one for its, one in sorted(ahead, key=lambda pair: pair[0]) if its < place]


def in_turn(
    ahead: Iterable[DeliveryWaits], due_since: Mapping[Delivery, datetime], now: datetime
) -> DeliveryWaits | None:
    """The first of those ahead that has not let its turn pass.

    Args:
        due_since: since when the lock has been free and it was the turn of this one, for all that had it so far.
    """
    patience = timedelta(seconds=TURN_S)
    return next((one for one in ahead if now - due_since.get((one.ticket_id, one.attempt), now) < patience), None)


def may_interrupt(priority: str, holder: Ticket) -> bool:
    """Whether a delivery of this priority may take the lock from one that holds it.

    From a verification only, and from a less urgent one: everything of it is done, it just watches. What is taken back
    already has to come to its end.
    """
    return (
        priority in URGENT
        and priority < holder.filed.priority
        and holder.state is State.VERIFYING
        and holder.life.token is not None
        and holder.attempt.way_back is None
    )


def turn(wait: DeliveryWaits, now: datetime, aging_s: float) -> tuple[int, float, str, str]:
    """What decides whose turn it is: the least first.

    Args:
        aging_s: after so many seconds of waiting it counts as one priority more urgent, after twice as many as two.
    """
    waited_s = max(0.0, (now - (wait.since or wait.filed_at)).total_seconds())
    level = int(wait.priority.removeprefix("P")) - int(waited_s // aging_s)
    budget_left = inf if wait.budget_left is None else wait.budget_left
    return level, budget_left, wait.filed_at.isoformat(), wait.ticket_id
