"""Rules of any objective: PromQL that parses, a record for whatever an alert reads, an alert for every tier."""

from __future__ import annotations

import json

import promql_parser
from hypothesis import given
from hypothesis import strategies as st

from harness.core.slo import Tier
from harness.core.slo_documents.promql import duration, duration_s, enclosed, fault, over_windows, ratio, windowed
from harness.core.slo_documents.rules import Alert, Objective, rule_groups

NAMES = st.from_regex(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,20}[A-Za-z0-9]", fullmatch=True)
LABELS = st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True), st.text(min_size=1), max_size=3)
WINDOWS = st.integers(min_value=1, max_value=10**6).map(float)


@st.composite
def tiers(draw: st.DrawFn) -> Tier:
    short_s = draw(WINDOWS)
    return Tier(
        draw(st.sampled_from(["page", "ticket"])), short_s + draw(WINDOWS), short_s, draw(st.floats(0.001, 1000))
    )


@st.composite
def objectives(draw: st.DrawFn) -> Objective:
    return Objective(
        service=draw(NAMES), name=draw(NAMES), percent=draw(st.floats(0, 100, exclude_min=True)),
        period_s=draw(WINDOWS), tiers=tuple(draw(st.lists(tiers(), min_size=1, max_size=5))),
        error=ratio("sum(rate(bad[{{.window}}]))", "sum(rate(all[{{ .window }}])) # all"), spec="native",
        alerts={"page": Alert("Burns"), "ticket": Alert("Burns")},
    )  # fmt: skip


@given(objectives())
def test_every_expression_is_promql_and_every_series_that_is_read_is_recorded(slo: Objective) -> None:
    rules = [rule for group in rule_groups([slo], version="1") for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    read = {
        series.name
        for rule in rules
        for series in _series(promql_parser.parse(rule["expr"]))
        if series.name not in ("bad", "all")
    }

    assert read <= recorded
    assert {duration(window) for tier in slo.tiers for window in (tier.long_s, tier.short_s)} <= {
        rule["labels"]["sloth_window"] for rule in rules if "sloth_window" in rule.get("labels", {})
    }


@given(objectives())
def test_a_severity_has_an_alert_exactly_when_it_has_a_tier_and_names_each_of_them(slo: Objective) -> None:
    (group,) = rule_groups([slo], version="1", recordings=False)

    by_severity = {rule["labels"]["sloth_severity"]: rule["expr"] for rule in group["rules"]}
    assert set(by_severity) == {tier.severity for tier in slo.tiers}
    for severity, expression in by_severity.items():
        assert expression.count("without (sloth_window)") == 2 * sum(tier.severity == severity for tier in slo.tiers)


@given(WINDOWS)
def test_a_length_of_time_reads_back_as_it_was(length_s: float) -> None:
    assert duration_s(duration(length_s)) == length_s


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_told_to_be_none(text: str) -> None:
    if fault(text) is None:
        promql_parser.parse(enclosed(windowed(text, 300)))


@given(LABELS, st.sampled_from(["=", "!="]))
def test_a_series_stays_the_same_when_a_window_is_written_behind_it(labels: dict[str, str], operator: str) -> None:
    series = (
        "x{"
        + ",".join(f"{name}{operator}{json.dumps(value, ensure_ascii=False)}" for name, value in labels.items())
        + "}"
    )

    (read,) = _series(promql_parser.parse(windowed(over_windows(f"sum by (a) ({series})", "rate"), 300)))

    assert read.name == "x"
    assert {each.name: each.value for each in read.matchers.matchers} == labels


def _series(expression: object) -> list[promql_parser.VectorSelector]:
    found: list[promql_parser.VectorSelector] = []

    def look(node: object) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(expression, look)
    return found
