"""Objectives on a real Prometheus: our numbers are its numbers, and each way not to know is told. Loopback only."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.adapters.declarations import load_manifest, load_windows
from harness.adapters.prometheus import PrometheusMetrics
from harness.bootstrap import CHECKOUT
from harness.cli.slo_status import rows_of
from harness.core.burn_rate import budget_left
from harness.core.manifest import Metric
from harness.core.redaction import Secrets
from harness.core.slo import Slo, parse_slos, with_objectives
from harness.core.slo_documents import native
from harness.core.slo_documents.promql import duration
from harness.core.slo_documents.rules import rule_groups
from harness.measure import Window, measure_all
from harness.objectives import look, spent
from harness.simulation.ledger import GuardedMemoryLedger
from tests.integration.ports import free_port
from tests.integration.prometheus_servers import prometheus, recorded

WINDOWS = load_windows(CHECKOUT / "slos/windows")
MANIFEST = load_manifest(CHECKOUT / "services/ratelimiter/service.yaml")
END_S = int(time.time()) // 3600 * 3600 - 3600
"""The last sample of the long series, at a whole hour."""
END = datetime.fromtimestamp(END_S, UTC)
DAYS_S, STEP_S = 4 * 86400, 60
LIVE_S, TEN_S = 60, timedelta(seconds=10)
"""How long the short series are, with a sample each second."""


def counter(name: str, series: dict[str, Sequence[tuple[float, float]]]) -> list[str]:
    """A counter in OpenMetrics: labels → time and value of each sample."""
    samples = [f"{name}_total{{{labels}}} {value:g} {at:.3f}" for labels, each in series.items() for at, value in each]
    return [f"# TYPE {name} counter", *samples]


def days() -> list[str]:
    """Four days of two nodes, one of which begins anew twice."""
    at = [END_S - DAYS_S + STEP_S * number for number in range(DAYS_S // STEP_S + 1)]
    lines = []
    for name, each in (("requests", 6001), ("errors", 3), ("denials", 1)):
        through = [(moment, each * number + (number // 97) * 5) for number, moment in enumerate(at)]
        anew, value = [], 0
        for number, moment in enumerate(at):
            value = 0 if number in (2000, 5000) else value + 2 * each + number % 7
            anew.append((moment, value))
        lines += counter(name, {'node="n1"': through, 'node="n2"': anew})
        lines += counter(f"steady_{name}", {'node="n1"': through})
    return lines


def minutes() -> list[str]:
    """A minute of each thing that can be the matter."""
    ticks = [END_S - LIVE_S + number for number in range(LIVE_S + 1)]
    seconds = range(LIVE_S + 1)
    things: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        "well": ([400 * n for n in seconds], [n for n in seconds]),
        "sick": ([400 * n for n in seconds], [200 * n for n in seconds]),
        "idle": ([5000 for _ in seconds], [7 for _ in seconds]),
        "nan": ([float("nan") for _ in seconds], [float("nan") for _ in seconds]),
        "gauge": ([400.5 for _ in seconds], [0 for _ in seconds]),
        "stale": ([400 * n for n in seconds[:-5]], [0 for _ in seconds[:-5]]),
        # begins anew 6 s before the end, and half of what comes since then is bad
        "anew": ([400 * n if n < 55 else 400 * (n - 54) for n in seconds],
                 [1000 if n < 55 else 200 * (n - 54) for n in seconds]),
    }  # fmt: skip
    lines = []
    for name, (total, bad) in things.items():
        lines += counter(f"{name}_requests", {"": list(zip(ticks, total, strict=False))})
        lines += counter(f"{name}_errors", {"": list(zip(ticks, bad, strict=False))})
    for name, each in (("few", 9), ("many", 10)):
        lines.append(f"# TYPE {name}_seconds histogram")
        lines += [
            f'{name}_seconds_bucket{{le="{bound}"}} {each * n} {tick}'
            for bound in ("0.1", "+Inf")
            for n, tick in enumerate(ticks)
        ]
    return lines


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="h-") as name:
        recorded(Path(name), "\n".join([*days(), *minutes(), "# EOF", ""]))
        with prometheus(Path(name), "{}") as url:
            yield url


@pytest.fixture
def metrics(url: str) -> PrometheusMetrics:
    return PrometheusMetrics(url)


def objective(bad: Any, total: str, **changed: Any) -> Slo:
    ratio = {"bad": bad, "total": total}
    slo = {"name": "own", "target": "99.9%", "window": "30d", "indicator": {"ratio": ratio}, "min_events": 1, **changed}
    return parse_slos({"slos": [slo]}, "f", WINDOWS)[0]


LONG = objective(["errors_total", "denials_total"], "requests_total")
STEADY = objective(["steady_errors_total", "steady_denials_total"], "steady_requests_total")


def live(thing: str, **changed: Any) -> Slo:
    given = {"target": "90%", "window": "demo", "burn_rate_alert": "2.5x", "min_events": 200, **changed}
    return objective(f"{thing}_errors_total", f"{thing}_requests_total", **given)


async def state_of(slo: Slo, metrics: PrometheusMetrics, at: datetime = END) -> dict[str, Any]:
    """What `harness slo status --json` says of it."""
    ledger = GuardedMemoryLedger(now=lambda: at, secrets=Secrets.of({}))
    (row,) = await rows_of([slo], MANIFEST, metrics=metrics, ledger=ledger, now=at)
    return row


# --- the same numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("back_s", [0, 17.3, 3600, 40_000.7, 86_399.999])
async def test_burn_rates_are_differences_of_counters_as_prometheus_computes_them(
    back_s: float, metrics: PrometheusMetrics
) -> None:
    # given a moment between two samples, or at one
    at = END - timedelta(seconds=back_s)
    # when burn rates are computed here, and by Prometheus
    burn = (await look(metrics, MANIFEST, [STEADY], {}, at)).states["own"].burn
    bad, total = "(sum(steady_errors_total) + sum(steady_denials_total))", "sum(steady_requests_total)"
    then_bad = "(sum(steady_errors_total offset {w}) + sum(steady_denials_total offset {w}))"
    query = f"({bad} - {then_bad}) / ({total} - {total} offset {{w}}) / 0.001".replace(
        f"{total} offset {{w}}", "sum(steady_requests_total offset {w})"
    )
    theirs = {window: await metrics.value(query.replace("{w}", duration(window)), at) for window in burn}
    # then they are the same
    assert burn and None not in burn.values()
    assert burn == {window: pytest.approx(value, rel=1e-9, abs=0) for window, value in theirs.items()}


@pytest.mark.parametrize("back_steps", [0, 1, 60, 700, 758, 759, 760, 765, 1200])
async def test_at_a_sample_burn_rates_are_those_of_the_rules_whatever_began_anew(
    back_steps: int, metrics: PrometheusMetrics
) -> None:
    # given a moment and windows that begin and end at a sample, where rate() has nothing to extrapolate to
    at = END - timedelta(seconds=back_steps * STEP_S)
    rules = [
        rule
        for group in rule_groups([native.read(LONG, "s", LONG.selectors(MANIFEST, "x"), {})], version="1", alerts=False)
        for rule in group["rules"]
    ]
    burn = (await look(metrics, MANIFEST, [LONG], {}, at)).states["own"].burn
    # when Prometheus evaluates the rules that `harness slo rules` writes
    theirs = {}
    for window in burn:
        (expression,) = (
            rule["expr"] for rule in rules if rule.get("labels", {}).get("sloth_window") == duration(window)
        )
        value = await metrics.value(expression, at)
        assert value is not None
        theirs[window] = value / LONG.error_budget
    # then they are ours, with a counter that began anew within a window as without
    assert burn
    assert burn == {window: pytest.approx(value, rel=1e-9, abs=0) for window, value in theirs.items()}


async def test_the_same_answers_come_whether_a_watch_looked_on_or_somebody_looks_once(url: str) -> None:
    # given a watch that looks every two hours, over both moments at which a counter began anew
    watching = PrometheusMetrics(url)
    for number in range(48, -1, -1):
        at = END - timedelta(hours=number * 2)
        watched = (await look(watching, MANIFEST, [LONG], {}, at)).states["own"].burn
        if number % 6 == 0:
            assert watched == (await look(PrometheusMetrics(url), MANIFEST, [LONG], {}, at)).states["own"].burn


async def test_the_budget_is_that_of_the_period_or_of_what_there_are_data_of(metrics: PrometheusMetrics) -> None:
    # given an objective over three days, which the data span, and one over thirty, which they do not
    days = objective(["steady_errors_total", "steady_denials_total"], "steady_requests_total", window="3d",
                     burn_rate_alert="14x")  # fmt: skip
    left = []
    for slo, offset in ((days, "3d"), (STEADY, "4d")):
        counted = await spent(metrics, MANIFEST, slo, END)
        assert counted is not None
        left.append(budget_left(counted.bad, counted.total, slo.error_budget))
        bad = " + ".join(
            f"sum({name}_total) - sum({name}_total offset {offset})" for name in ("steady_errors", "steady_denials")
        )
        total = f"sum(steady_requests_total) - sum(steady_requests_total offset {offset})"
        # then what is left is what Prometheus computes, and since when there are data is said
        assert left[-1] == pytest.approx(await metrics.value(f"1 - ({bad}) / ({total}) / 0.001", END), rel=1e-9)
        assert (END - counted.since).total_seconds() == pytest.approx(min(slo.period_s, DAYS_S), abs=STEP_S)
    row = await state_of(STEADY, metrics)
    assert row["budget_left"] == left[-1] and row["measured_s"] == DAYS_S and row["period_s"] == 30 * 86400


async def test_a_quantile_of_too_few_requests_is_not_measured(metrics: PrometheusMetrics) -> None:
    # given two latencies, of which 90 and 100 requests were measured in ten seconds
    latency = {"kind": "latency", "quantile": 0.99, "unit": "s", "direction": "lower", "good": "low"}
    declared = {
        name: Metric.parse({**latency, "histogram": f"{name}_seconds_bucket"}, name) for name in ("few", "many")
    }
    manifest = MANIFEST.model_copy(update={"metrics": declared})
    window = Window.before(END, 10)

    few, many = await measure_all(metrics, manifest, [("few", window), ("many", window)])

    assert few.value is None and many.value == pytest.approx(0.099)


# --- what is known, and what is not --------------------------------------------------------------------------------


async def test_events_without_too_many_bad_ones_are_ok(metrics: PrometheusMetrics) -> None:
    row = await state_of(live("well"), metrics)

    assert row["state"] == "ok" and [one["window"] for one in row["burn"]] == ["3s", "12s"]
    assert row["current"] == pytest.approx(399 / 400) and row["budget_left"] == pytest.approx(1 - 1 / 40)
    assert row["pace"] == pytest.approx(1 / 40)
    assert row["exhausted_in_s"] == pytest.approx((1 - 1 / 40) * 600 * 40)


async def test_half_of_all_events_bad_is_burning_and_has_used_the_budget_up(metrics: PrometheusMetrics) -> None:
    row = await state_of(live("sick"), metrics)

    assert row["state"] == "burning" and row["budget_left"] == pytest.approx(-4) and row["exhausted_in_s"] == 0
    assert row["measured_s"] == LIVE_S < row["period_s"]


async def test_zero_traffic_is_no_data(metrics: PrometheusMetrics) -> None:
    row = await state_of(live("idle"), metrics)

    assert row["state"] == "no_data" and "0 events, 200 are needed" in row["reason"]
    assert row["current"] is row["budget_left"] is row["exhausted_in_s"] is None


async def test_an_absent_series_is_no_data(metrics: PrometheusMetrics) -> None:
    row = await state_of(live("absent"), metrics)

    assert row["state"] == "no_data" and "no such series" in row["reason"] and row["measured_since"] is None


async def test_a_stale_target_is_no_data(metrics: PrometheusMetrics) -> None:
    # given a target that was last seen six seconds ago, whose value Prometheus still gives
    row = await state_of(live("stale"), metrics)

    assert row["state"] == "no_data"
    assert [one["rate"] is None for one in row["burn"]] == [True, False]


async def test_not_a_number_is_no_data(metrics: PrometheusMetrics) -> None:
    row = await state_of(live("nan"), metrics)

    assert row["state"] == "no_data" and row["current"] is None


async def test_a_counter_that_began_anew_hides_no_fault(metrics: PrometheusMetrics) -> None:
    # given users whose counters began anew, and half of all requests bad since then
    slo = live("anew", burn_rate_alert="2x")
    before = await state_of(slo, metrics, END - timedelta(seconds=6))
    # when six seconds have passed, then it burns over windows of which the longer one holds that moment
    row = await state_of(slo, metrics)

    assert before["state"] == "ok" and row["state"] == "burning"
    assert row["burn"][1]["rate"] == pytest.approx(6 * 200 / (12 * 400) / 0.1, rel=1e-9)
    # and the two seconds right after it are read as what they are, though both windows hold it
    soon = await state_of(slo, metrics, END - timedelta(seconds=4))
    assert [one["rate"] for one in soon["burn"]] == pytest.approx([10 / 3, 10 / 12])


async def test_a_ticket_measures_an_objective_over_a_restart_of_what_counts_whatever_was_looked_at_before(
    metrics: PrometheusMetrics,
) -> None:
    # given a service that counts for itself and began anew 6 s before the end, and somebody who looked at the last 3 s
    slo, window = live("anew"), Window.before(END, 12)
    catalog, name = with_objectives(MANIFEST, [slo]), "error_ratio(own)"
    (late,) = await measure_all(metrics, catalog, [(name, Window.before(END, 3))])
    # when a ticket looks at 12 s, and at the time before the restart
    whole, before = await measure_all(metrics, catalog, [(name, window), (name, Window.before(END - TEN_S, 12))])
    # then each is what was counted
    assert (late.value, late.samples) == (0.5, 1200)
    assert (whole.value, whole.samples) == (0.25, 4800)
    assert (before.value, before.samples) == (0.0, 4800)
    assert whole.query == "Δ(anew_errors_total) / Δ(anew_requests_total)"
    # and of few events nothing is said but how many they were
    (few,) = await measure_all(metrics, with_objectives(MANIFEST, [live("anew", min_events=5000)]), [(name, window)])
    assert (few.value, few.samples) == (None, 4800)
    # nor is anything said of what counts no events
    (gauge,) = await measure_all(metrics, with_objectives(MANIFEST, [live("gauge")]), [(name, window)])
    assert (gauge.value, gauge.samples) == (None, None)


async def test_one_objective_that_counts_no_events_leaves_the_others_alone(metrics: PrometheusMetrics) -> None:
    of_own = [live("gauge", name="gauge"), live("sick", name="sick"), objective("(", "x", name="broken")]

    looked = await look(metrics, MANIFEST, of_own, {}, END)

    assert {name: state.state for name, state in looked.states.items()} == {
        "gauge": "query_failed", "sick": "burning", "broken": "query_failed",
    }  # fmt: skip
    assert "no whole number" in looked.states["gauge"].reason


async def test_a_prometheus_that_is_down_is_a_failed_query() -> None:
    row = await state_of(live("well"), PrometheusMetrics(f"http://127.0.0.1:{free_port()}"))

    assert row["state"] == "query_failed" and "gave no answer" in row["reason"]


async def test_a_prometheus_that_is_slow_is_a_failed_query() -> None:
    with that_lets_questions_lie() as slow:
        row = await state_of(live("sick"), PrometheusMetrics(slow))

    assert row["state"] == "query_failed" and "gave no answer within 5.0 s" in row["reason"]


async def test_an_answer_that_is_not_whole_is_a_failed_query_and_says_what_is_missing() -> None:
    # given a Prometheus that asks another store as well, which is away
    away = {"remote_read": [{"url": f"http://127.0.0.1:{free_port()}/read", "read_recent": True}]}
    with tempfile.TemporaryDirectory(prefix="h-") as name:
        recorded(Path(name), "\n".join([*minutes(), "# EOF", ""]))
        with prometheus(Path(name), yaml.safe_dump(away)) as url:
            row = await state_of(live("sick"), PrometheusMetrics(url))

    assert row["state"] == "query_failed" and "the answer is not whole: " in row["reason"]
    assert "remote_read" in row["reason"]


@contextmanager
def that_lets_questions_lie() -> Iterator[str]:
    """A server that takes connections and answers nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        held: list[socket.socket] = []

        def hold() -> None:
            while True:
                try:
                    held.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in held:
                one.close()
