"""What OpenSLO ``v1`` documents become, and what of them no rule is made of: said, never left out."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from harness.adapters.declarations import load_windows
from harness.core.errors import Invalid
from harness.core.slo_documents import openslo_rules
from harness.core.slo_documents.promql import windowed
from harness.core.slo_documents.reading import Reading
from harness.core.slo_documents.rules import Objective

TABLES = load_windows(Path(__file__).parents[3] / "slos/windows")
YEAR = {"startTime": "2026-01-01 00:00:00", "timeZone": "UTC"}
GOOD = "f: spec.indicator.spec.ratioMetric.good.metricSource"
CATALOG = {TABLES[name].period_s: TABLES[name] for name in ("28d", "30d")}


def metric(query: str, source: str = "Prometheus") -> dict[str, Any]:
    return {"metricSource": {"type": source, "spec": {"query": query}}}


def ratio(**parts: Any) -> dict[str, Any]:
    return {"ratioMetric": {"counter": True, "total": metric("sum(all_total)")} | parts}


def slo(sli: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    spec = {
        "service": "web", "budgetingMethod": "Occurrences", "timeWindow": [{"duration": "4w", "isRolling": True}],
        "indicator": {"metadata": {"name": "answered"}, "spec": sli or ratio(good=metric("sum(good_total)"))},
        "objectives": [{"target": 0.995}],
    } | changed  # fmt: skip
    return {"apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": "answers"},
            "spec": {key: value for key, value in spec.items() if value is not None}}  # fmt: skip


def other(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "openslo/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def read(*documents: dict[str, Any], alerts: bool = True) -> tuple[Objective, ...]:
    reading = Reading(CATALOG, 30 * 86400.0, {}, alerts)
    return openslo_rules.read([("f", deepcopy(document)) for document in documents], reading, "f")


def error(*documents: dict[str, Any]) -> str:
    (objective,) = read(*documents)
    return "".join(windowed(objective.error, 300).split())


@pytest.mark.parametrize(
    ("sli", "expected"),
    [
        (ratio(good=metric("sum(good_total)")), "(1-((sum(rate(good_total{}[5m])))/(sum(rate(all_total{}[5m])))))"),
        (ratio(bad=metric("bad_total")), "(sum(rate(bad_total{}[5m])))/(sum(rate(all_total{}[5m])))"),
        (
            ratio(bad=metric("sum by (a) (b_total)"), total=metric("sum by (a) (t_total)"), counter=False),
            "(sumby(a)(sum_over_time(b_total{}[5m])))/(sumby(a)(sum_over_time(t_total{}[5m])))",
        ),
        (
            ratio(bad=metric("increase(b[{{.window}}])"), total=metric("increase(t[{{ .window }}])")),
            "(increase(b[5m]))/(increase(t[5m]))",
        ),
        (
            {"ratioMetric": {"counter": False, "rawType": "failure", "raw": metric("avg_over_time(r[{{.window}}])")}},
            "(avg_over_time(r[5m]))",
        ),
        (
            {"ratioMetric": {"counter": False, "rawType": "success", "raw": metric("avg_over_time(r[{{.window}}])")}},
            "(1-(avg_over_time(r[5m])))",
        ),
    ],
)
def test_an_indicator_becomes_an_error_ratio(sli: dict[str, Any], expected: str) -> None:
    assert error(slo(sli)).replace("{}", "") == expected.replace("{}", "")


def test_a_threshold_becomes_the_share_of_moments_at_which_it_was_not_kept() -> None:
    given = slo({"thresholdMetric": metric("max(lag)")}, objectives=[{"target": 0.99, "op": "lte", "value": 500}])

    assert error(given) == "(1-avg_over_time(((max(lag))<=bool500.0)[5m:]))"


def test_each_objective_is_one_of_its_own_without_alerts() -> None:
    found = read(slo(objectives=[{"target": 0.99}, {"targetPercent": 99.95}]))

    assert [(each.id, each.percent, each.period_s) for each in found] == [
        ("web-answers-0", 99, 28 * 86400), ("web-answers-1", 99.95, 28 * 86400)
    ]  # fmt: skip
    assert [each.alerts for each in found] == [{}, {}]


def test_parts_are_found_by_name_in_the_same_file() -> None:
    sli = ratio(good={"metricSource": {"metricSourceRef": "here", "spec": {"query": "good_total"}}})
    source = other("DataSource", "here", {"type": "Prometheus", "connectionDetails": [{"url": "http://x"}]})
    given = slo(indicator=None, indicatorRef="answered")

    assert error(given, other("SLI", "answered", sli), source).startswith("(1-((sum(rate(good_total")
    with pytest.raises(Invalid, match=r"f: spec\.indicatorRef: names 'answered'; put the SLI of that name into"):
        read(given)
    with pytest.raises(Invalid, match=r"f: spec\.ratioMetric\.good\.metricSource\.type: is missing, and no Data"):
        read(given, other("SLI", "answered", {"ratioMetric": sli["ratioMetric"] | {"total": metric("t")}}))


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (slo(timeWindow=[{"duration": "2w", "isRolling": True}]), "duration: a period of 14d has no table"),
        (
            slo(timeWindow=[{"duration": "4w", "calendar": YEAR}]),
            "isRolling: no rule is made of a window of the calendar",
        ),
        (
            slo(budgetingMethod="RatioTimeslices", objectives=[{"target": 0.9, "timeSliceWindow": "1m"}]),
            "budgetingMethod: no rule is made of RatioTimeslices",
        ),
        (slo(alertPolicies=[{"alertPolicyRef": "a"}]), "alertPolicies: no alert is made of a policy"),
        (slo(objectives=[]), "objectives: is empty"),
        (slo(objectives=[{"target": 0}]), "objectives[0].target: 0.0 is outside"),
        (slo(indicator=None, objectives=[{"target": 0.9, "indicatorRef": "a"}]), "belongs to a composite"),
        (slo(ratio(good=metric("x", "Datadog"))), f"{GOOD}.type: 'Datadog' is another system"),
        (slo(ratio(good=metric("rate(x[5m])"))), f"{GOOD}.spec.query: is neither a series nor the sum of one"),
        (slo(ratio(good=metric("x offset 5m"))), f"{GOOD}.spec.query: is moved in time"),
        (slo(ratio(good=metric("sum(x"))), f"{GOOD}.spec.query: is no PromQL"),
        (
            slo(ratio(good={"metricSource": {"type": "Prometheus", "spec": {"a": 1}}})),
            f"{GOOD}.spec.query: is missing",
        ),
        (
            slo(ratio(good={"metricSource": {"type": "Prometheus", "spec": {"query": 1}}})),
            f"{GOOD}.spec.query: is no text",
        ),
        (slo({"ratioMetric": {"rawType": "success", "raw": metric("avg(x)")}}), "has to contain the variable"),
    ],
)
def test_what_no_rule_can_say_is_refused(document: dict[str, Any], told: str) -> None:
    openslo_rules.check([("f", deepcopy(document))], Reading(CATALOG, 30 * 86400.0, {}, True), "f")

    with pytest.raises(Invalid) as refusal:
        read(document)

    assert told in str(refusal.value)


def test_every_query_that_no_rule_can_be_made_of_is_told_once_where_it_stands() -> None:
    # given an indicator with two queries of a fixed window, named by an objective with two targets
    sli = other("SLI", "answered", ratio(good=metric("rate(x[5m])"), total=metric("rate(y[5m])")))
    given = slo(indicator=None, indicatorRef="answered", objectives=[{"target": 0.9}, {"target": 0.99}])

    # when rules are wanted, then both are told at the indicator, and neither once for each target
    with pytest.raises(Invalid) as refusal:
        openslo_rules.read([("one", given), ("two", sli)], Reading(CATALOG, 30 * 86400.0, {}, True), "f")
    assert [line.split(": ")[:2] for line in str(refusal.value).splitlines()] == [
        ["two", f"spec.ratioMetric.{part}.metricSource.spec.query"] for part in ("good", "total")
    ]


def test_two_parts_of_one_name_are_refused_for_either_could_be_meant() -> None:
    one = other("SLI", "good-ones", ratio(good=metric("sum(good_total)")))
    named = slo(indicator=None, indicatorRef="good-ones")
    assert len(read(named, one)) == 1
    with pytest.raises(Invalid, match=r"metadata\.name: 'good-ones' names another"):
        read(named, one, one)


def test_policies_are_in_nobodys_way_where_alerts_are_not_wanted() -> None:
    assert read(slo(alertPolicies=[{"alertPolicyRef": "a"}]), alerts=False)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (slo(more=1), "spec.more: unknown key"),
        (slo(objectives=[{"target": 0.9, "op": "lt"}]), "spec.objectives[0].op: is of no use beside a ratio"),
        (slo(objectives=[{}]), "spec.objectives[0]: has none of target, targetPercent"),
        (slo(objectives=[{"target": "0.9"}]), "spec.objectives[0].target: input should be a valid number"),
        (slo(objectives=[{"target": 1}]), "spec.objectives[0].target: input should be less than 1"),
        (slo(objectives=[{"targetPercent": 100}]), "spec.objectives[0].targetPercent: input should be less than 100"),
        (slo({"thresholdMetric": metric("lag")}), "spec.objectives[0].value: is missing"),
        (slo({"thresholdMetric": metric("lag")}), "spec.objectives[0].op: is missing"),
        (
            slo({"thresholdMetric": metric("lag")}, objectives=[{"target": 0.9, "op": "less", "value": 1}]),
            "spec.objectives[0].op: 'less' cannot be read",
        ),
        (slo(budgetingMethod="Timeslices"), "spec.objectives[0].timeSliceTarget: is missing"),
        (slo(service=""), "spec.service"),
        (slo(description="x" * 1051), "spec.description"),
        (slo(indicatorRef="a"), "has both indicator and indicatorRef"),
        (slo(objectives=[{"target": 0.9, "indicatorRef": "a"}]), "has an indicator of its own and others"),
        (slo(ratio(good=metric("x"), bad=metric("y"))), "has more than one of raw, good, bad"),
        (slo({"ratioMetric": {"raw": metric("x")}}), "spec.indicator.spec.ratioMetric.rawType: is missing"),
        (slo({"description": "x"}), "spec.indicator.spec: has none of thresholdMetric, ratioMetric"),
        (slo(timeWindow=[{"duration": "4w", "isRolling": True, "calendar": YEAR}]), "has a calendar though"),
        (slo(timeWindow=[{"duration": "4w"}]), "needs a calendar"),
        (slo(timeWindow=[{"duration": "4w", "calendar": YEAR | {"timeZone": "No/Where"}}]), "'No/Where' is no time"),
        (slo(alertPolicies=[{"alertPolicyRef": "a", "kind": "AlertPolicy"}]), "has alertPolicyRef beside kind"),
        (slo(alertPolicies=[{}]), "spec.alertPolicies[0]: is empty"),
        (slo(alertPolicies=[{"kind": "AlertPolicy", "spec": {"conditions": [{"conditionRef": "a"}],
                                                             "notificationTargets": [{"targetRef": "a"}]}}]),
         "spec.alertPolicies[0].metadata: is missing"),
        (other("AlertPolicy", "a", {"conditions": [{"conditionRef": "a"}], "notificationTargets": []}),
         "spec.notificationTargets"),
        (other("DataSource", "a", {"type": "x"}), "spec.connectionDetails: is missing"),
        (other("Service", "A b", {}), "metadata.name"),
        (other("Thing", "a", {}), "kind: 'Thing' cannot be read"),
        (slo(budgetingMethod="RatioTimeslices", objectives=[{"target": 0.9, "timeSliceWindow": "1x"}]),
         "spec.objectives[0].timeSliceWindow: '1x' is no duration"),
        (slo(timeWindow=[{"duration": "4w", "calendar": YEAR | {"startTime": "2026-1-1 00:00:00"}}]), "is no time"),
        (slo(indicator=None, objectives=[{"target": 0.9, "indicatorRef": "a", "compositeWeight": 0}]),
         "spec.objectives[0].compositeWeight: 0 has to be above 0"),
        (slo({"thresholdMetric": metric("lag")}, objectives=[{"target": 0.9, "op": "lt", "value": float("inf")}]),
         "spec.objectives[0].value: input should be a finite number"),
        ({"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "a", "labels": {"b": 1}}},
         "metadata.labels.b: input should be a valid list, not 1"),
    ],
)  # fmt: skip
def test_what_the_form_does_not_allow_is_told_with_its_place(document: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refusal:
        openslo_rules.check([("f", document)], Reading(CATALOG, 30 * 86400.0, {}, True), "f")

    assert told in str(refusal.value)


def test_every_fault_is_told_that_of_a_value_beside_that_of_parts_that_do_not_fit() -> None:
    objectives = [{"target": 2, "op": "less"}, {}]
    given = slo({"thresholdMetric": metric("lag")}, description="x" * 1051, objectives=objectives)

    with pytest.raises(Invalid) as refusal:
        openslo_rules.check([("f", given)], Reading(CATALOG, 30 * 86400.0, {}, True), "f")

    assert [line.split(": ")[1] for line in str(refusal.value).splitlines()] == [
        "spec.description", "spec.objectives[0].target", "spec.objectives[0].value", "spec.objectives[0].op",
        "spec.objectives[1]", "spec.objectives[1].value", "spec.objectives[1].op",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        slo(objectives=[{"target": 0.9, "op": "", "timeSliceWindow": "1x", "timeSliceTarget": 7, "displayName": None}]),
        slo(timeWindow=[{"duration": "4w", "isRolling": None, "calendar": YEAR}]),
        slo(timeWindow=[{"duration": "4w", "calendar": YEAR | {"startTime": "2026-01-01 00:00:00.25"}}]),
        slo(ratio(good={"metricSource": {"metricSourceRef": "", "type": None, "spec": {"a": None}}}, rawType="")),
        other("DataSource", "a", {"type": "x", "connectionDetails": None}),
        other("AlertCondition", "a", {"severity": "page", "condition": {
            "kind": "burnrate", "op": "gt", "threshold": 2, "lookbackWindow": "1h", "alertAfter": ""}}),
        other("AlertPolicy", "a", {"alertWhenNoData": None, "conditions": [{"conditionRef": "b", "kind": None}],
                                   "notificationTargets": [{"targetRef": "c"}]}),
        {"apiVersion": "openslo/v1", "kind": "Service", "spec": None,
         "metadata": {"name": "a", "labels": {"b": None, "c": "d", "e": ["f"]}, "annotations": {"g": None}}},
    ],
)  # fmt: skip
def test_a_key_without_a_value_is_one_that_is_not_there(document: dict[str, Any]) -> None:
    openslo_rules.check([("f", document)], Reading(CATALOG, 30 * 86400.0, {}, True), "f")
