"""A ticket as its events tell it. Pure folds; touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from harness.core import events as e
from harness.core.errors import Invalid
from harness.core.invariant import to_hold_again
from harness.core.lifecycle import ENDS, Life, State, evolve

UNMEASURED = ("insufficient", "query_failed", "no_data")
"""How the reason of a canary or a verification begins that had too little to judge by."""


def way_back_question(reason: str) -> str:
    """What a person is asked whose ticket escalated as its way back failed."""
    return (
        f"The way back failed and the service stays locked: {reason}. Mend that, then answer or cancel: both try the "
        "way back again first. What should be done after that?"
    )


Step = e.ActionTaken | e.ObservationRecorded
"""One half of a step of the agent: what it did, or what came of it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The stage that an attempt did not get through, the reason, and whether that speaks against its change."""

    stage: str
    reason: str
    disproved: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: the agent's session, and how far its change came."""

    n: int
    agent: str
    base: str
    runbook: str | None
    started_at: datetime
    briefing: e.BlobRef | None = None
    steps: tuple[Step, ...] = ()
    change: e.ChangeProposed | None = None
    split: e.TicketSplit | None = None
    """Its ticket was split while it was under way, and it goes on with the verification once the parts have ended."""
    nothing: e.NothingToChange | None = None
    nothing_at: datetime | None = None
    """When it was found that there is nothing to change: the verification's window begins there."""
    checks: e.ChecksPassed | e.ChecksFailed | None = None
    start: e.StartMeasured | None = None
    """The service right before this attempt touched it."""
    canary_started: e.CanaryStarted | None = None
    canary_steps: tuple[e.CanaryStepped, ...] = ()
    looks: tuple[e.CanaryLooked, ...] = ()
    canary: e.CanaryPassed | e.CanaryFailed | None = None
    units: tuple[e.OperationStepped, ...] = ()
    """What an operation has done so far, without the way back."""
    main_moved: e.MainMoved | None = None
    swaps: tuple[e.NodeSwapped, ...] = ()
    deploy: e.ReleaseDeployed | e.DeployFailed | None = None
    deployed_at: datetime | None = None
    interruptions: tuple[e.VerificationInterrupted, ...] = ()
    verified_from: datetime | None = None
    """When it had the lock again after its verification was interrupted: the new window begins there."""
    way_back: e.WayBackBegun | None = None
    verification: e.CriteriaMet | e.CriteriaNotMet | None = None
    rolled_back: e.RolledBack | None = None
    help: e.HelpRequested | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing came of it so far."""
        return self.change is None and self.nothing is None and self.help is None and self.verification is None

    @property
    def operation(self) -> e.Operation | None:
        """The action of the catalog that is this attempt's change; None for commits."""
        return self.change.operation if self.change else None

    @property
    def failure(self) -> Failure | None:
        """What stopped it; None while it is under way or succeeded.

        A change is disproved by tests, by a canary that was measured, by criteria that were. It is not where main moved
        under it, a node broke, an invariant did, or nobody could measure: it may be right, and is worth another try.
        """
        match (self.checks, self.canary, self.deploy, self.verification):
            case (_, _, _, e.CriteriaNotMet(reason=reason, kept=kept)):
                return Failure("verify", reason, disproved=not kept and not reason.startswith(UNMEASURED))
            case (_, _, e.DeployFailed(reason=reason), _):
                return Failure("deploy", reason, disproved=False)
            case (_, e.CanaryFailed(reason=reason), _, _):
                return Failure("canary", reason, disproved=not reason.startswith((*UNMEASURED, "baseline", "gate")))
            case (e.ChecksFailed(reason=reason, tree=tree), _, _, _):
                return Failure("test", reason, disproved=tree is not None)
        return None


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the events of a ticket say, folded in order."""

    id: str
    filed: e.TicketFiled
    filed_at: datetime
    life: Life = Life()
    admitted: e.TicketAdmitted | None = None
    rejected: e.TicketRejected | None = None
    parent: str | None = None
    """The ticket that it is a part of."""
    depth: int = 0
    """How many tickets stand above it."""
    children: tuple[str, ...] = ()
    """Its parts, in the order in which they were filed."""
    ended: e.ChildrenEnded | None = None
    """How they ended, until something followed from it."""
    answers: tuple[e.AnswerGiven, ...] = ()
    taken_over: e.TakenOver | None = None
    """The commit by which a person took it over, unless an answer gave it back to the agent since."""
    words: tuple[int, ...] = ()
    """For every answer and every taking over: after how many attempts it was said."""
    question: str | None = None
    """Reference of what a person was asked last."""
    way_back_failed: str | None = None
    """Why, where that is what a person is asked about."""
    asked: e.ApprovalRequested | None = None
    """The last change that a person's word was asked for."""
    granted: tuple[e.ApprovalGranted, ...] = ()
    denied: tuple[e.ApprovalDenied, ...] = ()
    waits_until: datetime | None = None
    """When the window opens that the ticket, or its delivery, waits for."""
    waits_for: str | None = None
    """The constraint that has it wait until then, or the invariant that blocks it."""
    constraints: tuple[str, ...] | None = None
    """Those that a person gave it in place of the file's; None where nobody did."""
    stalled_at: datetime | None = None
    """Since when its stage gets no further; None while it does."""
    attempts: tuple[Attempt, ...] = ()
    closed_at: datetime | None = None
    version: int = 0
    """Version of the ticket's stream: what the next append expects."""
    recorded: Mapping[str, e.Event] = field(default_factory=lambda: MappingProxyType({}))
    """Event id → event: how a retried effect finds that it was done."""

    @property
    def state(self) -> State:
        """Where the ticket is."""
        return self.life.state

    @property
    def attempt(self) -> Attempt:
        """The attempt under way (or the last one)."""
        return self.attempts[-1]

    @property
    def attempts_allowed(self) -> int:
        """Those that admission allowed, and one more for each answer or commit of a person: it is to be tried."""
        return (self.admitted.attempts_allowed if self.admitted else 0) + len(self.words)


