"""The delivery lock of a service: one delivery at a time, fenced by a token. Touches only the ledger.

The lock is a stream of the ledger, not a process: it outlives every crash, its expected version decides who gets it,
and the token is the stream's version, so that it rises with every delivery. Who had to wait is in a stream beside it:
whose turn it is says ``harness/core/turn.py``. A verification may be interrupted by a delivery that is more urgent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.core import events as e
from harness.core.errors import VersionConflict
from harness.core.ids import lock_stream, queue_stream, ticket_stream
from harness.core.lifecycle import State
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.turn import URGENT, Delivery, ahead_of, in_turn, may_interrupt, open_waits
from harness.journal import HARNESS, Journal, decode, encode

QUEUE_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """By what a delivery waits its turn.

    ``aging_s``: after so many seconds of waiting a delivery counts as one priority more urgent. ``budget_left``: the
    share of its objective's error budget that is left, where it has one. ``may_deliver``: whether a ticket's
    constraints allow it now. Asked before every look: one that may not stops waiting here, and nobody waits for it. One
    that only has to verify anew may at any time.
    """

    aging_s: float
    budget_left: float | None = None
    may_deliver: Callable[[Journal], bool] = lambda journal: True


async def acquire(journal: Journal, terms: Terms) -> bool:
    """Take the lock for the current attempt, queueing while another delivery holds it or comes first. True when held.

    Raises VersionConflict when somebody else wrote to the ticket: it has to be read anew.
    """
    due_since: dict[Delivery, datetime] = {}
    while journal.ticket.life.token is None:
        if not _may(journal, terms):
            return False
        try:
            first = _take(journal, terms, due_since)
        except VersionConflict as conflict:
            if conflict.stream == ticket_stream(journal.ticket_id):
                raise
            continue  # another delivery was faster, or the one that was to be interrupted went on: look again
        if first is not None:
            _queue(journal, first, terms)
            await journal.clock.sleep(QUEUE_POLL_S)
    return True


def wait_for_hours(journal: Journal, constraint: str, until: datetime, budget_left: float | None) -> None:
    """Queue a delivery that its hours forbid for now. From ``until`` on it has its place among the others, so that of
    several whose hours open together the first in turn is the first to deliver."""
    n, waits = journal.ticket.life.attempt, _new_wait(journal, until, budget_left)
    _say_queued(journal, f"{n}/closed", e.DeliveryQueued(holder=constraint, until=until), waits)


def place(journal: Journal, budget_left: float | None) -> list[StreamWrite]:
    """The place in the queue of a delivery that waits for something else than the lock, for now: to be written beside
    what it waits for. Nothing where it has one."""
    if _recorded_wait(journal, _waits(journal)) is not None:
        return []
    return [_written(journal, _new_wait(journal, journal.clock.now(), budget_left))]


def take_at_once(journal: Journal) -> str | None:
    """Take the lock if it is free, whoever's turn it is; the ticket that holds it when it is not."""
    rows = journal.ledger.read_stream(lock_stream(journal.ticket.filed.service))
    if journal.ticket.life.token is None and (holder := _holder(rows)) is not None:
        return holder.ticket_id
    if journal.ticket.life.token is None:
        _write_taken(journal, len(rows), freed=[], beside=[])
    return None


def release(journal: Journal) -> None:
    """Give the lock back, if this ticket holds it."""
    token = journal.ticket.life.token
    if token is None:
        return
    again, n = _again(journal), journal.ticket.life.attempt
    journal.record(
        f"{n}/unlock{again}",
        e.LockReleased(service=journal.ticket.filed.service, token=token),
        beside=[StreamWrite(lock_stream(journal.ticket.filed.service), token, [_freed(journal)])],
    )


def keep(journal: Journal, reason: str, main: str) -> None:
    """Before a change that is served is taken back: from here on nobody interrupts its delivery.

    ``main`` is where main is now: the way back begins there.
    """
    n = journal.ticket.life.attempt
    journal.once(f"{n}/way-back", e.WayBackBegun, lambda: e.WayBackBegun(attempt=n, reason=reason, main=main))


def _take(journal: Journal, terms: Terms, due_since: dict[Delivery, datetime]) -> str | None:
    """Take the lock, from a verification if it has to be; None when it was taken, else the ticket that is waited for.

    Args:
        due_since: what this waiter saw of others' turns so far.
    """
    rows = journal.ledger.read_stream(lock_stream(journal.ticket.filed.service))
    if (holder := _holder(rows)) is not None:
        due_since.clear()
        priority = journal.ticket.filed.priority
        if priority not in URGENT or not journal.ledger.read_stream(ticket_stream(holder.ticket_id)):
            return holder.ticket_id
        other = _journal(journal, holder.ticket_id)
        if not may_interrupt(priority, other.ticket):
            return holder.ticket_id
        # only those that may interrupt as well: one that has become urgent by waiting alone waits for the lock
        if ahead := [one for one in _ahead(journal, rows, terms) if may_interrupt(one.priority, other.ticket)]:
            return ahead[0].ticket_id
        _interrupt(journal, other, len(rows))
        return None
    now = journal.clock.now()
    first = in_turn(_ahead(journal, rows, terms), due_since, now)
    if first is None:
        _write_taken(journal, len(rows), freed=[], beside=[])
        return None
    due_since.setdefault((first.ticket_id, first.attempt), now)
    return first.ticket_id


