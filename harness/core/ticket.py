"""A ticket: the file that people and alerts write, and what its events say of it. Pure folds; touches nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from harness.core import events as e
from harness.core.criteria import CriterionSpec
from harness.core.declaration import Declaration
from harness.core.errors import Invalid
from harness.core.lifecycle import ENDS, Life, State, evolve


class Objective(Declaration):
    """What the ticket wants, in a sentence."""

    description: str = Field(min_length=1, max_length=2000)


class Criterion(Declaration):
    """An acceptance criterion as written: ``slow_share``, ``< 10%``, ``for 10s``."""

    metric: str
    condition: str
    duration: str

    def spec(self) -> CriterionSpec:
        """The parsed form; raises Invalid naming what was not understood."""
        return CriterionSpec.parse(metric=self.metric, condition=self.condition, duration=self.duration)


class Context(Declaration):
    """What else the agent should know: links and notes. Data, never instruction."""

    links: tuple[str, ...] = ()
    notes: str = ""


class TicketSpec(Declaration):
    """The ticket file (``contract.md``): the same format from people, alerts and agents."""

    type: Literal["incident", "improvement", "maintenance", "investigation", "reflection"]
    service: str
    objective: Objective
    acceptance_criteria: tuple[Criterion, ...] = Field(min_length=1)
    priority: Literal["P0", "P1", "P2", "P3"] = "P2"
    context: Context = Context()

    @classmethod
    def read(cls, document: Any, where: str) -> TicketSpec:
        """The spec in ``{"ticket": {...}}``; raises Invalid with every ``path: reason``."""
        if not isinstance(document, dict) or set(document) != {"ticket"}:
            raise Invalid(f"{where}: a ticket file has exactly one key, `ticket`")
        return cls.parse(document["ticket"], f"{where}: ticket")


UNMEASURED = ("insufficient", "query_failed")
"""How the reason of a canary or a verification begins that had too little to judge by."""


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
    steps: tuple[e.ActionTaken | e.ObservationRecorded, ...] = ()
    change: e.ChangeProposed | None = None
    checks: e.ChecksPassed | e.ChecksFailed | None = None
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
    verification: e.CriteriaMet | e.CriteriaNotMet | None = None
    rolled_back: e.RolledBack | None = None
    help: e.HelpRequested | None = None

    @property
    def operation(self) -> e.Operation | None:
        """The action of the catalog that is this attempt's change; None for commits."""
        return self.change.operation if self.change else None

    @property
    def failure(self) -> Failure | None:
        """What stopped it; None while it is under way or succeeded.

        A change is disproved by tests, by a canary that was measured, by criteria that were. It is not where main moved
        under it, a node broke, or nobody could measure: it may be right, and is worth another try.
        """
        match (self.checks, self.canary, self.deploy, self.verification):
            case (_, _, _, e.CriteriaNotMet(reason=reason)):
                return Failure("verify", reason, disproved=not reason.startswith(UNMEASURED))
            case (_, _, e.DeployFailed(reason=reason), _):
                return Failure("deploy", reason, disproved=False)
            case (_, e.CanaryFailed(reason=reason), _, _):
                return Failure("canary", reason, disproved=not reason.startswith((*UNMEASURED, "baseline")))
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
    attempts: tuple[Attempt, ...] = ()
    closed_at: datetime | None = None
    version: int = 0
    """Version of the ticket's stream: what the next append expects."""
    recorded: dict[str, e.Event] = field(default_factory=dict)
    """Event id → event: how a retried effect finds that it was done."""

    @property
    def state(self) -> State:
        """Where the ticket is."""
        return self.life.state

    @property
    def attempt(self) -> Attempt:
        """The attempt under way (or the last one)."""
        return self.attempts[-1]


def fold(history: Iterable[tuple[str, datetime, e.Event]]) -> Ticket | None:
    """The ticket of a stream's (event id, time, event), in order; None for an empty stream."""
    ticket: Ticket | None = None
    for identity, at, event in history:
        ticket = apply(ticket, identity, at, event)
    return ticket


def apply(ticket: Ticket | None, identity: str, at: datetime, event: e.Event) -> Ticket:
    """The ticket after one more event. Raises Forbidden when the life of a ticket has no such step."""
    if ticket is None:
        if not isinstance(event, e.TicketFiled):
            raise Invalid(f"a ticket's stream begins with TicketFiled, not with {type(event).__name__}")
        return Ticket(event.ticket_id, event, at, version=1, recorded={identity: event})
    life = evolve(ticket.life, event)
    changed: dict[str, Any] = {}
    match event:
        case e.TicketAdmitted():
            changed["admitted"] = event
        case e.TicketRejected():
            changed["rejected"] = event
        case e.AttemptStarted():
            changed["attempts"] = (*ticket.attempts, _begun(event, at))
        case _ if ticket.attempts:
            changed["attempts"] = (*ticket.attempts[:-1], _attempt(ticket.attempts[-1], at, event))
    if life.state in ENDS and ticket.closed_at is None:
        changed["closed_at"] = at
    return replace(
        ticket, life=life, version=ticket.version + 1, recorded=ticket.recorded | {identity: event}, **changed
    )


def _begun(event: e.AttemptStarted, at: datetime) -> Attempt:
    return Attempt(event.attempt, event.agent, event.base, event.runbook, at, event.briefing)


def _attempt(attempt: Attempt, at: datetime, event: e.Event) -> Attempt:
    match event:
        case e.ActionTaken() | e.ObservationRecorded():
            return replace(attempt, steps=(*attempt.steps, event))
        case e.ChangeProposed():
            return replace(attempt, change=event)
        case e.ChecksPassed() | e.ChecksFailed():
            return replace(attempt, checks=event)
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
        case e.CriteriaMet() | e.CriteriaNotMet():
            return replace(attempt, verification=event)
        case e.RolledBack():
            return replace(attempt, rolled_back=event)
        case e.HelpRequested():
            return replace(attempt, help=event)
    return attempt
