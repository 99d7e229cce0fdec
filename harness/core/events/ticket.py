"""What happens to a ticket beside the work on it and its delivery (stream ``ticket-<id>``). Touches nothing."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from harness.core.events.values import AttemptNumber, BlobRef, Event, FrozenCriterion, Measurement, Person, Value


class TicketFiled(Event):
    """A ticket entered the queue. ``spec`` is the ticket file; ``fingerprint`` names the cause of a signal."""

    schema_version: ClassVar[int] = 2

    ticket_id: str
    """The ticket's id, `INF-4521`."""
    type: Literal["incident", "improvement", "maintenance", "investigation", "reflection"]
    """What kind of work it is."""
    service: str
    """The service that it is about."""
    priority: Literal["P0", "P1", "P2", "P3"]
    """How urgent it is, P0 most."""
    source: Literal["human", "slo", "invariant", "anomaly", "opportunity", "reflection", "agent", "no_data", "alert"]
    """What filed it."""
    spec: BlobRef
    """The ticket file, as JSON."""
    fingerprint: str | None = None
    """Names the cause of the signal; None for tickets without one."""
    signal: str | None = None
    """Kind and name of the signal, ``slo:latency``; None for tickets without one."""
    signal_began_at: datetime | None = None
    """The earliest moment at which the signal's cause can have begun; baselines end before it."""
    recurrence_of: str | None = None
    """The ticket that this cause had before; None where it had none."""


class ParentNamed(Event):
    """The ticket is a part of another, which waits for it. Recorded in the same transaction as its filing."""

    parent: str
    """The ticket that was split."""
    depth: int
    """How many tickets stand above it: 1 for a part of a ticket that is no part itself."""


class TicketAdmitted(Event):
    """Admission let the ticket in; criteria and their baselines are frozen, budgets are set."""

    policy: str
    """Hash of the policies that it was admitted under."""
    criteria: tuple[FrozenCriterion, ...]
    """What it has to meet, fixed from here on."""
    sick: tuple[Measurement, ...]
    """Every declared metric as it is at admission, for people to compare with."""
    attempts_allowed: int
    """How many attempts policy allows; each answer of a person allows one more."""


class TicketRejected(Event):
    """Admission refused the ticket, with every failing rule and how to pass it."""

    reasons: tuple[str, ...]
    """Every rule that it breaks, and how to pass it."""


class TicketMerged(Event):
    """The ticket is a duplicate of another."""

    into: str
    """The ticket that it is a duplicate of."""


class WindowAwaited(Event):
    """A constraint forbids the change now; the ticket waits."""

    constraint: str
    """The constraint's text."""
    until: datetime
    """When it no longer forbids the change."""


class WindowOpened(Event):
    """The constraint no longer stands in the way (or the children are done)."""


class TicketSplit(Event):
    """The ticket waits for child tickets that can be verified by themselves."""

    children: tuple[str, ...]
    """Their ids."""


class ChildEnd(Value):
    """How a part of a ticket ended."""

    ticket_id: str
    """The part."""
    state: Literal["resolved", "rejected", "merged", "cancelled", "reverted"]
    """The end that it came to."""


class ChildrenEnded(Event):
    """Every part of the ticket is at an end; what follows for the ticket is decided next."""

    children: tuple[ChildEnd, ...]
    """Every one with its end, in the order in which they were filed."""


ExitStatus = Literal["asked", "limits", "attempts_used_up", "broken"]


class HelpRequested(Event):
    """A human is called: the agent asks, a limit ended its session, or a stage broke (``exit_status``)."""

    attempt: AttemptNumber
    exit_status: ExitStatus
    """Why a person is called: the agent asked, or (attempt 0) a declaration or admission does, a limit ended its
    session, no attempt is left, or a stage broke."""
    question: BlobRef
    """What the person is asked, as JSON with `question`."""


class ApprovalRequested(Event):
    """A gated step waits for a person's word on this hash."""

    what: str
    """What the word is asked for, with its commit."""
    hash: str
    """Hash of what would be done; another diff has another."""
    why: BlobRef
    """Why it is asked for, and what would follow, as JSON."""


class ApprovalGranted(Event):
    """A person approved exactly this hash."""

    hash: str
    """Hash of what was approved, and of nothing else."""
    by: Person


class ApprovalDenied(Event):
    """A person denied it: back to work with the reason, or the end of the ticket."""

    hash: str
    """Hash of what was denied."""
    by: Person
    why: BlobRef
    """The reason, as JSON with `text`."""
    final: bool
    """Whether the ticket ends; otherwise it goes back to work."""


class AnswerGiven(Event):
    """A human answered; the ticket goes back to work."""

    by: Person
    answer: BlobRef
    """What was said, as JSON with `text`."""


class TakenOver(Event):
    """A human's commit goes on through the stages, in an attempt of its own."""

    by: Person
    commit: str
    """The person's commit."""


class StageStalled(Event):
    """A stage gets no further: what it needs does not answer. It tries on, for as long as policy says, then it ends."""

    attempt: AttemptNumber
    reason: str
    """What does not answer, in words for people."""


class TicketPaused(Event):
    """A human stopped the ticket where it was."""

    by: Person


class TicketResumed(Event):
    """A human let it go on from where it was."""

    by: Person


class TicketCancelled(Event):
    """A human ended the ticket at a safe point, or the harness one of its own that turned out to be no opportunity."""

    by: Person
    why: BlobRef
    """The reason, as JSON with `text`."""


class ConstraintsChanged(Event):
    """A human gave the ticket other constraints, in place of all that it had."""

    by: Person
    constraints: tuple[str, ...]
    """Those that hold from here on, as they are written; none when all were lifted."""
    why: BlobRef
    """The reason, as JSON with `text`."""


class ChangeReverted(Event):
    """A later ticket took this ticket's change back."""

    by_ticket: str
    """The later ticket."""
