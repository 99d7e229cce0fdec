"""OpenSLO documents of both versions as this project's objectives, and what of them no rule can be made of. Pure.

Sloth reads ``v1alpha`` alone. For ``v1`` the same holds as there: one objective for each of a document's, by its
number, without alerts. What a rule cannot say (time slices, calendars, alert policies, other systems than Prometheus)
is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.core.errors import Invalid
from harness.core.slo_documents import openslo, openslo_alpha, promql
from harness.core.slo_documents.openslo_together import length_s
from harness.core.slo_documents.reading import Reading
from harness.core.slo_documents.rules import Objective, name_fault, percent_fault, require_distinct

COMPARED = {"gt": ">", "lt": "<", "gte": ">=", "lte": "<="}


def check(documents: Iterable[tuple[str, Any]], reading: Reading, where: str) -> None:
    """Raise Invalid, a line a fault, where a document is none; ``documents``: where each stands, and what it says."""
    objects = _each(documents, reading)
    require_distinct((slo for _, one in objects if isinstance(one, tuple) for slo in one), where)


def read(documents: Iterable[tuple[str, Any]], reading: Reading, where: str) -> tuple[Objective, ...]:
    """The objectives of all documents, which may name each other's parts. Raises Invalid, a line a fault."""
    found: list[Objective] = []
    faults: list[str] = []
    objects = _each(documents, reading)
    named: dict[tuple[type[openslo.Head], str], tuple[str, openslo.Head]] = {}
    for place, one in objects:
        if not isinstance(one, openslo.Head):
            continue
        if named.setdefault((type(one), one.metadata.name), (place, one))[1] is not one:
            faults.append(f"{place}: metadata.name: {one.metadata.name!r} names another {type(one).__name__}, too")
    for place, one in objects:
        if isinstance(one, openslo.Slo):
            try:
                found += _objectives(one, place, named, reading)
            except Invalid as error:
                faults.append(str(error))
        elif isinstance(one, tuple):
            found += one
    if faults:
        raise Invalid("\n".join(faults))
    require_distinct(found, where)
    return tuple(found)


Object = openslo.Head | tuple[Objective, ...]
Named = Mapping[tuple[type[openslo.Head], str], tuple[str, openslo.Head]]
"""Kind and name → where an object stands, and the object."""


def _each(documents: Iterable[tuple[str, Any]], reading: Reading) -> list[tuple[str, Object]]:
    objects: list[tuple[str, Object]] = []
    faults: list[str] = []
    for where, document in _items(documents):
        try:
            objects.append((where, _read(document, where, reading)))
        except Invalid as error:
            faults.append(str(error))
    if faults:
        raise Invalid("\n".join(faults))
    return objects


