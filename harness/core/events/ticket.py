"""What happens to a ticket beside the work on it and its delivery (stream ``ticket-<id>``). Touches nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from harness.core.events.values import BlobRef, Event, FrozenCriterion, Measurement


class TicketFiled(Event):
    """A ticket entered the queue. ``spec`` is the ticket file; ``fingerprint`` names the cause of a signal."""

    ticket_id: str
    type: Literal["incident", "improvement", "maintenance", "investigation", "reflection"]
    service: str
    priority: Literal["P0", "P1", "P2", "P3"]
    source: Literal["human", "slo", "invariant", "anomaly", "opportunity", "reflection", "agent"]
    spec: BlobRef
    fingerprint: str | None = None
    signal: str | None = None
    """Kind and name of the signal, ``slo:latency``; None for tickets without one."""
    signal_began_at: datetime | None = None
    """The earliest moment at which the signal's cause can have begun; baselines end before it."""
    recurrence_of: str | None = None


class TicketAdmitted(Event):
    """Admission let the ticket in; criteria and their baselines are frozen, budgets are set."""

    policy: str
    criteria: tuple[FrozenCriterion, ...]
    sick: tuple[Measurement, ...]
    """Every declared metric as it is at admission, for people to compare with."""
    attempts_allowed: int


class TicketRejected(Event):
    """Admission refused the ticket, with every failing rule and how to pass it."""

    reasons: tuple[str, ...]


class TicketMerged(Event):
    """The ticket is a duplicate of another."""

    into: str


class WindowAwaited(Event):
    """A constraint forbids the change now; the ticket waits."""

    constraint: str
    until: datetime


class WindowOpened(Event):
    """The constraint no longer stands in the way (or the children are done)."""


class TicketSplit(Event):
    """The ticket waits for child tickets that can be verified by themselves."""

    children: tuple[str, ...]


class HelpRequested(Event):
    """A human is called: the agent asks, a limit ended its session, or a stage broke (``exit_status``)."""

    attempt: int
    exit_status: Literal["asked", "limits", "attempts_used_up", "broken"]
    question: BlobRef


class ApprovalRequested(Event):
    """A gated step waits for a person's word on this hash."""

    what: str
    hash: str
    why: BlobRef


class ApprovalGranted(Event):
    """A person approved exactly this hash."""

    hash: str
    by: str


class ApprovalDenied(Event):
    """A person denied it: back to work with the reason, or the end of the ticket."""

    hash: str
    by: str
    why: BlobRef
    final: bool


class AnswerGiven(Event):
    """A human answered; the ticket goes back to work."""

    by: str
    answer: BlobRef


class TakenOver(Event):
    """A human's commit goes on through the stages, in an attempt of its own."""

    by: str
    commit: str


class StageStalled(Event):
    """A stage gets no further: what it needs does not answer. It tries on, for as long as policy says, then it ends."""

    attempt: int
    reason: str


class TicketPaused(Event):
    """A human stopped the ticket where it was."""

    by: str


class TicketResumed(Event):
    """A human let it go on from where it was."""

    by: str


class TicketCancelled(Event):
    """A human ended the ticket at a safe point, or the harness one of its own that turned out to be no opportunity."""

    by: str
    why: BlobRef


class ChangeReverted(Event):
    """A later ticket took this ticket's change back."""

    by_ticket: str
