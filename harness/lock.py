"""The delivery lock of a service: one delivery at a time, fenced by a token. Touches only the ledger.

The lock is a stream of the ledger, not a process: it outlives every crash, its expected version decides who gets it,
and the token is the stream's version, so that it rises with every delivery. Who had to wait is in a stream beside it:
the most urgent comes first, then the oldest. A verification may be interrupted by a delivery that is more urgent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from harness.core import events as e
from harness.core.errors import VersionConflict
from harness.core.ids import lock_stream, queue_stream, ticket_stream
from harness.core.lifecycle import State
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.turn import URGENT, Delivery, ahead_of, in_turn, may_interrupt, open_waits
from harness.journal import HARNESS, Journal, decode, encode

QUEUE_POLL_S = 0.2

MayDeliver = Callable[[Journal], bool]


async def acquire(journal: Journal, *, may_deliver: MayDeliver = lambda journal: True) -> bool:
    """Take the lock for the current attempt, queueing while another delivery holds it or comes first. True when held.

    Args:
        may_deliver: whether a ticket's constraints allow it now. Asked before every look: one that may not stops
            waiting here, and nobody waits for it. One that only has to verify anew may at any time.

    Raises VersionConflict when somebody else wrote to the ticket: it has to be read anew.
    """
    due_since: dict[Delivery, datetime] = {}
    while journal.ticket.life.token is None:
        if not _may(journal, may_deliver):
            return False
        try:
            first = _take(journal, may_deliver, due_since)
        except VersionConflict as conflict:
            if conflict.stream == ticket_stream(journal.ticket_id):
                raise
            continue  # another delivery was faster, or the one that was to be interrupted went on: look again
        if first is not None:
            _queue(journal, first)
            await journal.clock.sleep(QUEUE_POLL_S)
    return True


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


def _take(journal: Journal, may_deliver: MayDeliver, due_since: dict[Delivery, datetime]) -> str | None:
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
        if ahead := _ahead(journal, rows, may_deliver):
            return ahead[0].ticket_id
        _interrupt(journal, other, len(rows))
        return None
    now = journal.clock.now()
    first = in_turn(_ahead(journal, rows, may_deliver), due_since, now)
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
    waits = _encoded(other, f"{n}/waits-again{_again(other)}", _waits(other))
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


def _ahead(journal: Journal, rows: Sequence[Recorded], may_deliver: MayDeliver) -> list[e.DeliveryWaits]:
    """The deliveries that wait and come before this one."""
    queue = journal.ledger.read_stream(queue_stream(journal.ticket.filed.service))
    waits = [(row.position, event) for row in queue if isinstance(event := decode(row), e.DeliveryWaits)]
    taken = [(row.position, (event.ticket_id, event.attempt)) for row in rows
             if isinstance(event := decode(row), e.LockTaken)]  # fmt: skip
    ahead = ahead_of(_waits(journal), open_waits(waits, taken))
    return [one for one in ahead if _still_waits(journal, one, may_deliver)]


def _still_waits(journal: Journal, wait: e.DeliveryWaits, may_deliver: MayDeliver) -> bool:
    """Not when it ended, is paused, or is with a person."""
    other = _journal(journal, wait.ticket_id)
    return (
        other.state is State.QUEUED
        and other.ticket.life.attempt == wait.attempt
        and _may(other, may_deliver)
    )  # fmt: skip


def _may(journal: Journal, may_deliver: MayDeliver) -> bool:
    return journal.ticket.life.interrupted or may_deliver(journal)


def _journal(journal: Journal, ticket_id: str) -> Journal:
    return Journal(ticket_id, ledger=journal.ledger, blobs=journal.blobs, clock=journal.clock)


def _waits(journal: Journal) -> e.DeliveryWaits:
    filed, n = journal.ticket.filed, journal.ticket.life.attempt
    return e.DeliveryWaits(
        ticket_id=journal.ticket_id, attempt=n, priority=filed.priority, filed_at=journal.ticket.filed_at
    )


def _queue(journal: Journal, first: str) -> None:
    """Say once that this delivery waits, on the ticket and in the queue; its constraints may have said so before."""
    n = journal.ticket.life.attempt
    if journal.state is not State.QUEUED and journal.recorded(f"{n}/queued", e.DeliveryQueued) is None:
        waits = _encoded(journal, f"{n}/waits", _waits(journal))
        queue = StreamWrite(queue_stream(journal.ticket.filed.service), None, [waits])
        journal.record(f"{n}/queued", e.DeliveryQueued(holder=first), beside=[queue])


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
