"""Whose turn it is at the delivery lock: the most urgent first, then the oldest; and who may interrupt whom. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

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


def ahead_of(own: DeliveryWaits, waits: Iterable[DeliveryWaits]) -> list[DeliveryWaits]:
    """Those that come before ``own``, first in turn first.

    Whether one of them still waits (it may be cancelled, or with a person) is for the caller to ask.
    """
    others = {(one.ticket_id, one.attempt): one for one in waits if one.ticket_id != own.ticket_id}
    return sorted((one for one in others.values() if turn(one) < turn(own)), key=turn)


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


def turn(wait: DeliveryWaits) -> tuple[str, str, str]:
    """What decides whose turn it is: the least first."""
    return wait.priority, wait.filed_at.isoformat(), wait.ticket_id
