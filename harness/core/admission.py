"""What a ticket must be to be worked on: a known service, criteria that can be measured. Decides; touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from harness.core.constraint import check_fit, check_time
from harness.core.criteria import LONGEST_S, Condition, CriterionSpec
from harness.core.errors import Invalid
from harness.core.events import FrozenCriterion, Measurement
from harness.core.manifest import Manifest
from harness.core.ticket_spec import TicketSpec
from harness.core.units import choices


def too_long(criterion: CriterionSpec) -> str | None:
    """``duration: reason`` where it lasts longer than anything can be judged over."""
    if criterion.duration is None or criterion.duration.seconds <= LONGEST_S:
        return None
    return f"duration: {criterion.duration.text!r} is longer than measurements are kept; at most 30d"


def failing_rules(spec: TicketSpec, manifest: Manifest, now: datetime) -> tuple[str, ...]:
    """``path: reason`` of every rule that the ticket breaks, with the way to pass it."""
    if spec.service != manifest.name:
        return (f"service: `{spec.service}` is not registered; registered: {manifest.name}",)
    reasons = []
    for number, criterion in enumerate(spec.acceptance_criteria):
        path = f"acceptance_criteria[{number}]"
        metric = manifest.metrics.get(criterion.metric)
        try:
            understood = criterion.spec()
            if fault := too_long(understood):
                reasons.append(f"{path}.{fault}")
            if metric is not None:
                understood.condition.check_fits(metric.unit, metric.direction)
                if metric.kind == "counter" and understood.condition.needs_baseline:
                    reasons.append(
                        f"{path}.condition: `{criterion.metric}` is demand, and more or less of it is nobody's doing: "
                        "it is never compared with before; give a value, like `> 100rps`, or leave it out"
                    )
        except Invalid as error:
            reasons += [
                f"{path}.{fault}" if fault.startswith(("condition:", "duration:")) else f"{path}: {fault}"
                for fault in str(error).splitlines()
            ]
    if not spec.allow_unmeasured:
        reasons += undeclared(spec, manifest)
    for number, constraint in enumerate(spec.limits()):
        try:
            check_fit(constraint, manifest.peak_hours, manifest.name)
        except Invalid as error:
            reasons.append(f"constraints[{number}]: {error}")
    try:
        check_time(spec.limits(), manifest.peak_hours, now)
    except Invalid as error:
        reasons.append(f"constraints: {error}")
    if spec.change is not None and spec.reverts is not None:
        reasons.append("change: a ticket has `change` or `reverts`, not both")
    return tuple(reasons)


def undeclared(spec: TicketSpec, manifest: Manifest) -> list[str]:
    """``path: reason`` of every criterion whose metric the service does not declare, with the nearest names."""
    return [
        f"acceptance_criteria[{number}].metric: `{one.metric}` is not declared by {manifest.name}; "
        f"{choices(one.metric, manifest.metrics)}"
        for number, one in enumerate(spec.acceptance_criteria)
        if one.metric not in manifest.metrics
    ]


def without_data(criteria: Sequence[FrozenCriterion], recent: Sequence[Measurement]) -> list[str]:
    """``path: reason`` of every criterion that nothing was measured for as it was to be admitted.

    One that compares needs its baseline: without one it is never met. Of any other something in either window is
    enough, of before or of now (``recent``), be it too little to judge by.
    """
    seen = {one.metric for one in recent if one.value is not None or one.samples}
    reasons = []
    for number, one in enumerate(criteria):
        before, compares = one.baseline, Condition.parse(one.condition).needs_baseline
        assert before is not None, "admission measures every baseline"
        if before.value is not None or (not compares and (before.samples or one.metric in seen)):
            continue
        span = " to ".join(moment.isoformat(timespec="seconds") for moment in (before.window_from, before.window_to))
        what = "was not measured before, which this condition compares with" if compares else "has no data"
        reasons.append(f"acceptance_criteria[{number}].metric: `{one.metric}` {what} (looked at {span})")
    return reasons


WAY_OUT: Final = "wait for it to be measured, leave it out, or file it with --allow-unmeasured: then a person is called"


def to_people(reasons: Sequence[str]) -> str:
    """What a person is asked whose ticket has criteria that cannot be measured."""
    told = "; ".join(reasons)
    return (
        f"Nobody works on this ticket, for it could not be shown to be done: {told}. See to it that this is measured, "
        "then answer: the ticket is looked at again, and let in once all can be. Or cancel it, and file it with what "
        "can be measured. What should be done?"
    )
