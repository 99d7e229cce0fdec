"""The cause of a signal's ticket: closed with its ticket, so that the next firing opens a new one. Touches nothing."""

from __future__ import annotations

from harness.core import events as e
from harness.core.ids import cause_stream
from harness.core.record import StreamWrite
from harness.journal import HARNESS, Journal, encode


def close_cause(journal: Journal) -> list[StreamWrite]:
    """What is to be written beside the event that ends the ticket; nothing for a ticket without a signal."""
    cause = journal.ticket.filed.fingerprint
    if cause is None:
        return []
    closed = encode(
        journal.key("cause-closed"), e.CauseClosed(fingerprint=cause, ticket_id=journal.ticket_id), clock=journal.clock,
        actor=HARNESS, correlation=journal.ticket_id, cause=None,
    )  # fmt: skip
    return [StreamWrite(cause_stream(cause), None, [closed])]