def _items(documents: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """A document may be a list of objects."""
    for where, document in documents:
        if isinstance(document, list) and document:
            yield from ((f"{where}: [{number}]", item) for number, item in enumerate(document))
        else:
            yield where, document


def _read(document: Any, where: str, reading: Reading) -> Object:
    if not isinstance(document, dict):
        raise Invalid(f"{where}: document: is no mapping; an object of OpenSLO has apiVersion, kind, metadata and spec")
    version = document.get("apiVersion")
    if version == openslo_alpha.VERSION:
        return openslo_alpha.read(document, where, reading)
    if version == openslo.VERSION:
        return openslo.read(document, where)
    allowed = f"allowed: {openslo.VERSION}, {openslo_alpha.VERSION}"
    if version is not None:
        raise Invalid(f"{where}: apiVersion: {version!r} cannot be read; {allowed}")
    other = document.get("version")
    hint = f"{other!r} is read with --format sloth" if other is not None else allowed
    raise Invalid(f"{where}: apiVersion: is missing; {hint}")


def _objectives(slo: openslo.Slo, where: str, named: Named, reading: Reading) -> tuple[Objective, ...]:
    spec, name = slo.spec, slo.metadata.name
    faults = [f"{where}: {path}: {reason}" for path, reason in _faults(slo, reading)]
    period_s = length_s(spec.time_window[0].duration)
    if period_s not in reading.catalog:
        faults.append(f"{where}: spec.timeWindow[0].duration: {reading.no_table(period_s)}")
    errors = []
    for number, objective in enumerate(spec.objectives):
        if objective.has_indicator:
            faults.append(f"{where}: spec.objectives[{number}]: belongs to a composite; give each its own SLO")
            continue
        try:
            errors.append(_error(slo, where, number, named))
        except Invalid as error:
            faults.append(str(error))
    if faults:
        raise Invalid("\n".join(dict.fromkeys(faults)))
    return tuple(
        Objective(
            service=spec.service,
            name=f"{name}-{number}",
            percent=_percent(objective),
            period_s=period_s,
            tiers=reading.catalog[period_s].over(period_s),
            error=error,
            spec=openslo.VERSION,
            labels=reading.extra_labels,
        )
        for number, (objective, error) in enumerate(zip(spec.objectives, errors, strict=True))
    )


def _faults(slo: openslo.Slo, reading: Reading) -> Iterator[tuple[str, str]]:
    spec = slo.spec
    if reason := name_fault(spec.service):
        yield "spec.service", reason
    if spec.budgeting_method != "Occurrences":
        yield "spec.budgetingMethod", f"no rule is made of {spec.budgeting_method}; allowed: Occurrences"
    if not spec.time_window[0].is_rolling:
        yield "spec.timeWindow[0].isRolling", "no rule is made of a window of the calendar; allowed: true"
    if spec.alert_policies and reading.alerts:
        yield "spec.alertPolicies", "no alert is made of a policy; with --disable-alerts the records are written alone"
    if not spec.objectives:
        yield "spec.objectives", "is empty; give at least one objective"
    for number, objective in enumerate(spec.objectives):
        if reason := percent_fault(_percent(objective)):
            yield f"spec.objectives[{number}].target", reason


def _percent(objective: openslo.ObjectivePart) -> float:
    if objective.target_percent is not None:
        return objective.target_percent
    assert objective.target is not None
    return objective.target * 100


def _error(slo: openslo.Slo, where: str, number: int, named: Named) -> str:
    objective = slo.spec.objectives[number]
    at, sli = _indicator(slo.spec, where, named)
    if sli.threshold_metric is not None:
        query = _query(sli.threshold_metric, f"{at}.thresholdMetric", named)
        if objective.op not in COMPARED or objective.value is None:
            raise Invalid(f"{where}: spec.objectives[{number}]: op and value are needed beside a threshold metric")
        compared = f"{COMPARED[objective.op]} bool {objective.value!r}"
        return _of_threshold(query, compared, _path(f"{at}.thresholdMetric"))
    ratio, at = sli.ratio_metric, f"{at}.ratioMetric"
    assert ratio is not None
    if ratio.raw is not None:
        raw = _template(_query(ratio.raw, f"{at}.raw", named), _path(f"{at}.raw"))
        return promql.enclosed(raw) if ratio.raw_type == "failure" else f"(1 - {promql.enclosed(raw)})"
    function = "rate" if ratio.counter else "sum_over_time"
    events, faults = {}, []
    for part, metric in (("good", ratio.good), ("bad", ratio.bad), ("total", ratio.total)):
        try:
            if metric is not None:
                events[part] = _events(metric, f"{at}.{part}", function, named)
        except Invalid as error:
            faults.append(str(error))
    if faults:
        raise Invalid("\n".join(faults))
    if ratio.bad is not None:
        return promql.ratio(events["bad"], events["total"])
    return f"(1 - ({promql.ratio(events['good'], events['total'])}))"


def _indicator(spec: openslo.SloPart, where: str, named: Named) -> tuple[str, openslo.SliSpec]:
    """Where an objective's indicator is written, and the indicator."""
    if spec.indicator is not None:
        return f"{where}: spec.indicator.spec", spec.indicator.spec
    place, sli = named.get((openslo.Sli, spec.indicator_ref or ""), ("", None))
    if not isinstance(sli, openslo.Sli):
        found = f"{where}: spec.indicatorRef: names {spec.indicator_ref!r}"
        raise Invalid(f"{found}; put the SLI of that name into the same file")
    return f"{place}: spec", sli.spec


def _of_threshold(query: str, compared: str, at: str) -> str:
    """The share of the moments in a window at which the number was not as it should be."""
    good = f"({promql.enclosed(query)} {compared})"
    return f"(1 - {_template(f'avg_over_time({good}[{promql.WINDOW}:])', at)})"


def _events(metric: openslo.Metric, at: str, function: str, named: Named) -> str:
    query = _query(metric, at, named)
    if "{{" in query:
        return _template(query, _path(at))
    try:
        return promql.over_windows(query, function)
    except Invalid as error:
        raise Invalid(f"{_path(at)}: {error}") from None


def _template(query: str, at: str) -> str:
    if reason := promql.fault(query):
        raise Invalid(f"{at}: {reason}")
    return query


def _path(at: str) -> str:
    return f"{at}.metricSource.spec.query"


def _query(metric: openslo.Metric, at: str, named: Named) -> str:
    source = metric.metric_source
    kind = source.type
    if kind is None and source.metric_source_ref:
        _, other = named.get((openslo.DataSource, source.metric_source_ref), ("", None))
        kind = other.spec.type if isinstance(other, openslo.DataSource) else None
    if (kind or "").lower() != "prometheus":
        said = f"{kind!r} is another system" if kind else "is missing, and no DataSource of this file tells it"
        raise Invalid(f"{at}.metricSource.type: {said}; rules are made of type Prometheus alone")
    query = source.spec.get("query")
    if not isinstance(query, str):
        raise Invalid(f"{_path(at)}: {'is missing' if query is None else 'is no text'}; write a query in PromQL")
    return query
