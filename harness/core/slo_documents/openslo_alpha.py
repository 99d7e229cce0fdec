"""OpenSLO ``v1alpha`` documents as this project's objectives, in the way in which Sloth reads them. Pure.

One objective for each of a document's, without alerts: the form has none. Keys that Sloth does not know are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.core.declaration import Form
from harness.core.errors import Invalid
from harness.core.slo_documents import promql
from harness.core.slo_documents.reading import Reading
from harness.core.slo_documents.rules import Objective, name_fault
from harness.core.slo_documents.sloth import Number, Text

VERSION: Literal["openslo/v1alpha"] = "openslo/v1alpha"
DAY_S = 86400
LONGEST_DAYS = 3660
SOURCES = ("prometheus", "sloth")


class Metric(Form):
    """A query of one system in one language."""

    source: Text = ""
    query_type: Text = Field(default="", alias="queryType")
    query: Text = ""


class RatioMetrics(Form):
    """Good events of all events."""

    good: Metric | None = None
    total: Metric | None = None


class ObjectiveForm(Form):
    """``target``: a share of 1."""

    ratio_metrics: RatioMetrics | None = Field(default=None, alias="ratioMetrics")
    target: Number | None = None


class TimeWindow(Form):
    """A number of units."""

    unit: Text = ""
    count: Annotated[int, Field(strict=True)] = 0


class SpecForm(Form):
    """Of one service."""

    service: Text = ""
    objectives: tuple[ObjectiveForm, ...] | None = None
    time_windows: tuple[TimeWindow, ...] | None = Field(default=None, alias="timeWindows")


class Metadata(Form):
    """Of one document."""

    name: Text = ""


class Document(Form):
    """A document of ``openslo/v1alpha`` of kind SLO."""

    kind: Literal["SLO"]
    metadata: Metadata
    spec: SpecForm


def read(document: Any, where: str, reading: Reading) -> tuple[Objective, ...]:
    """The objectives of a parsed document. Raises Invalid, a line a fault."""
    form = Document.parse(document, where)
    name, spec = form.metadata.name, form.spec
    if faults := [f"{where}: {path}: {reason}" for path, reason in _faults(form)]:
        raise Invalid("\n".join(faults))
    period_s = float(spec.time_windows[0].count * DAY_S) if spec.time_windows else reading.period_s
    if period_s not in reading.catalog:
        raise Invalid(f"{where}: spec.timeWindows: {reading.no_table(period_s)}")
    return tuple(
        Objective(
            service=spec.service,
            name=f"{name}-{number}",
            percent=float(objective.target or 0) * 100,
            period_s=period_s,
            tiers=reading.catalog[period_s].over(period_s),
            error=_error(objective),
            spec=VERSION,
            labels=reading.extra_labels,
        )
        for number, objective in enumerate(spec.objectives or ())
    )


def _faults(form: Document) -> Iterator[tuple[str, str]]:
    spec, windows = form.spec, form.spec.time_windows or ()
    if reason := name_fault(form.metadata.name):
        yield "metadata.name", reason
    if reason := name_fault(spec.service):
        yield "spec.service", reason
    if len(windows) > 1:
        yield "spec.timeWindows", f"has {len(windows)} windows; give one"
    elif windows and windows[0].unit.lower() != "day":
        yield "spec.timeWindows[0].unit", f"{windows[0].unit!r} cannot be read; allowed: Day"
    elif windows and not 0 < windows[0].count <= LONGEST_DAYS:
        yield "spec.timeWindows[0].count", f"is no number of days; give 1 to {LONGEST_DAYS}"
    if not spec.objectives:
        yield "spec.objectives", "is empty; give at least one objective"
    for number, objective in enumerate(spec.objectives or ()):
        yield from ((f"spec.objectives[{number}].{path}", reason) for path, reason in _objective_faults(objective))


def _objective_faults(objective: ObjectiveForm) -> Iterator[tuple[str, str]]:
    if objective.target is None:
        yield "target", "is missing; give a share of 1, such as 0.999"
    elif not 0 < objective.target <= 1:
        yield "target", f"{objective.target!r} is outside of what is allowed, above 0 and up to 1"
    if objective.ratio_metrics is None:
        yield "ratioMetrics", "is missing; only a ratio of good events to all can be read"
        return
    metrics = {"good": objective.ratio_metrics.good, "total": objective.ratio_metrics.total}
    windowed = any(metric is not None and promql.has_window(metric.query) for metric in metrics.values())
    for name, metric in metrics.items():
        if metric is None:
            yield f"ratioMetrics.{name}", "is missing"
            continue
        if metric.source not in SOURCES:
            yield f"ratioMetrics.{name}.source", f"{metric.source!r} cannot be read; allowed: {', '.join(SOURCES)}"
        if metric.query_type != "promql":
            yield f"ratioMetrics.{name}.queryType", f"{metric.query_type!r} cannot be read; allowed: promql"
        elif reason := promql.fault(metric.query, needs_window=not windowed):
            yield f"ratioMetrics.{name}.query", reason


def _error(objective: ObjectiveForm) -> str:
    ratio = objective.ratio_metrics
    assert ratio is not None and ratio.good is not None and ratio.total is not None
    return f"(1 - ({promql.ratio(ratio.good.query, ratio.total.query)}))"