def _interrupt(journal: Journal, other: Journal, version: int) -> None:
    """Take the lock from a verification, in one transaction: it is inconclusive, and queues to be done anew."""
    priority, token = journal.ticket.filed.priority, other.ticket.life.token
    assert priority in ("P0", "P1") and token is not None, "the caller has looked"
    n = other.ticket.life.attempt
    event = e.VerificationInterrupted(attempt=n, by=journal.ticket_id, priority=priority, token=token)
    interrupted = _encoded(other, f"{n}/interrupted{_again(other)}", event)
    waited = _recorded_wait(other, _waits(other)) or _new_wait(other, journal.clock.now(), None)
    waits = _encoded(other, f"{n}/waits-again{_again(other)}", waited)
    beside = [
        StreamWrite(ticket_stream(other.ticket_id), other.ticket.version, [interrupted]),
        StreamWrite(queue_stream(journal.ticket.filed.service), None, [waits]),
    ]
    _write_taken(journal, version, freed=[_freed(other)], beside=beside)


def _write_taken(journal: Journal, version: int, *, freed: list[NewEvent], beside: list[StreamWrite]) -> None:
    """The lock taken at this version of its stream, in which what it was taken from is told as freed first.

    So no delivery ever has the number after another's token: with that a canary's traffic is turned off for good.
    """
    again, n, service = _again(journal), journal.ticket.life.attempt, journal.ticket.filed.service
    taken = _encoded(journal, f"{n}/lock-taken{again}", e.LockTaken(ticket_id=journal.ticket_id, attempt=n))
    writes = [StreamWrite(lock_stream(service), version, [*freed, taken]), *beside]
    token = version + len(freed) + 1
    journal.record(f"{n}/lock{again}", e.LockAcquired(service=service, token=token), beside=writes)


def _holder(rows: Sequence[Recorded]) -> e.LockTaken | None:
    last = decode(rows[-1]) if rows else None
    return last if isinstance(last, e.LockTaken) else None


def _ahead(journal: Journal, rows: Sequence[Recorded], terms: Terms) -> list[e.DeliveryWaits]:
    """The deliveries that wait and come before this one."""
    waits, now = _waits(journal), journal.clock.now()
    own = _recorded_wait(journal, waits) or _new_wait(journal, now, terms.budget_left)
    taken = [(row.position, (event.ticket_id, event.attempt)) for row in rows
             if isinstance(event := decode(row), e.LockTaken)]  # fmt: skip
    ahead = ahead_of(own, open_waits(waits, taken), now, terms.aging_s)
    return [one for one in ahead if _still_waits(journal, one, terms)]


def _still_waits(journal: Journal, wait: e.DeliveryWaits, terms: Terms) -> bool:
    """Not when it ended, is paused, or is with a person."""
    other = _journal(journal, wait.ticket_id)
    return (
        other.state is State.QUEUED
        and other.ticket.life.attempt == wait.attempt
        and _may(other, terms)
    )  # fmt: skip


def _may(journal: Journal, terms: Terms) -> bool:
    return journal.ticket.life.interrupted or terms.may_deliver(journal)


def _journal(journal: Journal, ticket_id: str) -> Journal:
    return Journal(ticket_id, ledger=journal.ledger, blobs=journal.blobs, clock=journal.clock)


def _waits(journal: Journal) -> list[tuple[int, e.DeliveryWaits]]:
    """Every wait of the service's queue, with its position in the ledger."""
    queue = journal.ledger.read_stream(queue_stream(journal.ticket.filed.service))
    return [(row.position, event) for row in queue if isinstance(event := decode(row), e.DeliveryWaits)]


def _recorded_wait(journal: Journal, waits: Sequence[tuple[int, e.DeliveryWaits]]) -> e.DeliveryWaits | None:
    """How this delivery first waited: an interruption does not take from it what it has waited already."""
    own = (journal.ticket_id, journal.ticket.life.attempt)
    return next((wait for _, wait in waits if (wait.ticket_id, wait.attempt) == own), None)


def _new_wait(journal: Journal, since: datetime, budget_left: float | None) -> e.DeliveryWaits:
    filed, n = journal.ticket.filed, journal.ticket.life.attempt
    return e.DeliveryWaits(
        ticket_id=journal.ticket_id, attempt=n, priority=filed.priority, filed_at=journal.ticket.filed_at, since=since,
        budget_left=budget_left,
    )  # fmt: skip


def _queue(journal: Journal, first: str, terms: Terms) -> None:
    """Say once that this delivery waits; its hours may have said so before."""
    n = journal.ticket.life.attempt
    if journal.state is not State.QUEUED and journal.recorded(f"{n}/queued", e.DeliveryQueued) is None:
        waits = _new_wait(journal, journal.clock.now(), terms.budget_left)
        _say_queued(journal, f"{n}/queued", e.DeliveryQueued(holder=first), waits)


def _say_queued(journal: Journal, key: str, queued: e.DeliveryQueued, waits: e.DeliveryWaits) -> None:
    """On the ticket and in the queue of its service."""
    journal.record(key, queued, beside=[_written(journal, waits)])


def _written(journal: Journal, waits: e.DeliveryWaits) -> StreamWrite:
    new = _encoded(journal, f"{waits.attempt}/waits", waits)
    return StreamWrite(queue_stream(journal.ticket.filed.service), None, [new])


def _again(journal: Journal) -> str:
    """The end of a key that an attempt may need once more for each time that its verification was interrupted."""
    attempts = journal.ticket.attempts
    times = len(attempts[-1].interruptions) if attempts else 0
    return f"-{times + 1}" if times else ""


def _freed(journal: Journal) -> NewEvent:
    n = journal.ticket.life.attempt
    freed = e.LockFreed(ticket_id=journal.ticket_id, attempt=n)
    return _encoded(journal, f"{n}/lock-freed{_again(journal)}", freed)


def _encoded(journal: Journal, key: str, event: e.Event) -> NewEvent:
    return encode(
        journal.key(key), event, clock=journal.clock, actor=HARNESS, correlation=journal.ticket_id, cause=None
    )
