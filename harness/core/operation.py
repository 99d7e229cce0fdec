"""Changes that are actions of the catalog: what may be asked for, in which units it is done, and back. Pure.

An operation is done unit by unit: the first is its canary, the others its deployment, and the way back takes back what
was done, last first. Touches nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field, model_validator

from harness.core.canary import Counts, Limit, MetricVerdict, StageVerdict
from harness.core.criteria import CriterionSpec
from harness.core.declaration import CriterionText, Declaration
from harness.core.errors import Invalid
from harness.core.events import Operation, OperationStepped, Verb
from harness.core.lattice import spent_by
from harness.core.manifest import Name, Risk
from harness.core.sequential import Pair, Trial, told
from harness.core.units import choices

VERBS: Final[dict[str, frozenset[str]]] = {
    "add_nodes": frozenset({"count"}),
    "remove_node": frozenset({"node"}),
}
"""What the harness knows how to do, with the names of its arguments: the catalog declares no other action."""

FACTS: Final = ("nodes", "nodes_healthy", "nodes_after", "nodes_healthy_after")
"""What preconditions may ask of besides the service's metrics; ``_after``: by the dry run, if the action were done."""
AFTER: Final = "_after"
"""Ends the name of a metric (a free share of the capacity) as the dry run says that it would be."""


class Parameter(Declaration):
    """An argument of an action: a whole number within bounds, or a text."""

    type: Literal["integer", "string"]
    what: str
    minimum: int | None = None
    maximum: int | None = None

    def fault(self, value: object) -> str | None:
        """Why ``value`` is none of this parameter's; None when it is one."""
        if self.type == "string":
            return None if isinstance(value, str) and value else f"{value!r} is not a text; wanted: {self.what}"
        if not isinstance(value, int) or isinstance(value, bool):
            return f"{value!r} is not a whole number; wanted: {self.what}"
        low = value if self.minimum is None else self.minimum
        high = value if self.maximum is None else self.maximum
        if not low <= value <= high:
            return f"{value} is not from {self.minimum} to {self.maximum}; wanted: {self.what}"
        return None


class CatalogAction(Declaration):
    """An operation that the harness carries out. ``reversible_by`` names the action of the catalog that undoes it."""

    name: Name
    parameters: dict[str, Parameter] = Field(default={})
    effect: str
    risk: Risk
    reversible_by: str
    preconditions: tuple[CriterionText, ...] = Field(min_length=1)
    blast_radius: str

    @model_validator(mode="after")
    def _is_known(self) -> CatalogAction:
        if (wanted := VERBS.get(self.name)) is None:
            raise ValueError(f"no way is known to do {self.name!r}; {choices(self.name, VERBS)}")
        if wanted != set(self.parameters):
            raise ValueError(f"{self.name} takes {', '.join(sorted(wanted))}; declared: {', '.join(self.parameters)}")
        return self

    def operation(self, parameters: Mapping[str, object]) -> Operation:
        """The action with these arguments; raises Invalid with a line for every fault."""
        faults = [
            f"{name}: {fault}"
            for name, parameter in self.parameters.items()
            if (fault := "is missing" if name not in parameters else parameter.fault(parameters[name]))
        ]
        faults += [f"{name}: no such parameter; {choices(name, self.parameters)}"
                   for name in parameters if name not in self.parameters]  # fmt: skip
        if faults:
            raise Invalid("\n".join(f"action {self.name}: {fault}" for fault in faults))
        return Operation.model_validate({"action": self.name, "parameters": dict(parameters)})


