"""The delivery lock of a service: one delivery at a time, fenced by a token. Touches only the ledger.

The lock is a stream of the ledger, not a process: it outlives every crash, its expected version decides who gets it,
and the token is the stream's version, so that it rises with every delivery.
"""

from __future__ import annotations

from harness.core import events as e
from harness.core.errors import VersionConflict
from harness.core.ids import lock_stream
from harness.core.record import StreamWrite
from harness.journal import HARNESS, Journal, decode, encode

QUEUE_POLL_S = 0.2


async def acquire(journal: Journal) -> None:
    """Take the lock for the current attempt, queueing while another delivery holds it.

    Raises VersionConflict when somebody else wrote to the ticket: it has to be read anew.
    """
    n = journal.ticket.life.attempt
    service = journal.ticket.filed.service
    while journal.ticket.life.token is None:
        rows = journal.ledger.read_stream(lock_stream(service))
        last = decode(rows[-1]) if rows else None
        if isinstance(last, e.LockTaken):
            _queue(journal, n, last.ticket_id)
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


def _queue(journal: Journal, n: int, holder: str) -> None:
    journal.once(f"{n}/queued", e.DeliveryQueued, lambda: e.DeliveryQueued(holder=holder))


def _write(journal: Journal, key: str, event: e.Event, *, expected: int) -> StreamWrite:
    new = encode(journal.key(key), event, clock=journal.clock, actor=HARNESS, correlation=journal.ticket_id, cause=None)
    return StreamWrite(lock_stream(journal.ticket.filed.service), expected, [new])
