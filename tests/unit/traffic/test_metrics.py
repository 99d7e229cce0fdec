"""The series that Prometheus finds: all there at 0 from the start, and unknown arms counted as none."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from traffic.metrics import Metrics

ARMS = {"canary", "stable", "baseline", "none"}


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {(s.name, s.labels["arm"]): s.value for family in families for s in family.samples if "le" not in s.labels}


def test_every_series_stands_at_zero_for_every_arm_from_the_start() -> None:
    names = {
        "traffic_requests_total",
        "traffic_slow_total",
        "traffic_errors_total",
        "traffic_wrong_denials_total",
        "traffic_denials_total",
        "traffic_over_admissions_total",
        "traffic_latency_seconds_count",
        "traffic_latency_seconds_sum",
        "traffic_keys",
    }
    assert samples(Metrics()) == {(name, arm): 0.0 for name in names for arm in ARMS}


def test_the_latency_buckets_are_those_that_the_slow_share_is_read_from() -> None:
    families = text_string_to_metric_families(Metrics().exposition().decode())
    bounds = {s.labels["le"] for family in families for s in family.samples if "le" in s.labels}
    assert bounds == {"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "+Inf"}


def test_an_arm_that_is_not_ours_counts_as_none() -> None:
    metrics = Metrics()
    for name in (b"stable", b"Stable", b"", b"something"):
        metrics.arm(name).requests.inc()
    counted = samples(metrics)
    assert counted["traffic_requests_total", "stable"] == 1
    assert counted["traffic_requests_total", "none"] == 3
