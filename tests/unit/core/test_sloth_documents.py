"""Documents of Sloth and of OpenSLO ``v1alpha``: what they become, and every mistake with its place. Pure."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from harness.adapters.declarations import load_windows
from harness.core.errors import Invalid
from harness.core.slo_documents import openslo_alpha, sloth
from harness.core.slo_documents.reading import Reading
from harness.core.slo_documents.rules import Objective, rule_groups

TABLES = load_windows(Path(__file__).parents[3] / "slos/windows")
CATALOG = {TABLES[name].period_s: TABLES[name] for name in sloth.TABLES}
DAY_S = 86400.0
QUERY = "sum(rate(pages_{}_total[{{{{.window}}}}]))"
BAD, ALL = QUERY.format("bad"), QUERY.format("all")


def reading(days: int = 30, **labels: str) -> Reading:
    return Reading(CATALOG, days * DAY_S, labels, True)


def document(slo: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    pages = {"name": "pages", "objective": 99.9, "sli": {"events": {"error_query": BAD, "total_query": ALL}},
             "alerting": {"name": "PagesFail"}} | (slo or {})  # fmt: skip
    return {"version": "prometheus/v1", "service": "wiki", "slos": [pages]} | changed


def rules(objectives: tuple[Objective, ...], **wanted: Any) -> dict[str, dict[str, Any]]:
    """By name, or by severity."""
    found = [rule for group in rule_groups(objectives, version="1", **wanted) for rule in group["rules"]]
    return {rule.get("record") or rule["labels"]["sloth_severity"]: rule for rule in found}


def test_an_objective_has_a_record_for_every_window_and_for_its_period() -> None:
    found = rules(sloth.read(document(), "f", reading(28)))

    assert [name.removeprefix("slo:sli_error:ratio_rate") for name in found if name.startswith("slo:sli_error")] == [
        "5m", "30m", "1h", "2h", "6h", "1d", "3d", "4w",
    ]  # fmt: skip
    one = found["slo:sli_error:ratio_rate1d"]
    assert one["expr"] == "(sum(rate(pages_bad_total[1d])))\n/\n(sum(rate(pages_all_total[1d])))"
    assert one["labels"] == {
        "sloth_id": "wiki-pages", "sloth_service": "wiki", "sloth_slo": "pages", "sloth_window": "1d",
    }  # fmt: skip
    assert found["slo:sli_error:ratio_rate4w"]["expr"].count("slo:sli_error:ratio_rate5m{") == 2


def test_the_metadata_say_what_was_promised() -> None:
    found = rules(sloth.read(document({"objective": 99.95}), "f", reading()))

    assert found["slo:objective:ratio"]["expr"] == "vector(0.9995)"
    assert found["slo:error_budget:ratio"]["expr"] == "vector(1-0.9995)"
    assert found["slo:time_period:days"]["expr"] == "vector(30)"
    assert found["sloth_slo_info"]["labels"]["sloth_objective"] == "99.95"
    assert found["sloth_slo_info"]["labels"]["sloth_spec"] == "prometheus/v1"
    assert "sloth_window" not in found["slo:current_burn_rate:ratio"]["labels"]


def test_the_later_label_wins_and_alerts_have_labels_of_their_own() -> None:
    alerting = {
        "name": "PagesFail", "labels": {"to": "all", "team": "wiki"}, "annotations": {"summary": "pages", "more": "x"},
        "page_alert": {"labels": {"to": "pager"}, "annotations": {"title": "now"}}, "ticket_alert": None,
    }  # fmt: skip
    given = document({"labels": {"tier": "2", "kind": "b"}, "alerting": alerting}, labels={"tier": 1, "zone": "eu"})

    found = rules(sloth.read(given, "f", reading(kind="c")))

    record = found["slo:objective:ratio"]["labels"]
    assert {key: record[key] for key in ("tier", "zone", "kind")} == {"tier": "2", "zone": "eu", "kind": "c"}
    assert found["page"]["labels"] == {"sloth_severity": "page", "to": "pager", "team": "wiki"}
    assert found["page"]["annotations"] == {"title": "now", "summary": "pages", "more": "x"}
    assert found["ticket"]["labels"] == {"sloth_severity": "ticket", "to": "all", "team": "wiki"}
    assert found["ticket"]["annotations"]["title"].startswith("(ticket) {{$labels.sloth_service}} ")


def test_an_alert_names_both_tiers_of_its_severity() -> None:
    found = rules(sloth.read(document({"alerting": {"name": "A1", "ticket_alert": {"disable": True}}}), "f", reading()))

    assert "ticket" not in found
    for part in ("ratio_rate5m", "ratio_rate1h", "(14.4 * 0.001)", "ratio_rate30m", "ratio_rate6h", "(6 * 0.001)"):
        assert part in found["page"]["expr"]


def test_records_and_alerts_can_be_had_alone() -> None:
    read = sloth.read(document(), "f", reading())

    assert set(rules(read, recordings=False)) == {"page", "ticket"}
    assert not {"page", "ticket"} & set(rules(read, alerts=False))


def test_a_comment_at_the_end_of_a_query_ends_there() -> None:
    given = document({"sli": {"raw": {"error_ratio_query": "avg_over_time(bad[{{ .window }}]) # a gauge"}}})

    (slo,) = sloth.read(given, "f", reading())

    assert slo.error == "(avg_over_time(bad[{{ .window }}]) # a gauge\n)"


def test_a_window_may_be_a_part_of_the_name_of_a_series_that_others_record() -> None:
    query = "wiki:bad:rate{{.window}}{page!~`\\d+`} / wiki:all_rate_{{ .window }}_total"

    found = rules(sloth.read(document({"sli": {"raw": {"error_ratio_query": query}}}), "f", reading()))

    expected = "(wiki:bad:rate2h{page!~`\\d+`} / wiki:all_rate_2h_total)"
    assert found["slo:sli_error:ratio_rate2h"]["expr"] == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (document(version="prometheus/v2"), "f: version: 'prometheus/v2' cannot be read"),
        ({"apiVersion": "openslo/v1", "kind": "SLO"}, "f: version: is missing; 'openslo/v1' is read with --format"),
        ({"apiVersion": "sloth.slok.dev/v1"}, "is a Kubernetes resource"),
        (document(service="a"), "f: service: 'a' has to be two or more"),
        (document(slos=[]), "f: slos: is empty"),
        (document(slo_plugins={"chain": [{"id": "a"}]}), "f: slo_plugins: plugins are not supported"),
        (document({"plugins": {"overridePrevious": True}}), "f: slos[0].plugins: plugins are not supported"),
        (document({"sli": {"plugin": {"id": "a"}}}), "f: slos[0].sli.plugin: plugins"),
        (document({"sli": None}), "f: slos[0].sli: is missing"),
        (document({"sli": {"events": {"error_query": ALL, "total_query": ALL}}}), "error_query and total_query are"),
        (document({"sli": {"events": {}}}), "f: slos[0].sli.events.error_query: is missing"),
        (document({"sli": {"raw": {"error_ratio_query": "x[{{.window}}] {{.other}}"}}}), "the only variable"),
        (document({"objective": True}), "f: slos[0].objective: True is no number"),
        (document({"objective": -1}), "f: slos[0].objective: -1.0 is outside"),
        (document({"labels": {"a-b": "c"}}), "f: slos[0].labels.a-b: is no name of a label"),
        (document(labels={"a": None}), "f: labels.a: has no value"),
        (document(labels={"a\nb": "c"}), "f: labels.a\\nb: is no name of a label"),
        (document({"alerting": {"name": "A", "labels": {"a": ""}}}), "f: slos[0].alerting.labels.a: has no value"),
        (
            document({"alerting": {"name": "A", "page_alert": {"annotations": {"a": ""}}}}),
            "f: slos[0].alerting.page_alert.annotations.a: has no value",
        ),
        (document({"alerting": {"page_alert": {"disable": True}}}), "f: slos[0].alerting.name: is missing"),
        (document({"alerting": {"page_alert": {"disable": "yes"}}}), "alerting.page_alert.disable: input should be"),
        (document({"name": "-a"}), "f: slos[0].name: '-a' has to be"),
        (document({"description": {"a": "b"}}), "f: slos[0].description: is no text"),
        (document({"labels": []}), "f: slos[0].labels: should be keys, each with its value"),
        (document({"alerting": {"name": "A", "annotations": ""}}), "f: slos[0].alerting.annotations: should be keys"),
        (document(labels=False), "f: labels: should be keys, each with its value"),
        (document({"plugins": []}), "f: slos[0].plugins: plugins are not supported"),
        (document(slo_plugins={"chain": ""}), "f: slo_plugins: plugins are not supported"),
    ],
)
def test_a_mistake_of_a_document_is_told_with_its_place(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refusal:
        sloth.read(given, "f", reading())

    assert told in str(refusal.value)


@pytest.mark.parametrize("nothing", [None, {}, {"chain": None}, {"chain": [], "overridePrevious": False}])
def test_a_chain_without_a_plugin_asks_for_nothing(nothing: Any) -> None:
    given = document({"plugins": nothing, "labels": None, "description": 7}, slo_plugins=nothing, labels=None)

    assert sloth.read(given, "f", reading()) == sloth.read(document(), "f", reading())


def test_names_are_given_once_in_a_file_and_services_keep_theirs_apart() -> None:
    there, here = document(), document(service="shop")

    assert len(sloth.read_all([("f", there), ("f", here)], reading(), "f")) == 2
    with pytest.raises(Invalid, match="f: wiki-pages: is declared twice"):
        sloth.read_all([("f", there), ("f", deepcopy(there))], reading(), "f")


def test_a_period_needs_a_table() -> None:
    with pytest.raises(Invalid, match="f: a period of 7d has no table of alert windows; allowed: 28d, 30d"):
        sloth.read(document(), "f", reading(7))


def table(**changed: Any) -> dict[str, Any]:
    quick = {"errorBudgetPercent": 1, "shortWindow": "2m", "longWindow": "30m"}
    slow = {"errorBudgetPercent": 2.5, "shortWindow": "3h", "longWindow": "36h"}
    spec = {"sloPeriod": "2w", "page": {"quick": quick, "slow": slow}, "ticket": {"quick": quick, "slow": slow}}
    return {"apiVersion": "sloth.slok.dev/v1", "kind": "AlertWindows", "spec": spec | changed}


def test_a_table_of_sloth_is_one_of_ours() -> None:
    windows = sloth.read_windows(table(), "f")

    assert [(tier.severity, tier.long_s, tier.short_s) for tier in windows.tiers] == [
        ("page", 1800, 120), ("page", 129600, 10800), ("ticket", 1800, 120), ("ticket", 129600, 10800),
    ]  # fmt: skip
    assert [tier.factor for tier in windows.over(windows.period_s)][:2] == pytest.approx([6.72, 0.23333333])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (table(sloPeriod="month"), "f: spec.sloPeriod: 'month' is no length of time"),
        (table(sloPeriod=30), "f: spec.sloPeriod: '30' is no length of time; write it like `30d`"),
        (table(page={"quick": {}, "slow": {}}), "f: spec.page.quick.errorBudgetPercent: is missing"),
        (
            table(page={speed: {"errorBudgetPercent": 0, "shortWindow": "x", "longWindow": "1h"}
                        for speed in ("quick", "slow")}),
            "f: spec.page.slow.errorBudgetPercent: 0.0 is outside",
        ),
        (
            table(page={speed: {"errorBudgetPercent": 1, "shortWindow": "2h", "longWindow": "1h"}
                        for speed in ("quick", "slow")}),
            "f: spec.page.quick.shortWindow: '2h' has to be shorter than longWindow, '1h'",
        ),
        (table() | {"kind": "Windows"}, "f: kind: "),
    ],
)  # fmt: skip
def test_a_mistake_of_a_table_is_told_with_its_place(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refusal:
        sloth.read_windows(given, "f")

    assert told in str(refusal.value)


def alpha(objective: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    def metric(query: str) -> dict[str, str]:
        return {"source": "prometheus", "queryType": "promql", "query": query}

    one = {"target": 0.9995, "ratioMetrics": {"good": metric(BAD), "total": metric(ALL)}} | (objective or {})
    spec = {"service": "wiki", "objectives": [one, one], "timeWindows": [{"count": 28, "unit": "day"}]} | changed
    return {"apiVersion": "openslo/v1alpha", "kind": "SLO", "metadata": {"name": "pages"}, "spec": spec}


def test_alpha_objectives_are_numbered_and_have_no_alerts() -> None:
    found = openslo_alpha.read(alpha(), "f", reading(30, zone="eu"))

    assert [(each.id, each.percent, each.period_s, dict(each.labels), dict(each.alerts)) for each in found] == [
        (f"wiki-pages-{number}", 99.95, 28 * DAY_S, {"zone": "eu"}, {}) for number in (0, 1)
    ]  # fmt: skip
    assert found[0].error == f"(1 - (({BAD})\n/\n({ALL})))"
    assert openslo_alpha.read(alpha(timeWindows=None), "f", reading(30))[0].period_s == 30 * DAY_S


def test_one_of_an_alpha_ratio_s_queries_has_to_be_over_the_window() -> None:
    def given(good: str, total: str) -> dict[str, Any]:
        metrics = {"good": good, "total": total}
        return alpha({"ratioMetrics": {name: {"source": "prometheus", "queryType": "promql", "query": query}
                                       for name, query in metrics.items()}})  # fmt: skip

    (slo, _) = openslo_alpha.read(given(f"count({BAD})", "count(pages)"), "f", reading())

    assert slo.error == f"(1 - ((count({BAD}))\n/\n(count(pages))))"
    with pytest.raises(Invalid, match=r"good\.query: has to contain the variable"):
        openslo_alpha.read(given("count(bad)", "count(pages)"), "f", reading())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (alpha(timeWindows=[{"count": 720, "unit": "Hour"}]), "f: spec.timeWindows[0].unit: 'Hour' cannot be read"),
        (alpha(timeWindows=[{"count": 0, "unit": "Day"}]), "f: spec.timeWindows[0].count: is no number of days"),
        (alpha(timeWindows=[{"count": "28", "unit": "Day"}]), "f: spec.timeWindows[0].count: "),
        (alpha(timeWindows=[{"count": 28.0, "unit": "Day"}]), "f: spec.timeWindows[0].count: "),
        (alpha(timeWindows=[{"count": 7, "unit": "Day"}]), "f: spec.timeWindows: a period of 7d has no table"),
        (alpha(timeWindows=[{"count": 28, "unit": "Day"}] * 2), "f: spec.timeWindows: has 2 windows"),
        (alpha({"target": None}), "f: spec.objectives[0].target: is missing"),
        (alpha({"target": 99.9}), "f: spec.objectives[0].target: 99.9 is outside"),
        (alpha({"ratioMetrics": None}), "f: spec.objectives[0].ratioMetrics: is missing"),
        (alpha({"ratioMetrics": {"good": {}}}), "f: spec.objectives[0].ratioMetrics.total: is missing"),
        (alpha({"ratioMetrics": {"good": {}}}), "f: spec.objectives[0].ratioMetrics.good.source: '' cannot be read"),
        (alpha(service=""), "f: spec.service: is missing"),
        (alpha() | {"kind": "Service"}, "f: kind: "),
        (alpha() | {"metadata": {}}, "f: metadata.name: is missing"),
    ],
)
def test_a_mistake_of_an_alpha_document_is_told_with_its_place(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refusal:
        openslo_alpha.read(given, "f", reading())

    assert told in str(refusal.value)
