"""What a person who watches a ticket sees at this moment: a fold of the ledger's rows, one by one. Touches nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from harness.core import events as e
from harness.core.ids import ticket_stream
from harness.core.lifecycle import ENDS, Life, State, evolve
from harness.core.record import Recorded
from harness.core.ticket import way_back_question
from harness.core.timeline import PHASES, phases, under_way

LINES_KEPT: Final = 40


@dataclass(frozen=True, slots=True)
class Line:
    """An event in a line for people."""

    at: datetime
    position: int
    text: str


@dataclass(frozen=True, slots=True)
class Serving:
    """The release of a node, and whose hand brought it."""

    commit: str
    by: str


@dataclass(frozen=True, slots=True)
class Firing:
    """An objective that burns or an invariant that breaks, and why it is said to."""

    fingerprint: str
    name: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Stop:
    """An attempt that was stopped: in which phase, and why."""

    attempt: int
    phase: str
    reason: str


@dataclass(frozen=True, slots=True)
class CanaryView:
    """The canary of the attempt under way: its arms, and what the judge has seen and said of them."""

    canary: str
    baseline: str
    node: str
    planned_per_arm: int
    share: float = 0.0
    look: int = 0
    counts: tuple[e.ArmCount, ...] = ()
    decision: str = ""
    verdicts: tuple[e.MetricVerdict, ...] = ()
    passed: bool | None = None
    alone: bool = False
    """An operation's first unit: it is watched by limits, and compared with nothing."""


@dataclass(frozen=True, slots=True)
class PhaseView:
    """A phase of the ticket: ``since`` is set while it is under way, ``seconds`` is what went into it before."""

    name: str
    seconds: float
    since: datetime | None
    stopped: bool
    """The last attempt ended here."""


@dataclass(frozen=True, slots=True)
class View:
    """The state of the screen. ``ticket_id`` None: the next ticket that is filed is watched."""

    ticket_id: str | None = None
    filed: e.TicketFiled | None = None
    title: str = ""
    began_at: datetime | None = None
    life: Life = Life()
    history: tuple[tuple[datetime, e.Event], ...] = ()
    fires: tuple[Firing, ...] = ()
    """Every objective and invariant that fires now, in the order in which they began to."""
    nodes: tuple[tuple[str, Serving], ...] = ()
    canary: CanaryView | None = None
    stops: tuple[Stop, ...] = ()
    """Attempts that were stopped, and by what."""
    question: str = ""
    """What a person is asked, while one is."""
    criteria: tuple[e.JudgedCriterion, ...] = ()
    lines: tuple[Line, ...] = ()

    @property
    def state(self) -> State:
        """Where the ticket is."""
        return self.life.state

    @property
    def over(self) -> bool:
        """Whether nothing more happens by itself: the ticket has ended, or waits for a person's answer."""
        return self.filed is not None and (self.state in ENDS or self.state is State.ESCALATED)

    def phases(self) -> list[PhaseView]:
        """Every phase from the fault to the verification."""
        if self.filed is None or self.began_at is None:
            return [PhaseView(name, 0.0, None, False) for name in PHASES]
        now, since = under_way(self.history) or ("", None)
        stopped = self.stops[-1].phase if self.stops and self.stops[-1].attempt == self.life.attempt else ""
        return [
            PhaseView(one.name, one.seconds, since if one.name == now else None, one.name == stopped)
            for one in phases(self.history, began_at=self.began_at, signal_waits=())
        ]


_STOPS: Final[dict[type[e.Event], str]] = {
    e.ChecksFailed: "test", e.CanaryFailed: "canary", e.DeployFailed: "deploy", e.CriteriaNotMet: "verify",
    e.RollbackFailed: "deploy",
}  # fmt: skip


