"""Where a cause stands: which ticket it has, if one lives, and since when it has none. Reads the ledger alone.

A signal that was grouped has the ticket of another cause. Whoever ends that ticket closes the other cause and knows
nothing of this one: so what a grouping is worth is read, each time, from the other cause and from the ticket.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from harness.core import events as e
from harness.core.cause import ALIKE, failed, is_repair
from harness.core.ids import cause_stream, signal_stream
from harness.core.lifecycle import State
from harness.core.record import Recorded, StreamWrite
from harness.core.signal import Signal
from harness.core.ticket import Ticket
from harness.journal import HARNESS, Journal, decode, encode, read_ticket
from harness.ports import Ledger


@dataclass(frozen=True, slots=True)
class Standing:
    """A cause as its stream of ``version`` events says.

    ``living``: the ticket that lives for it; ``last``: that one, or the last that did. ``closed_at``: when that ended.
    ``lead``: the other cause, where the ticket is that one's.
    """

    version: int = 0
    living: str | None = None
    last: str | None = None
    closed_at: datetime | None = None
    lead: str | None = None


def standing(ledger: Ledger, cause: str) -> Standing:
    """Where the cause stands now. Its last event says so: in a storm there are as many as were filed, and every filing
    asks."""
    row = _last(ledger, cause)
    if row is None:
        return Standing()
    last, version = decode(row), row.version
    match last:
        case e.SignalGrouped(fingerprint=grouped, ticket_id=ticket_id, lead=lead) if grouped == cause:
            return _grouped(ledger, version, ticket_id, lead)
        case e.CauseClosed(ticket_id=ticket_id):
            return Standing(version, last=ticket_id, closed_at=row.occurred_at)
    assert isinstance(last, e.CauseOpened | e.SignalAttached | e.SignalGrouped)
    return Standing(version, living=last.ticket_id, last=last.ticket_id)


def closed_at(ledger: Ledger, cause: str) -> datetime | None:
    """When the cause's last ticket ended; None while one lives for it, and where it never had one."""
    return standing(ledger, cause).closed_at


def repaired_at(ledger: Ledger, cause: str) -> datetime | None:
    """When a ticket of the cause was last resolved by a change; None where none ever was."""
    closed = (row for row in reversed(ledger.read_stream(cause_stream(cause))) if row.type == e.CauseClosed.__name__)
    return next((row.occurred_at for row in closed if is_repair(read_ticket(ledger, row.data["ticket_id"]))), None)


def _grouped(ledger: Ledger, version: int, ticket_id: str, lead: str) -> Standing:
    ended_at = _closed_at(ledger, lead, ticket_id)
    if ended_at is not None or failed(read_ticket(ledger, ticket_id)):
        return Standing(version, last=ticket_id, closed_at=ended_at, lead=lead)
    return Standing(version, living=ticket_id, last=ticket_id, lead=lead)


def _last(ledger: Ledger, cause: str) -> Recorded | None:
    """The last event of the cause's stream."""
    stream = cause_stream(cause)
    rows = ledger.read_stream(stream, from_version=max(1, ledger.stream_version(stream)))
    return rows[-1] if rows else None


def _closed_at(ledger: Ledger, cause: str, ticket_id: str) -> datetime | None:
    """When the cause's ticket of this id ended; None while it lives."""
    last = _last(ledger, cause)
    if last is None or (last.type != e.CauseClosed.__name__ and last.data["ticket_id"] == ticket_id):
        return None
    rows = ledger.read_stream(cause_stream(cause))
    closed = (row for row in reversed(rows) if row.type == e.CauseClosed.__name__)
    return next((row.occurred_at for row in closed if row.data["ticket_id"] == ticket_id), None)


def unheard(ledger: Ledger, signal: Signal) -> bool:
    """Whether a signal that was seen to fire before, and does in this sample, has no ticket any more and needs one.

    So it is where its ticket was another's, that ended or gave it up; and where its own was resolved before the sample,
    for what burnt until then is not looked at (but what was not measured until then is). Where a person ended its own,
    only the next firing counts.
    """
    now = standing(ledger, signal.fingerprint)
    if signal.kind not in ALIKE or now.last is None or now.living is not None:
        return False
    if now.closed_at is not None and now.closed_at >= signal.sampled_at:
        return False
    resolved = signal.kind != "no_data" and read_ticket(ledger, now.last).state is State.RESOLVED
    return now.lead is not None or resolved


def grouped(ledger: Ledger, ticket: Ticket) -> list[e.SignalGrouped]:
    """Every firing of other signals that was grouped into the ticket, in order."""
    if ticket.filed.fingerprint is None:
        return []
    told = map(decode, ledger.read_stream(cause_stream(ticket.filed.fingerprint)))
    return [event for event in told if isinstance(event, e.SignalGrouped) and event.ticket_id == ticket.id]


def signals(ledger: Ledger, ticket: Ticket) -> set[str]:
    """Kind and name of every signal that the ticket is there for: its own, and those that are grouped into it now."""
    held = {
        event.signal for event in grouped(ledger, ticket)
        if standing(ledger, event.fingerprint).living == ticket.id
    }  # fmt: skip
    return held | ({ticket.filed.signal} if ticket.filed.signal else set())


def data_came_back(ledger: Ledger, ticket_id: str) -> str | None:
    """What names the coming of the data for whose lack the ticket waits for a person: those of every objective that it
    is there for, the last of them.

    None for any other ticket, while data of one are away, and for one that waits for nobody.
    """
    ticket = read_ticket(ledger, ticket_id)
    own = ticket.filed.fingerprint
    if ticket.filed.source != "no_data" or own is None or ticket.state is not State.ESCALATED:
        return None
    causes = {own, *(event.fingerprint for event in grouped(ledger, ticket))}
    last = [told[-1] for one in causes if (told := ledger.read_stream(signal_stream(one)))]
    if any(row.type != e.SignalEnded.__name__ for row in last):
        return None
    return max(last, key=lambda row: row.position).id if last else None


def close_cause(journal: Journal) -> list[StreamWrite]:
    """What is to be written beside the event that ends the ticket; nothing for a ticket without a signal.

    So the next firing opens a new one.
    """
    cause = journal.ticket.filed.fingerprint
    if cause is None:
        return []
    closed = encode(
        journal.key("cause-closed"), e.CauseClosed(fingerprint=cause, ticket_id=journal.ticket_id), clock=journal.clock,
        actor=HARNESS, correlation=journal.ticket_id, cause=None,
    )  # fmt: skip
    return [StreamWrite(cause_stream(cause), None, [closed])]