def fold(history: Iterable[tuple[str, datetime, e.Event]]) -> Ticket | None:
    """The ticket of a stream's (event id, time, event), in order; None for an empty stream.

    The same as ``apply`` for every event. But what grows as long as an agent works is gathered here first: a ticket
    never changes, so each event would cost a copy of all before it.
    """
    ticket: Ticket | None = None
    recorded: dict[str, e.Event] = {}
    steps: list[Step] = []
    for identity, at, event in history:
        if isinstance(event, e.AttemptStarted) and ticket is not None:
            ticket, steps = _with_steps(ticket, steps), []
        ticket = _moved(ticket, at, event)
        recorded[identity] = event
        if isinstance(event, Step):
            steps.append(event)
    return ticket and replace(_with_steps(ticket, steps), recorded=MappingProxyType(recorded))


def apply(ticket: Ticket | None, identity: str, at: datetime, event: e.Event) -> Ticket:
    """The ticket after one more event. Raises Forbidden when the life of a ticket has no such step."""
    after = _with_steps(_moved(ticket, at, event), [event] if isinstance(event, Step) else [])
    return replace(after, recorded=MappingProxyType({**after.recorded, identity: event}))


def _with_steps(ticket: Ticket, more: list[Step]) -> Ticket:
    if not more or not ticket.attempts:
        return ticket
    attempt = ticket.attempts[-1]
    return replace(ticket, attempts=(*ticket.attempts[:-1], replace(attempt, steps=(*attempt.steps, *more))))