def see(view: View, row: Recorded, event: e.Event, *, told: str | None, reason: str = "") -> View:
    """The view after one more row; what comes after the ticket's end belongs to other stories, and changes nothing.

    Args:
        told: the event in a line for people; None for one that needs none.
        reason: text that the event only refers to: why a signal fires, what a ticket wants, what a person is asked.
    """
    if view.state in ENDS:
        return view
    view = _service(view, row, event, reason)
    if isinstance(event, e.TicketFiled) and view.ticket_id in (None, event.ticket_id):
        began_at = view.began_at or event.signal_began_at or row.occurred_at
        view = replace(
            view, ticket_id=event.ticket_id, filed=event, title=reason, began_at=began_at,
            history=((row.occurred_at, event),), lines=tuple(one for one in view.lines if one.at >= began_at),
        )  # fmt: skip
    elif view.filed is not None and row.stream == ticket_stream(view.filed.ticket_id):
        view = replace(
            view, life=evolve(view.life, event), history=(*view.history, (row.occurred_at, event)),
            **_attempt(view, event, reason),
        )  # fmt: skip
    elif not row.stream.startswith(("signal-", "service-", "fleet-")):
        return view
    if told is None:
        return view
    return replace(view, lines=(*view.lines, Line(row.occurred_at, row.position, told))[-LINES_KEPT:])


def _service(view: View, row: Recorded, event: e.Event, reason: str) -> View:
    """What is so whatever ticket is watched: what fires, and which release a node serves."""
    match event:
        case e.SignalStarted():
            firing = Firing(event.fingerprint, event.name, reason, row.occurred_at)
            return replace(view, fires=(*_others(view, event.fingerprint), firing))
        case e.SignalEnded():
            return replace(view, fires=_others(view, event.fingerprint))
        case e.ReleaseObserved():
            return _serves(view, {event.node: Serving(event.after, event.actor)})
        case e.FleetChanged():
            return replace(view, nodes=tuple(one for one in view.nodes if one[0] not in event.lost))
        case e.NodeSwapped(ok=True):
            return _serves(view, {event.node: Serving(event.after, "harness")})
        case e.RolledBack():
            touched = [
                one for _, one in view.history if isinstance(one, e.NodeSwapped) and one.attempt == event.attempt
            ]
            return _serves(view, {one.node: Serving(event.commit, "harness") for one in touched})
    return view


def _others(view: View, fingerprint: str) -> tuple[Firing, ...]:
    return tuple(one for one in view.fires if one.fingerprint != fingerprint)


def _serves(view: View, nodes: dict[str, Serving]) -> View:
    return replace(view, nodes=tuple(sorted((dict(view.nodes) | nodes).items())))


def _attempt(view: View, event: e.Event, reason: str) -> dict[str, Any]:
    """What changes with an event of the watched ticket."""
    changed: dict[str, Any] = {}
    match event:
        case e.AttemptStarted():
            changed = {"canary": None, "criteria": (), "question": ""}
        case e.CanaryStarted():
            changed = {"canary": CanaryView(event.canary, event.baseline, event.node, event.planned_per_arm)}
        case e.OperationStepped() if view.canary is None and event.ok:
            changed = {"canary": CanaryView("", "", event.node, planned_per_arm=0, alone=True)}
        case e.CriteriaMet() | e.CriteriaNotMet():
            changed = {"criteria": event.criteria}
        case e.HelpRequested():
            changed = {"question": reason}
        case e.RollbackFailed():
            changed = {"question": way_back_question(event.reason)}
    if (phase := _STOPS.get(type(event))) is not None:
        stop = Stop(view.life.attempt, phase, str(getattr(event, "reason", "")))
        changed["stops"] = (*view.stops, stop)
    if view.canary is not None and (canary := _judged(view.canary, event)) is not None:
        changed["canary"] = canary
    return changed


def _judged(canary: CanaryView, event: e.Event) -> CanaryView | None:
    match event:
        case e.CanaryStepped():
            return replace(canary, share=event.share)
        case e.CanaryLooked():
            return replace(canary, look=event.look, counts=event.counts, decision=event.decision)
        case e.CanaryPassed() | e.CanaryFailed():
            return replace(canary, verdicts=event.verdicts, passed=isinstance(event, e.CanaryPassed), share=0.0)
    return None
