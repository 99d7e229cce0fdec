"""A signal: something declared does not hold, or could be better. What it is, and the ticket that it asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from harness.core.ids import fingerprint
from harness.core.invariant import Invariant
from harness.core.slo import Slo
from harness.core.structure import about_itself
from harness.core.ticket_spec import MANY, Context, Criterion, Objective, TicketSpec
from harness.core.units import Quantity

MEASURED = ">= 0%"
"""Holds for a share that is measured, whatever it is, and for none that is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an opportunity is after: this metric, to be so; and how urgent policy finds that."""

    metric: str
    condition: str
    priority: Literal["P0", "P1", "P2", "P3"]
    objective: str
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusual:
    """What an anomaly wants back: the metric up to what is usual, over a window of its own."""

    condition: str
    window_s: float
    priority: Literal["P0", "P1", "P2", "P3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an alert of somebody else asks for: ``criteria`` come before everything that is declared."""

    priority: Literal["P0", "P1", "P2", "P3"]
    objective: str
    notes: str
    criteria: tuple[Criterion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A burning SLO or one without data, a violated invariant, an anomaly, an alert of somebody else or an opportunity,
    as it was seen in a sample taken at ``sampled_at``.

    ``began_at``: the earliest moment at which its cause can have begun; ``evidence``: JSON that says why it fired.
    """

    kind: Literal["slo", "invariant", "anomaly", "opportunity", "no_data", "alert"]
    name: str
    service: str
    sampled_at: datetime
    began_at: datetime
    burnt: Mapping[str, float] = field(default_factory=dict)
    """Of an SLO on metrics: the bad share of each when it fired."""
    evidence: dict[str, Any] = field(default_factory=dict)
    offer: Offer | None = None
    """Of an opportunity: what it is after."""
    unusual: Unusual | None = None
    """Of an anomaly, which is named by its metric: what it wants back."""
    wish: Wish | None = None
    """Of an alert that is about no objective and no invariant of ours: what its ticket says."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Those that name the thing where the name alone does not: with others it is another cause."""
    priority: Literal["P0", "P1", "P2", "P3"] | None = None
    """Of an objective without data: how urgent policy finds that."""
    beside: tuple[str, ...] = ()
    """Of an objective without data: the others of which there have been none since about the same time."""

    @property
    def fingerprint(self) -> str:
        """The name of its cause: the same thing burning again is the same cause."""
        return fingerprint(self.kind, self.service, self.name, self.labels)

    def with_evidence(self, **more: Any) -> Signal:
        """The signal with more evidence."""
        return replace(self, evidence={**self.evidence, **more})


def ticket_for(signal: Signal, slos: Sequence[Slo], invariants: Sequence[Invariant], sustained_s: float) -> TicketSpec:
    """The ticket of a signal: its own objective first, then every other objective, and the invariants.

    Of several metrics of its own objective the one that burnt most comes first: it is the ticket's own metric, by which
    a runbook is chosen and which a canary has to win. ``sustained_s``: how long each criterion has to hold; its own
    objective's for its short window at least.
    """
    own_first = sorted(slos, key=lambda slo: (signal.kind, signal.name) != ("slo", slo.name))
    if signal.kind == "no_data":
        return _unseen(signal, slos, invariants, sustained_s)
    if signal.offer is not None:
        return _improvement(signal, signal.offer, slos, invariants, sustained_s)
    if signal.unusual is not None:
        return _investigation(signal, signal.unusual, slos, invariants, sustained_s)
    if signal.wish is not None:
        return _wished(signal, signal.wish, slos, invariants, sustained_s)
    criteria = declared_criteria(
        own_first, invariants, sustained_s, invariants_first=signal.kind != "slo", burnt=signal.burnt,
        about=signal.name if signal.kind == "slo" else None,
    )  # fmt: skip
    burning = next((slo for slo in slos if signal.kind == "slo" and slo.name == signal.name), None)
    return TicketSpec(
        type=burning.on_burn.type if burning else "incident",
        service=signal.service,
        objective=Objective(description=_objective(signal, burning)),
        acceptance_criteria=criteria,
        priority=burning.on_burn.priority if burning else "P1",
        context=Context(notes=str(signal.evidence.get("reason", ""))),
    )


def _unseen(signal: Signal, slos: Sequence[Slo], invariants: Sequence[Invariant], sustained_s: float) -> TicketSpec:
    """That its metrics are measured again, whatever they are, and those of the objectives beside it: one cause may have
    them all away. Of an objective that is not declared any more, all that is."""
    by_name = {slo.name: slo for slo in slos}
    away = [by_name[name] for name in (signal.name, *signal.beside) if name in by_name]
    seen = tuple(
        Criterion(metric=metric, condition=MEASURED, duration=_sustained(_long_enough(slo, sustained_s)))
        for slo in away
        for metric in slo.metrics
    )[:MANY]
    others = f" and {len(signal.beside)} more" if signal.beside else ""
    return TicketSpec(
        type="incident", service=signal.service, priority=signal.priority or "P1",
        objective=Objective(description=f"Have the {signal.name} SLO{others} of {signal.service} measured again"),
        acceptance_criteria=seen or declared_criteria(slos, invariants, sustained_s),
        context=Context(notes=str(signal.evidence.get("reason", ""))),
    )  # fmt: skip


def _improvement(
    signal: Signal, offer: Offer, slos: Sequence[Slo], invariants: Sequence[Invariant], sustained_s: float
) -> TicketSpec:
    """Its own metric has to be as it is after, and everything that is declared has to hold as for any change."""
    goal = Criterion(metric=offer.metric, condition=offer.condition)
    return TicketSpec(
        type="improvement", service=signal.service, objective=Objective(description=offer.objective),
        acceptance_criteria=(goal, *declared_criteria(slos, invariants, sustained_s)), priority=offer.priority,
        constraints=offer.constraints, context=Context(notes=str(signal.evidence.get("reason", ""))),
    )  # fmt: skip


def left_to_people(signal: Signal, invariants: Sequence[Invariant]) -> tuple[Literal["approve", "help"], str] | None:
    """Whether a person's word comes before any work on the ticket of this signal, and what that person is told."""
    reaction = next(
        (one.on_violation for one in invariants if signal.kind == "invariant" and one.name == signal.name), None
    )
    violated = f"The invariant {signal.name} of {signal.service} is violated ({signal.evidence.get('reason', '')})"
    if about_itself(f"{signal.kind}:{signal.name}"):
        return "help", (
            f"{signal.name} does not hold of the harness itself ({signal.evidence.get('reason', '')}). No agent may "
            "mend that. Mend it, then cancel this ticket. What did you find?"
        )
    match reaction:
        case "open_ticket":
            return "approve", f"{violated}, and no agent works on that before a person approves it (open_ticket)"
        case "call_for_help":
            return "help", (
                f"{violated}, and for that a person is called at once (call_for_help). An answer has it worked on with "
                "what you say, a cancellation leaves it to you. What should be done?"
            )
    return None


def _investigation(
    signal: Signal, unusual: Unusual, slos: Sequence[Slo], invariants: Sequence[Invariant], sustained_s: float
) -> TicketSpec:
    """Nothing that is declared is broken: find out why the metric is worse than usual, and bring it back there."""
    goal = Criterion(metric=signal.name, condition=unusual.condition, duration=_sustained(unusual.window_s))
    return TicketSpec(
        type="investigation", service=signal.service,
        objective=Objective(description=f"Find out why {signal.name} of {signal.service} is worse than usual, end it"),
        acceptance_criteria=(goal, *declared_criteria(slos, invariants, sustained_s)), priority=unusual.priority,
        context=Context(notes=str(signal.evidence.get("reason", ""))),
    )  # fmt: skip


def _wished(
    signal: Signal, wish: Wish, slos: Sequence[Slo], invariants: Sequence[Invariant], sustained_s: float
) -> TicketSpec:
    """What the alert asks for itself, where that can be measured here; and everything that is declared has to hold."""
    declared = declared_criteria(slos, invariants, sustained_s)
    asked = {(one.metric, one.condition) for one in wish.criteria}
    rest = tuple(one for one in declared if (one.metric, one.condition) not in asked)
    return TicketSpec(
        type="incident", service=signal.service, objective=Objective(description=wish.objective),
        acceptance_criteria=(*wish.criteria, *rest), priority=wish.priority, context=Context(notes=wish.notes),
    )  # fmt: skip


def declared_criteria(
    slos: Sequence[Slo], invariants: Sequence[Invariant], sustained_s: float, *, invariants_first: bool = False,
    burnt: Mapping[str, float] = MappingProxyType({}), about: str | None = None,
) -> tuple[Criterion, ...]:  # fmt: skip
    """Everything that is declared of a service: what has to hold after whatever change. What burnt most comes first,
    and of more than a ticket holds beside a goal of its own the last are left out.

    An objective that counts for itself is left out where ``sustained_s`` is too short to tell how it is, unless it is
    what the ticket is ``about``: what is rare would be seen of no change, and none would ever be found good.
    """
    objectives = tuple(
        criterion
        for slo in slos
        if slo.name == about or slo.is_told_within(sustained_s)
        for criterion in criteria_of(slo, _long_enough(slo, sustained_s) if slo.name == about else sustained_s, burnt)
    )
    conditions = tuple(
        Criterion(
            metric=invariant.metric, condition=invariant.condition.condition.text, duration=_sustained(sustained_s)
        )
        for invariant in invariants
    )
    return (conditions + objectives if invariants_first else objectives + conditions)[: MANY - 1]


def criteria_of(
    slo: Slo, sustained_s: float, burnt: Mapping[str, float] = MappingProxyType({})
) -> tuple[Criterion, ...]:
    """That each metric of an objective is within its error budget."""
    return tuple(
        Criterion(metric=metric, condition=f"< {_percent(slo.error_budget)}", duration=_sustained(sustained_s))
        for metric in sorted(slo.metrics, key=lambda name: -burnt.get(name, 0.0))
    )


def _long_enough(slo: Slo, sustained_s: float) -> float:
    """Sustained over its short window."""
    return max(sustained_s, slo.windows_s[0])


def _objective(signal: Signal, slo: Slo | None) -> str:
    if about_itself(f"{signal.kind}:{signal.name}"):
        return f"Restore {signal.name} of the harness itself, which operates {signal.service}"
    if slo is None:
        return f"Restore the invariant {signal.name} of {signal.service}"
    return f"Bring the {signal.name} SLO of {signal.service} back to its objective of {_percent(slo.target)}"


def _percent(share: float) -> str:
    return Quantity(round(share * 100, 10), "%").text


def _sustained(seconds: float) -> str:
    return f"{Quantity(seconds, 's').text} sustained"