def _moved(ticket: Ticket | None, at: datetime, event: e.Event) -> Ticket:
    """The ticket after the event, but without the event itself among what is recorded and among the steps."""
    if ticket is None:
        if not isinstance(event, e.TicketFiled):
            raise Invalid(f"a ticket's stream begins with TicketFiled, not with {type(event).__name__}")
        return Ticket(event.ticket_id, event, at, version=1)
    life = evolve(ticket.life, event)
    changed: dict[str, Any] = {"stalled_at": (ticket.stalled_at or at) if isinstance(event, e.StageStalled) else None}
    if isinstance(event, e.HelpRequested):
        changed["question"] = event.question
    if isinstance(event, e.RollbackFailed | e.RolledBack | e.HelpRequested):
        changed["way_back_failed"] = event.reason if isinstance(event, e.RollbackFailed) else None
    if isinstance(event, e.TicketSplit | e.NothingToChange | e.HelpRequested):
        changed["ended"] = None
    match event:
        case e.ParentNamed():
            changed |= {"parent": event.parent, "depth": event.depth}
        case e.TicketAdmitted():
            changed["admitted"] = event
        case e.TicketSplit():
            changed |= {"children": tuple(dict.fromkeys((*ticket.children, *event.children)))}
            changed |= {"waits_until": None, "waits_for": None}
            if ticket.attempts and ticket.attempts[-1].is_open:
                changed["attempts"] = (*ticket.attempts[:-1], replace(ticket.attempts[-1], split=event))
        case e.ChildrenEnded():
            changed["ended"] = event
        case e.TicketRejected():
            changed["rejected"] = event
        case e.AnswerGiven():
            changed |= {"answers": (*ticket.answers, event), "taken_over": None}
            changed["words"] = (*ticket.words, len(ticket.attempts))
        case e.TakenOver():
            changed |= {"taken_over": event, "words": (*ticket.words, len(ticket.attempts))}
        case e.ApprovalRequested():
            changed["asked"] = event
        case e.ApprovalGranted():
            changed["granted"] = (*ticket.granted, event)
        case e.ApprovalDenied():
            changed["denied"] = (*ticket.denied, event)
        case e.WindowAwaited():
            changed |= {"waits_until": event.until, "waits_for": event.constraint}
        case e.DeliveryQueued():
            changed |= {"waits_until": event.until, "waits_for": event.holder if event.until else None}
        case e.DeliveryBlocked():
            changed |= {"waits_until": None, "waits_for": to_hold_again(event.invariant, event.condition)}
        case e.ConstraintsChanged():
            changed["constraints"] = event.constraints
        case e.AttemptStarted():
            changed["attempts"] = (*ticket.attempts, _begun(event, at))
        case _ if ticket.attempts and not isinstance(event, Step):
            changed["attempts"] = (*ticket.attempts[:-1], _attempt(ticket.attempts[-1], at, event))
    if life.state in ENDS and ticket.closed_at is None:
        changed["closed_at"] = at
    return replace(ticket, life=life, version=ticket.version + 1, **changed)


def _begun(event: e.AttemptStarted, at: datetime) -> Attempt:
    return Attempt(event.attempt, event.agent, event.base, event.runbook, at, event.briefing)


def _attempt(attempt: Attempt, at: datetime, event: e.Event) -> Attempt:
    match event:
        case e.ChangeProposed():
            return replace(attempt, change=event)
        case e.NothingToChange():
            return replace(attempt, nothing=event, nothing_at=at)
        case e.ChecksPassed() | e.ChecksFailed():
            return replace(attempt, checks=event)
        case e.StartMeasured():
            return replace(attempt, start=event)
        case e.CanaryStarted():
            return replace(attempt, canary_started=event)
        case e.CanaryStepped():
            return replace(attempt, canary_steps=(*attempt.canary_steps, event))
        case e.CanaryLooked():
            return replace(attempt, looks=(*attempt.looks, event))
        case e.CanaryPassed() | e.CanaryFailed():
            return replace(attempt, canary=event)
        case e.OperationStepped() if not event.back:
            return replace(attempt, units=(*attempt.units, event))
        case e.MainMoved() if attempt.main_moved is None:
            return replace(attempt, main_moved=event)
        case e.NodeSwapped():
            return replace(attempt, swaps=(*attempt.swaps, event))
        case e.ReleaseDeployed() | e.DeployFailed():
            return replace(attempt, deploy=event, deployed_at=at)
        case e.VerificationInterrupted():
            return replace(attempt, interruptions=(*attempt.interruptions, event))
        case e.LockAcquired() if attempt.interruptions:
            return replace(attempt, verified_from=at)
        case e.WayBackBegun():
            return replace(attempt, way_back=event)
        case e.CriteriaMet() | e.CriteriaNotMet():
            return replace(attempt, verification=event)
        case e.RolledBack():
            return replace(attempt, rolled_back=event)
        case e.HelpRequested():
            return replace(attempt, help=event)
    return attempt