class Catalog(Declaration):
    """``policies/actions.yaml``."""

    actions: tuple[CatalogAction, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_fit_together(self) -> Catalog:
        names = [action.name for action in self.actions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"actions: {', '.join(twice)} is declared twice")
        for action in self.actions:
            if action.reversible_by not in names:
                raise ValueError(
                    f"actions: {action.name} is reversible by {action.reversible_by!r}, which is no action; "
                    f"{choices(action.reversible_by, names)}"
                )
        return self

    def action(self, name: str) -> CatalogAction:
        """The action of that name; raises Invalid with the nearest one."""
        found = next((action for action in self.actions if action.name == name), None)
        if found is None:
            raise Invalid(f"action `{name}` is not in the catalog; {choices(name, [a.name for a in self.actions])}")
        return found


# --- units ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest thing that can be done by itself; a node that is started gets its name only then."""

    verb: Verb
    node: str | None = None


def units(operation: Operation) -> tuple[Unit, ...]:
    """What an operation does, in order: nodes are added one by one, a node is emptied before it is removed."""
    if operation.action == "add_nodes":
        return (Unit("start"),) * int(operation.parameters["count"])
    node = str(operation.parameters["node"])
    return Unit("drain", node), Unit("remove", node)


def way_back(done: Sequence[OperationStepped]) -> tuple[Unit, ...]:
    """What takes these steps back, last first; one that failed may have had its effect all the same."""
    removed = {step.node for step in done if step.verb == "remove"}
    back: list[Unit] = []
    for step in reversed(done):
        if step.verb == "start" and step.node:
            back += [Unit("drain", step.node), Unit("remove", step.node)]
        elif step.verb == "remove":
            back.append(Unit("start"))
        elif step.verb == "drain" and step.node not in removed:
            back.append(Unit("restore", step.node))
    return tuple(back)


def facts(operation: Operation, nodes: Sequence[str], healthy: Sequence[str]) -> dict[str, float]:
    """The facts of FACTS: which nodes there are and answer, now and if the operation were done."""
    if operation.action == "add_nodes":
        more = serving = int(operation.parameters["count"])
    else:
        more, serving = -1, -1 if operation.parameters["node"] in healthy else 0
    return {
        "nodes": float(len(nodes)), "nodes_healthy": float(len(healthy)),
        "nodes_after": float(len(nodes) + more), "nodes_healthy_after": float(len(healthy) + serving),
    }  # fmt: skip


def free_after(free: float | None, facts: Mapping[str, float]) -> float | None:
    """The free share of the capacity if the operation were done: the same demand on as many nodes as answer then."""
    if free is None or not facts["nodes_healthy_after"]:
        return None
    return 1 - (1 - free) * facts["nodes_healthy"] / facts["nodes_healthy_after"]


def missing_target(operation: Operation, nodes: Sequence[str]) -> str | None:
    """Why there is nothing that the operation could be done to; None when there is."""
    node = operation.parameters.get("node")
    if node is None or node in nodes:
        return None
    return f"node {node} is not in the fleet; {choices(str(node), nodes)}"


@dataclass(frozen=True, slots=True)
class Precondition:
    """A declared condition with the value that it was asked of; ``holds`` None: not measured, which is not enough."""

    spec: CriterionSpec
    value: float | None

    @property
    def holds(self) -> bool | None:
        """Whether it does."""
        return self.spec.condition.holds(self.value)

    @property
    def words(self) -> str:
        """``available_after is 0.444, wanted > 20%``."""
        seen = "was not measured" if self.value is None else f"is {self.value:.4g}"
        return f"{self.spec.metric} {seen}, wanted {self.spec.condition.text}"


@dataclass(frozen=True, slots=True)
class DryRun:
    """What an operation would come to: the facts of FACTS, its preconditions, and why it has no target (if so)."""

    facts: dict[str, float]
    preconditions: tuple[Precondition, ...]
    missing_target: str | None

    @property
    def against(self) -> str:
        """Everything that speaks against it; empty when it may be done."""
        failed = [one.words for one in self.preconditions if one.holds is not True]
        return "; ".join([*([self.missing_target] if self.missing_target else []), *failed])


# --- guards --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GuardPlan:
    """What the first unit is watched by: absolute limits on the whole service's traffic, nothing is compared.

    ``planned``: requests at which it may end; ``looks``: how many there are until then; ``alpha``: one for all limits.
    """

    limits: tuple[Limit, ...]
    planned: int
    looks: int
    alpha: float


ONE_SIDED_95 = 1.645
"""Standard errors above which one in twenty measurements lies."""


def allowed_share(budget: float, before: float | None, samples: int | None = None, design_effect: float = 1.0) -> float:
    """What a guard allows: the objective's budget, or what it was right before where that was worse already.

    That is known from ``samples`` requests only, so that there is room for what chance makes of so few: without it, of
    150 operations that changed nothing 2, 6 and 18 were stopped, at shares of 95, 30 and 5 %, and with it none.
    """
    if before is None or before <= budget:
        return budget
    room = ONE_SIDED_95 * math.sqrt(before * (1 - before) * design_effect / samples) if samples else 0.0
    return min(0.999, before + room)


def judge_guards(plan: GuardPlan, looks: Sequence[Mapping[str, Counts]]) -> StageVerdict:
    """``abort`` at the first limit that is shown to be broken, ``promote`` after all looks, else ``continue``."""
    trials = {limit: Trial(limit.at_most, limit.design_effect) for limit in plan.limits}
    for number, look in enumerate(looks, start=1):
        smallest = min(counts.total for counts in look.values())
        allowed = spent_by(plan.alpha, min(1.0, smallest / plan.planned))
        for limit, trial in trials.items():
            trial.advance(look[limit.metric])
            trial.spend_up_to(allowed / len(trials))
        broken = {limit for limit, trial in trials.items() if trial.crossed}
        if broken:
            names = ", ".join(sorted(limit.metric for limit in broken))
            return StageVerdict("abort", f"above_limit: {names}", _told(plan, look, broken, number), number)
        if number >= plan.looks and smallest >= plan.planned:
            return StageVerdict("promote", f"passed: {smallest} requests", _told(plan, look, broken, number), number)
    last = looks[-1] if looks else {}
    have = min((counts.total for counts in last.values()), default=0)
    return StageVerdict("continue", f"running: {have} of {plan.planned} requests", _told(plan, last, set(), None), None)


def _told(
    plan: GuardPlan, look: Mapping[str, Counts], broken: set[Limit], number: int | None
) -> tuple[MetricVerdict, ...]:
    verdicts = []
    for limit in plan.limits:
        passed = number is not None and not broken  # what was cut short has shown nothing of the others
        word: Literal["HIGH", "PASS", "NODATA"] = "HIGH" if limit in broken else "PASS" if passed else "NODATA"
        why = {"HIGH": "above_limit", "PASS": "within_limit"}.get(word, "insufficient")
        pair = Pair(control=Counts(0, 0), experiment=look[limit.metric]) if limit.metric in look else None
        verdicts.append(
            MetricVerdict(limit.metric, "limit", told(word, why, pair, limit=limit.at_most, decided_at_look=number))
        )
    return tuple(verdicts)
