"""The runbook agent where no runbook fits: looks at every criterion, then says that all hold, or calls for help.

Pure; touches nothing. Like a runbook it keeps no state: the first criterion without an answer is the next action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.core.action import Action, Turn
from harness.core.criteria import CriterionSpec
from harness.core.events import FrozenCriterion, Measurement
from harness.core.manifest import Manifest, Metric
from harness.core.regression import held
from harness.measure import quantile

LOOK_S = 60.0
"""The agent looks at the recent past only; whether a criterion holds for as long as it has to is for VERIFY."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A criterion with what was measured of it; ``value`` is None when it could not be."""

    criterion: FrozenCriterion
    value: float | None
    met: bool | None


def next_action(
    criteria: Sequence[FrozenCriterion], manifest: Manifest, design_effect: Mapping[str, float], commit: str,
    turns: Sequence[Turn], because: str,
) -> Action:  # fmt: skip
    """The next look, or the end.

    Args:
        commit: what is served: metrics of a tree are measured on it.
        because: why there is no runbook, for the person who may be called.
    """
    if len(turns) < len(criteria):
        one = criteria[len(turns)]
        return _look(one, manifest.metrics[one.metric], commit)
    seen = [
        _seen(one, manifest.metrics[one.metric], design_effect.get(one.metric, 1.0), turn)
        for one, turn in zip(criteria, turns, strict=False)
    ]
    if all(one.met for one in seen):
        return Action(
            tool="nothing_to_change", arguments={"why": f"Every criterion holds: {'; '.join(map(_told, seen))}."},
            why="what the ticket asks for is there already",
        )  # fmt: skip
    open_ones = "; ".join(_told(one) for one in seen if not one.met)
    held = "; ".join(_told(one) for one in seen if one.met) or "none"
    return Action(
        tool="call_for_help",
        arguments={
            "question": f"{because} Every criterion was looked at. Not held: {open_ones}. Held: {held}. "
            "What should be changed? A commit can be carried through with `harness ticket file --change COMMIT`."
        },
        why="the runbook agent has no tree that could change this",
    )


def _look(one: FrozenCriterion, metric: Metric, commit: str) -> Action:
    why = f"Does `{one.metric} {one.condition}` hold already?"
    if metric.kind == "probe":
        return Action(tool="measure", arguments={"probe": metric.probe, "commit": commit}, why=why)
    if metric.kind == "check":
        return Action(tool="run_checks", arguments={}, why=why)
    length = CriterionSpec.parse(metric=one.metric, condition=one.condition, duration=one.duration).duration
    window_s = min(LOOK_S, length.seconds) if length else LOOK_S
    return Action(tool="query_metric", arguments={"metric": one.metric, "window_s": window_s}, why=why)


def _seen(one: FrozenCriterion, metric: Metric, design_effect: float, turn: Turn) -> Seen:
    body = turn.observation.body
    condition = CriterionSpec.parse(metric=one.metric, condition=one.condition).condition
    value: float | None = None
    if turn.observation.ok and metric.kind == "probe":
        value = quantile(body["measures"][metric.measure], float(metric.quantile or 0))
    elif metric.kind == "check":
        value = next((run["seconds"] for run in body["checks"] if run["name"] == metric.check and run["passed"]), None)
    elif turn.observation.ok:
        measured = Measurement.model_validate({name: body.get(name) for name in Measurement.model_fields})
        met, _ = held(condition, one.baseline, measured, metric, design_effect=design_effect)
        return Seen(one, measured.value, met)
    baseline = one.baseline.value if one.baseline else None
    return Seen(one, value, condition.holds(value, baseline, metric.direction))


def _told(seen: Seen) -> str:
    one = seen.criterion
    value = "could not be measured" if seen.value is None else f"is {seen.value:.4g}"
    if seen.value is not None and seen.met is None:
        value += ", too few requests to tell"
    before = ""
    if "regression" in one.condition or "better" in one.condition or "baseline" in one.condition:
        before = (
            f", before {one.baseline.value:.4g}" if one.baseline and one.baseline.value is not None else ", no baseline"
        )
    return f"{one.metric} {value} ({one.condition}{before})"
