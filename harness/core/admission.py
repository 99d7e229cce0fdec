"""What a ticket must be to be worked on: a known service, criteria that can be measured. Decides; touches nothing."""

from __future__ import annotations

from datetime import datetime

from harness.core.constraint import check_fit, check_time
from harness.core.criteria import LONGEST_S, CriterionSpec
from harness.core.errors import Invalid
from harness.core.manifest import Manifest
from harness.core.ticket import TicketSpec
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
            if metric is None:
                nearest = choices(criterion.metric, manifest.metrics)
                reasons.append(f"{path}.metric: `{criterion.metric}` is not declared by {manifest.name}; {nearest}")
            else:
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
