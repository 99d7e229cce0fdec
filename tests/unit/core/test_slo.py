"""Objectives as declared: targets, windows, tiers, and what is refused. Reads only the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.adapters.declarations import load_manifest, load_slos, load_windows, parse_yaml
from harness.core.errors import Invalid
from harness.core.manifest import Counted
from harness.core.slo import Slo, Windows, parse_slos, with_objectives
from harness.core.slo_documents.promql import Selectors

ROOT = Path(__file__).parents[3]
WINDOWS = load_windows(ROOT / "slos/windows")


def one(**changed: Any) -> Slo:
    (slo,) = parse_slos(
        {"slos": [{"name": "availability", "target": "99.9%", "window": "30d"} | changed]}, "f", WINDOWS
    )
    return slo


def test_the_two_lines_of_the_vision_are_an_objective() -> None:
    slo = one()

    assert slo.target == 0.999 and slo.error_budget == 0.001
    assert slo.metrics == ("availability",)
    assert [tier.severity for tier in slo.tiers] == ["page", "page", "ticket", "ticket"]


@pytest.mark.parametrize(
    ("window", "factors"),
    [
        ("30d", [14.4, 6, 3, 1]),
        ("28d", [13.44, 5.6, 2.8, 2.8 / 3]),
        ("7d", [13.44, 3.5, 1.4, 0.98]),
        ("60d", [28.8, 12, 6, 2]),
    ],
)
def test_factors_scale_with_the_period(window: str, factors: list[float]) -> None:
    assert [tier.factor for tier in one(window=window).tiers] == pytest.approx(factors)


def test_the_short_form_is_the_fastest_tier_with_another_factor() -> None:
    (tier,) = one(burn_rate_alert="10x").tiers

    assert (tier.long_s, tier.short_s, tier.factor) == (3600, 300, 10)


def test_the_objectives_of_the_sample_service_count_what_its_manifest_declares() -> None:
    manifest = load_manifest(ROOT / "services/ratelimiter/service.yaml")

    latency, availability = load_slos(ROOT / "slos", WINDOWS)

    assert (latency.target, latency.windows_s, latency.tiers[0].factor) == (0.9, (3, 12), 2.5)
    assert (availability.target, availability.windows_s, availability.tiers[0].factor) == (0.99, (3, 12), 10)
    assert latency.on_burn.priority == availability.on_burn.priority == "P1"
    assert latency.selectors(manifest, "a|b") == Selectors(
        total='traffic_requests_total{arm=~"a|b"}', bad=('traffic_slow_total{arm=~"a|b"}',)
    )
    assert len(availability.selectors(manifest, ".*").bad) == 2


@pytest.mark.parametrize(
    ("below", "bucket"),
    [("5ms", 'le="0.005"'), ("2.5s", 'le="2.5"'), ("1s", r'le=~"1(\\.0)?"')],
)
def test_an_indicator_may_be_the_buckets_of_a_histogram(below: str, bucket: str) -> None:
    manifest = load_manifest(ROOT / "services/ratelimiter/service.yaml")

    slo = one(indicator={"latency": {"histogram": r'took_bucket{path=~"a\\.b"}', "below": below}})

    assert slo.selectors(manifest, ".*") == Selectors(
        total=r'took_bucket{path=~"a\\.b",le="+Inf"}', good=r'took_bucket{path=~"a\\.b",' + bucket + "}"
    )
    assert slo.metrics == ("error_ratio(availability)",) and slo.by_arm == ()


@pytest.mark.parametrize("histogram", ["rate(a_bucket[5m])", "a_bucket{", "a_bucket offset 5m", ""])
def test_a_histogram_is_a_series(histogram: str) -> None:
    with pytest.raises(Invalid, match=r"indicator\.latency: histogram: "):
        one(indicator={"latency": {"histogram": histogram, "below": "5ms"}})


@pytest.mark.parametrize(
    ("ratio", "selectors"),
    [
        ({"bad": "e", "total": "t"}, Selectors("t", bad=("e",))),
        ({"bad": ["e", "f"], "total": "t"}, Selectors("t", bad=("e", "f"))),
        ({"good": "g", "total": "t"}, Selectors("t", good="g")),
    ],
)
def test_an_indicator_may_be_a_ratio_of_its_own(ratio: dict[str, Any], selectors: Selectors) -> None:
    manifest = load_manifest(ROOT / "services/ratelimiter/service.yaml")

    slo = one(indicator={"ratio": ratio})

    assert slo.selectors(manifest, ".*") == selectors
    assert slo.metrics == ("error_ratio(availability)",) and slo.by_arm == ()
    (own,) = {*(catalog := with_objectives(manifest, [slo]).metrics)} - {*manifest.metrics}
    assert catalog[own].counted == Counted(selectors, slo.min_events) and catalog[own].kind == "objective"


@pytest.mark.parametrize(
    ("error_ratio", "selectors"),
    [
        ('sum(rate(e{c=~"5.."}[{{.window}}])) / sum(rate(t[{{.window}}]))', Selectors("t", bad=('e{c=~"5.."}',))),
        ("sum(increase(e[{{ .window }}])) / (sum(rate(t[{{.window}}])))", Selectors("t", bad=("e",))),
        ("(sum(e) + (f)) / t", Selectors("t", bad=("e", "f"))),
        ("1 - (sum(rate(g[{{.window}}])) / sum(rate(t[{{.window}}])))", Selectors("t", good="g")),
    ],
)
def test_an_error_ratio_in_promql_is_counted_from_its_counters(error_ratio: str, selectors: Selectors) -> None:
    manifest = load_manifest(ROOT / "services/ratelimiter/service.yaml")

    assert one(indicator={"error_ratio": error_ratio}).selectors(manifest, ".*") == selectors


def test_an_indicator_that_the_manifest_does_not_have_is_refused_with_the_nearest() -> None:
    manifest = load_manifest(ROOT / "services/ratelimiter/service.yaml")

    with pytest.raises(Invalid, match=r"'eror_share' is no ratio; .*nearest: error_share"):
        one(indicator={"metric": "eror_share"}).selectors(manifest, ".*")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"target": "90%"},
            "f: slos[0].burn_rate_alert: the tier 3600s/300s can never fire: factor 14.4 x error budget",
        ),
        ({"target": "90%"}, "= 1.44; allowed factors are below 10"),
        ({"target": "100%"}, "leaves no error budget"),
        ({"target": 0.999}, "slos[0].target: 0.999 is not text; write it like `99.9%`"),
        ({"target": "0.999"}, "'0.999' is not a percentage; write it like `99.9%`"),
        ({"window": "demo"}, "table 'demo' has no factors, so write one like 10x"),
        ({"window": "fortnight"}, "no table 'fortnight'; allowed: 28d, 30d, 7d, demo"),
        ({"burn_rate_alert": "14.4"}, "slos[0].burn_rate_alert: "),
        ({"indicator": {"ratio": {"bad": "e", "good": "g", "total": "t"}}}, "give either bad or good"),
        (
            {"indicator": {"rato": {}}},
            "slos[0].indicator.rato: unknown key; allowed: ratio, error_ratio, latency, metric; nearest: ratio",
        ),
        ({"target": "99.99999999999999%"}, "rounds to 0"),
        ({"burn_rate_alert": "0x"}, "has to be above 0"),
        ({"window": "999999999d"}, "window: '999999999d' is outside of what is allowed, 1ms to 100y"),
        ({"indicator": {"metric": []}}, "slos[0].indicator.metric: is empty"),
        ({"indicator": {"ratio": {"bad": [], "total": "t"}}}, "slos[0].indicator.ratio.bad: is empty"),
        ({"indicator": {"ratio": {"bad": ["e", "e"], "total": "t"}}}, "'e' comes twice"),
        ({"indicator": {"latency": {"histogram": "took", "below": "5ms"}}}, "names no buckets"),
        ({"indicator": {"latency": {"histogram": 'a_bucket{le="1"}', "below": "5ms"}}}, "has the label `le`"),
        ({"indicator": {"error_ratio": "sum(e)"}}, "slos[0].indicator: error_ratio: is no ratio of counters"),
        ({"indicator": {"error_ratio": "sum(rate(e[5m]))/sum(t)"}}, "has a window of its own"),
        ({"indicator": {"error_ratio": "sum by (a) (e)/sum(t)"}}, "has `sum by (a) (e)`, which is no sum of counters"),
        ({"indicator": {"error_ratio": "e/(t + u)"}}, "has a sum of several counters where one is needed"),
        ({"indicator": {"error_ratio": "(e + e)/t"}}, "error_ratio: 'e' comes twice"),
        ({"indicator": {"error_ratio": "avg_over_time(ratio[{{.window}}])"}}, "is no ratio of counters"),
        ({"indicator": {"error_ratio": "e offset 5m / t"}}, "is moved in time"),
        ({"indicator": {"error_ratio": "e / on (a) t"}}, "is no ratio of counters"),
        ({"indicator": {"error_ratio": "2 - g / t"}}, "is no ratio of counters"),
        ({"on_burn": {"priority": "P9"}}, "slos[0].on_burn.priority: "),
    ],
)
def test_a_mistake_is_told_by_path_and_reason(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        one(**changed)

    assert told in str(refused.value)


def test_a_name_is_taken_once() -> None:
    text = "slos: [{name: a, target: 99%, window: 30d}, {name: a, target: 99.9%, window: 30d}]"

    with pytest.raises(Invalid, match="f: slos: 'a' is declared twice"):
        parse_slos(parse_yaml(text.replace("99%", "99.5%"), "f"), "f", WINDOWS)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"period": "101000d"}, "period: 8.7264e+09s is outside"),
        ({"tiers": [{"severity": "page", "budget": "2%", "long": "1h", "short": "1us"}]}, "short: 1e-06s is outside"),
        ({"tiers": [{"severity": "page", "budget": "2%", "long": "1h", "short": "1.5ms"}]}, "no whole number of milli"),
        ({"tiers": [{"severity": "page", "budget": "0%", "long": "1h", "short": "5m"}]}, "budget: 0.000000% is"),
        ({"tiers": [{"severity": "page", "budget": "-2%", "long": "1h", "short": "5m"}]}, "budget: -2.000000% is"),
    ],
)
def test_a_table_has_lengths_that_prometheus_can_write_and_shares_above_0(changed: dict[str, Any], told: str) -> None:
    table = {"period": "30d", "tiers": [{"severity": "page", "budget": "2%", "long": "1h", "short": "5m"}]}

    with pytest.raises(Invalid) as refused:
        Windows.parse(table | changed, "f")

    assert told in str(refused.value)
