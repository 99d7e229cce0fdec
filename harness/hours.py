"""When a ticket's constraints let it change something: until when it waits, and a person when its time is over.

Touches only the ledger.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from harness.core import events as e
from harness.core.constraint import Constraint, closed_until, due_at
from harness.core.errors import Invalid
from harness.core.lifecycle import TIMED, State
from harness.core.manifest import Manifest
from harness.journal import Journal


def closed(journal: Journal, manifest: Manifest) -> tuple[Constraint, datetime] | None:
    """The constraint that forbids a change now, and when none does any more; None when none does.

    Raises Invalid when that never comes: they were not filed so, but the service may have other peak hours by now.
    """
    return closed_until(journal.spec().limits(), manifest.peak_hours, journal.clock.now())


def missed(journal: Journal) -> datetime | None:
    """The deadline that is over; None while there is time."""
    due = due_at(journal.spec().limits())
    return due if due is not None and due <= journal.clock.now() else None


def allow(journal: Journal, manifest: Manifest) -> bool:
    """Whether a delivery may begin now. Not where its hours never end: that is told where its own turn comes."""
    try:
        return missed(journal) is None and closed(journal, manifest) is None
    except Invalid:
        return False


def call_if_missed(journal: Journal) -> bool:
    """Call a person when the ticket's deadline is over; whether one was called."""
    due = missed(journal)
    if due is None:
        return False
    n, ticket = journal.ticket.life.attempt, journal.ticket
    question = (
        f"The deadline {due.isoformat(timespec='minutes')} is over and nothing was delivered. It is worked on again "
        "once it has another deadline or none: `harness ticket constrain`. What now?"
    )
    journal.call_person(f"{n}/missed-{len(ticket.words)}", "limits", question, attempt=n)
    return True


def rest_s(journal: Journal, manifest: Manifest) -> float | None:
    """Seconds until a ticket that waits, is queued or needs a person's word has to be looked at; None: not by itself.

    0 where it waits for other hours than those that were recorded: they were changed meanwhile.
    """
    due_s = deadline_s(journal)
    if journal.state is State.AWAITING_APPROVAL:
        return due_s
    now, shut = journal.clock.now(), closed(journal, manifest)
    stale = journal.state is State.WAITING and shut is not None and shut[1] != journal.ticket.waits_until
    if shut is None or stale:
        return 0.0
    open_s = max(0.0, (shut[1] - now) / timedelta(seconds=1))
    return open_s if due_s is None else min(open_s, due_s)


def deadline_s(journal: Journal) -> float | None:
    """Seconds until the ticket's deadline is over, 0 from then on; None where it has none."""
    due = due_at(journal.spec().limits())
    return None if due is None else max(0.0, (due - journal.clock.now()) / timedelta(seconds=1))


def look_again(journal: Journal, manifest: Manifest) -> None:
    """Go on with a ticket whose hours are over, or say until when it waits instead; call a person when it is too late.

    Does nothing to one that is where it was for another reason.
    """
    if journal.state not in TIMED or call_if_missed(journal):
        return
    if journal.state is State.AWAITING_APPROVAL or journal.ticket.waits_until is None:
        return
    shut = closed(journal, manifest)
    if shut is None:
        journal.record("window-opened", e.WindowOpened())
    elif shut[1] != journal.ticket.waits_until:
        awaited = e.WindowAwaited(constraint=shut[0].text, until=shut[1])
        journal.record(f"window/{journal.ticket.version}", awaited)
