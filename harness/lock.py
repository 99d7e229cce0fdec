"""The delivery lock of a service: one delivery at a time, fenced by a token. Touches only the ledger.

The lock is a stream of the ledger, not a process: it outlives every crash, its expected version decides who gets it,
and the token is the stream's version, so that it rises with every delivery. Who had to wait is in a stream beside it:
the most urgent comes first, then the oldest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.core import events as e
from harness.core.errors import VersionConflict
from harness.core.ids import lock_stream, queue_stream
from harness.core.lifecycle import State
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.turn import ahead_of
from harness.journal import HARNESS, Journal, decode, encode

QUEUE_POLL_S = 0.2


async def acquire(journal: Journal, *, may_deliver: Callable[[Journal], bool] = lambda journal: True) -> bool:
    """Take the lock for the current attempt, queueing while another delivery holds it or comes first. True when held.

    Args:
        may_deliver: whether a ticket's constraints allow it now. Asked before every look: one that may not stops
            waiting here, and nobody waits for it.

    Raises VersionConflict when somebody else wrote to the ticket: it has to be read anew.
    """
    n = journal.ticket.life.attempt
    service = journal.ticket.filed.service
    while journal.ticket.life.token is None:
        if not may_deliver(journal):
            return False
        rows = journal.ledger.read_stream(lock_stream(service))
        last = decode(rows[-1]) if rows else None
        first = last.ticket_id if isinstance(last, e.LockTaken) else _first_in_turn(journal, n, rows, may_deliver)
        if first is not None:
            _queue(journal, n, first)
            await journal.clock.sleep(QUEUE_POLL_S)
            continue
        taken = e.LockTaken(ticket_id=journal.ticket_id, attempt=n)
        try:
            journal.record(
                f"{n}/lock",
                e.LockAcquired(service=service, token=len(rows) + 1),
                beside=[_write(journal, f"{n}/lock-taken", taken, expected=len(rows))],
            )
        except VersionConflict as conflict:
            if conflict.stream != lock_stream(service):
                raise
            continue  # another delivery was faster: look again
    return True


def release(journal: Journal) -> None:
    """Give the lock back, if this ticket holds it."""
    token = journal.ticket.life.token
    if token is None:
        return
    n = journal.ticket.life.attempt
    freed = e.LockFreed(ticket_id=journal.ticket_id, attempt=n)
    journal.record(
        f"{n}/unlock",
        e.LockReleased(service=journal.ticket.filed.service, token=token),
        beside=[_write(journal, f"{n}/lock-freed", freed, expected=token)],
    )


def _first_in_turn(
    journal: Journal, n: int, lock: Sequence[Recorded], may_deliver: Callable[[Journal], bool]
) -> str | None:
    """The ticket that waits and comes before this one; None when it is this one's turn."""
    queue = [decode(row) for row in journal.ledger.read_stream(queue_stream(journal.ticket.filed.service))]
    taken = [event for row in lock if isinstance(event := decode(row), e.LockTaken)]
    ahead = ahead_of(
        _waits(journal, n),
        [event for event in queue if isinstance(event, e.DeliveryWaits)],
        {(event.ticket_id, event.attempt) for event in taken},
    )
    return next((one.ticket_id for one in ahead if _still_waits(journal, one, may_deliver)), None)


def _still_waits(journal: Journal, wait: e.DeliveryWaits, may_deliver: Callable[[Journal], bool]) -> bool:
    other = Journal(wait.ticket_id, ledger=journal.ledger, blobs=journal.blobs, clock=journal.clock)
    return other.state is State.QUEUED and other.ticket.life.attempt == wait.attempt and may_deliver(other)


def _waits(journal: Journal, n: int) -> e.DeliveryWaits:
    filed = journal.ticket.filed
    return e.DeliveryWaits(
        ticket_id=journal.ticket_id, attempt=n, priority=filed.priority, filed_at=journal.ticket.filed_at
    )


def _queue(journal: Journal, n: int, first: str) -> None:
    """Say once that this delivery waits, on the ticket and in the queue; its constraints may have said so before."""
    if journal.state is not State.QUEUED and journal.recorded(f"{n}/queued", e.DeliveryQueued) is None:
        waits = _encoded(journal, f"{n}/waits", _waits(journal, n))
        queue = StreamWrite(queue_stream(journal.ticket.filed.service), None, [waits])
        journal.record(f"{n}/queued", e.DeliveryQueued(holder=first), beside=[queue])


def _write(journal: Journal, key: str, event: e.Event, *, expected: int) -> StreamWrite:
    return StreamWrite(lock_stream(journal.ticket.filed.service), expected, [_encoded(journal, key, event)])


def _encoded(journal: Journal, key: str, event: e.Event) -> NewEvent:
    return encode(
        journal.key(key), event, clock=journal.clock, actor=HARNESS, correlation=journal.ticket_id, cause=None
    )
