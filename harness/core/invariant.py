"""Conditions that have to hold at every moment (``invariants/``), and their state step by step. Touches nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from harness.core.criteria import LONGEST_S
from harness.core.declaration import CriterionText, Declaration, Seconds
from harness.core.errors import Invalid
from harness.core.manifest import Manifest
from harness.core.units import choices

State = Literal["ok", "pending", "violated", "no_data", "query_failed"]


def _judged(length_s: float) -> float:
    if length_s > LONGEST_S:
        raise ValueError("is longer than measurements are kept; at most 30d")
    return length_s


OnViolation = Literal["auto_remediate", "open_ticket", "call_for_help", "block_deploys"]


class Invariant(Declaration):
    """``condition`` is broken once it did not hold for ``for``; then a ticket is filed, whose
    criteria hold it to be restored. ``on_violation``: an agent works it (``auto_remediate``), it waits until a person
    approves that one does (``open_ticket``), a person is called at once (``call_for_help``), or an agent works it and
    nothing but incidents and reverts is delivered until it holds again (``block_deploys``)."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    service: str | None = None
    condition: CriterionText
    for_s: Annotated[Seconds, AfterValidator(_judged)] = Field(alias="for")
    on_violation: OnViolation

    @model_validator(mode="after")
    def _is_binary(self) -> Self:
        if self.condition.duration is not None:
            raise ValueError("condition: write the duration at `for`, not in the condition")
        if self.condition.condition.needs_baseline:
            raise ValueError("condition: an invariant has no baseline; compare with a value, like `> 20%`")
        return self

    @property
    def metric(self) -> str:
        """The metric of the manifest that it reads."""
        return self.condition.metric

    def check_fits(self, manifest: Manifest) -> None:
        """Raise Invalid unless the manifest has its metric, in a unit that the condition can be asked of."""
        metric = manifest.metrics.get(self.metric)
        if metric is None:
            raise Invalid(f"invariant {self.name}: no metric {self.metric!r}; {choices(self.metric, manifest.metrics)}")
        self.condition.condition.check_fits(metric.unit, metric.direction)


class InvariantFile(Declaration):
    """A file of ``invariants/``."""

    invariants: tuple[Invariant, ...] = Field(min_length=1)


@dataclass(frozen=True)
class QueryFailed:
    """There is no value because the query failed."""

    reason: str


@dataclass(frozen=True)
class InvariantState:
    """``since_s``: since when it is in this state; ``failing_since_s``: since when the condition does not hold, if so.

    Times are in seconds of the caller's clock. ``value`` is in the base unit, None unmeasured.
    """

    state: State
    since_s: float
    value: float | None = None
    reason: str = ""
    failing_since_s: float | None = None


def to_hold_again(name: str, condition: str) -> str:
    """What a delivery waits for that a violation blocks, for people."""
    return f"invariant {name} to hold again ({condition}), whose violation blocks deployments"


def parse_invariants(document: Any, where: str) -> tuple[Invariant, ...]:
    """The invariants of a parsed file; raises Invalid, a line a fault."""
    invariants = InvariantFile.parse(document, where).invariants
    names = [invariant.name for invariant in invariants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Invalid(f"{where}: invariants: {', '.join(twice)} is declared twice; give each a name of its own")
    return invariants


def step(
    invariant: Invariant, previous: InvariantState | None, reading: float | QueryFailed | None, at_s: float
) -> InvariantState:
    """The state after the ``reading`` (base unit; None: no data) at ``at_s``.

    Violated once the condition failed at every reading of ``for``; a gap in the data starts it anew: nobody knows.
    """
    failing_since_s = None
    state: State
    if isinstance(reading, QueryFailed):
        value, state, reason = None, "query_failed", reading.reason
    elif reading is None or not math.isfinite(reading):
        value, state, reason = None, "no_data", f"{invariant.metric} has no value"
    elif invariant.condition.condition.holds(reading):
        value, state, reason = reading, "ok", f"{invariant.metric} is {reading:g}"
    else:
        before = previous.failing_since_s if previous else None
        failing_since_s = at_s if before is None else before
        state = "violated" if at_s - failing_since_s >= invariant.for_s else "pending"
        value, reason = reading, f"{invariant.metric} is {reading:g}, not {invariant.condition.condition.text}"
    since_s = previous.since_s if previous is not None and previous.state == state else at_s
    return InvariantState(state, since_s, value, reason, failing_since_s)
