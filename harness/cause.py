"""The cause of a signal's ticket: closed with its ticket, so that the next firing opens a new one. Reads the ledger."""

from __future__ import annotations

from datetime import datetime

from harness.core import events as e
from harness.core.ids import cause_stream
from harness.core.record import StreamWrite
from harness.journal import HARNESS, Journal, encode
from harness.ports import Ledger


def closed_at(ledger: Ledger, cause: str) -> datetime | None:
    """When the cause's last ticket ended; None while one lives for it, and where it never had one."""
    rows = ledger.read_stream(cause_stream(cause))
    return rows[-1].occurred_at if rows and rows[-1].type == e.CauseClosed.__name__ else None


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
