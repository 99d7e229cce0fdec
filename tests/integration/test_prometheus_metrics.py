"""Proves on a real Prometheus what an answer means: exact counters, no data, NaN, refusals, absence. Loopback only."""

from __future__ import annotations

import asyncio
import http.server
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from harness.adapters.prometheus import PrometheusMetrics, quoted
from harness.adapters.prometheus_config import node_targets, prometheus_yml
from harness.adapters.stack.replace import replace_text
from harness.core.errors import Invalid, Retryable
from harness.ports import CounterReading
from tests.integration.ports import free_port
from tests.integration.prometheus_servers import prometheus, recorded

LAST = datetime.fromtimestamp(int(time.time()) - 3600, UTC)
"""The time of the last sample in the store."""

STORED = f"""\
# TYPE requests counter
requests_total{{arm="canary",node="n1"}} 41 {LAST.timestamp() - 1}
requests_total{{arm="canary",node="n1"}} 42 {LAST.timestamp()}
requests_total{{arm="canary",node="n2"}} 9007199254740000 {LAST.timestamp() - 1}
requests_total{{arm="stable",node="n1"}} 7 {LAST.timestamp()}
# TYPE broken counter
broken_total 1 {LAST.timestamp() - 1}
broken_total NaN {LAST.timestamp()}
# TYPE share gauge
share{{route="a\\"b\\\\c"}} 0.5 {LAST.timestamp()}
# EOF
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    assert shutil.which("prometheus"), "Prometheus is needed on PATH"
    with tempfile.TemporaryDirectory(prefix="h-") as name:
        folder = Path(name)
        recorded(folder, STORED)
        unreachable = yaml.safe_dump({"remote_read": [{"url": f"http://127.0.0.1:{free_port()}/read"}]})
        with prometheus(folder, unreachable) as url:
            yield url


@pytest.fixture
def metrics(url: str) -> PrometheusMetrics:
    return PrometheusMetrics(url)


async def test_counters_are_exact_sums_with_the_time_of_their_oldest_sample(metrics: PrometheusMetrics) -> None:
    readings = await metrics.counters(
        {
            "canary": 'requests_total{arm="canary"}',
            "stable": 'requests_total{arm=~"stable|baseline"}',
            "absent": 'requests_total{arm="baseline"}',
        },
        at=LAST + timedelta(seconds=10),
    )

    assert readings == {
        "canary": CounterReading(value=9007199254740042, at=LAST - timedelta(seconds=1)),
        "stable": CounterReading(value=7, at=LAST),
        "absent": CounterReading(value=None, at=None),
    }


async def test_a_counter_is_read_as_of_the_moment_asked_for(metrics: PrometheusMetrics) -> None:
    selector = {"n1": 'requests_total{arm="canary",node="n1"}'}

    before = await metrics.counters(selector, at=LAST - timedelta(milliseconds=1))

    assert before["n1"] == CounterReading(value=41, at=LAST - timedelta(seconds=1))


async def test_a_counter_that_is_not_a_number_is_no_data(metrics: PrometheusMetrics) -> None:
    assert (await metrics.counters({"broken": "broken_total"}, at=LAST))["broken"].value is None
    assert await metrics.value("broken_total", at=LAST) is None


async def test_a_gauge_read_as_a_counter_is_refused(metrics: PrometheusMetrics) -> None:
    with pytest.raises(Invalid, match=r"counter: share is 0\.5"):
        await metrics.counters({"share": "share"}, at=LAST)


async def test_names_of_counters_may_hold_anything(metrics: PrometheusMetrics) -> None:
    name = 'a "name"\\ with $1 in it'

    assert (await metrics.counters({name: 'requests_total{arm="stable"}'}, at=LAST))[name].value == 7


async def test_no_counters_are_no_question(metrics: PrometheusMetrics) -> None:
    assert await metrics.counters({}, at=LAST) == {}


async def test_no_data_is_an_empty_answer_not_an_error(metrics: PrometheusMetrics) -> None:
    assert (await metrics.instant("no_such_metric", at=LAST)).samples == ()
    assert await metrics.value("no_such_metric", at=LAST) is None


async def test_a_zero_over_zero_is_no_value(metrics: PrometheusMetrics) -> None:
    assert await metrics.value("vector(0) / vector(0)") is None
    assert await metrics.value("scalar(vector(3))") == 3.0


async def test_several_series_are_no_value(metrics: PrometheusMetrics) -> None:
    with pytest.raises(Invalid, match="gives 3 series where one value is needed"):
        await metrics.value("requests_total", at=LAST)


async def test_many_values_are_one_question(metrics: PrometheusMetrics) -> None:
    queries = {
        "sum": "sum(requests_total)  # with a remark", "one": 'requests_total{arm="stable"}', "again": "sum(share)",
        "absent": "no_such_metric", "NaN": "vector(0) / vector(0)", 'odd "$1"': "vector(2) or vector(3)",
    }  # fmt: skip

    values = await metrics.values(queries, at=LAST)

    assert values == {name: await metrics.value(query, at=LAST) for name, query in queries.items()}
    assert values["one"] == 7 and values["absent"] is None and values["NaN"] is None and values['odd "$1"'] == 2
    assert await metrics.values({"a": "no_such_metric", "b": "nor_this"}, at=LAST) == {"a": None, "b": None}
    assert await metrics.values({}, at=LAST) == {}


async def test_one_query_that_cannot_be_asked_beside_others_is_asked_by_itself(metrics: PrometheusMetrics) -> None:
    assert await metrics.values({"scalar": "1 + 1", "sum": "sum(share)"}, at=LAST) == {"scalar": 2, "sum": 0.5}
    with pytest.raises(Invalid, match="gives 3 series where one value is needed"):
        await metrics.values({"several": "requests_total", "sum": "sum(share)"}, at=LAST)
    with pytest.raises(Invalid, match=r"query: sum\(: "):
        await metrics.values({"broken": "sum(", "sum": "sum(share)"}, at=LAST)


async def test_a_series_begins_and_ends_where_it_was_asked_to(metrics: PrometheusMetrics) -> None:
    # given times that are no whole seconds, which the client underneath would round
    start, end = LAST - timedelta(seconds=0.6), LAST + timedelta(seconds=0.4)

    answer = await metrics.series('requests_total{node="n1",arm="canary"}', start, end, 0.5)

    moments = [start, start + timedelta(seconds=0.5), end]
    assert [(sample.at, sample.value) for sample in answer.samples] == list(zip(moments, [41, 41, 42], strict=True))


async def test_a_history_has_a_place_for_every_step_whether_there_is_a_value_or_not(metrics: PrometheusMetrics) -> None:
    start, end = LAST - timedelta(seconds=0.6), LAST + timedelta(seconds=0.4)

    assert await metrics.history('sum(requests_total{node="n1",arm="canary"})', start, end, 0.5) == [41, 41, 42]
    assert await metrics.history("no_such_metric", start, end, 0.5) == [None, None, None]
    with pytest.raises(Invalid, match="gives 3 series where one is needed"):
        await metrics.history("requests_total", start, end, 0.5)


async def test_a_label_value_cannot_leave_its_selector(metrics: PrometheusMetrics) -> None:
    honest, hostile = quoted('a"b\\c'), quoted('x"} or share{route!="')

    assert await metrics.value(f"share{{route={honest}}}", at=LAST) == 0.5
    assert await metrics.value(f"share{{route={hostile}}}", at=LAST) is None


async def test_warnings_are_kept(metrics: PrometheusMetrics) -> None:
    answer = await metrics.instant("requests_total", at=LAST)

    assert len(answer.samples) == 3
    assert any("remote_read" in warning for warning in answer.warnings)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("sum(requests_total", "unclosed left parenthesis"),
        ("requests_total + on(arm) requests_total", "many-to-many|duplicate series"),
        ("requests_total[5s]", "gives a matrix"),
    ],
)
async def test_a_query_that_cannot_run_is_refused_in_prometheus_words(
    metrics: PrometheusMetrics, query: str, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        await metrics.instant(query, at=LAST)


async def test_a_time_without_a_zone_is_refused(metrics: PrometheusMetrics) -> None:
    with pytest.raises(Invalid, match="has no zone"):
        await metrics.instant("up", at=datetime(2026, 1, 1))


async def test_a_prometheus_that_is_away_is_worth_a_retry() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(Retryable, match=f"prometheus: {url} gave no answer: nothing can be connected to there"):
        await PrometheusMetrics(url).instant("up")


async def test_an_overloaded_prometheus_is_asked_three_times_and_then_worth_a_retry() -> None:
    with overloaded() as (url, asked), pytest.raises(Retryable, match=r"answered 503 .*too busy"):
        await PrometheusMetrics(url).instant("up")

    assert len(asked) == 3


@contextmanager
def overloaded() -> Iterator[tuple[str, list[str]]]:
    """A server that answers as Prometheus does when it has too much to do, and the list of what it was asked."""
    asked: list[str] = []

    class Busy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = b'{"status":"error","errorType":"timeout","error":"too busy"}'
            self.send_response(503)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_questions_do_not_hold_up_the_event_loop(
    metrics: PrometheusMetrics, record_property: Callable[[str, object], None]
) -> None:
    # given a loop that counts its own turns while twenty questions are under way
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    started = time.monotonic()
    for _ in range(20):
        await metrics.instant("vector(1)")
    record_property("instant_ms", round((time.monotonic() - started) / 20 * 1000, 2))
    turning.cancel()

    assert turns > 100


async def test_the_configuration_scrapes_each_part_and_names_its_node() -> None:
    # given one page of metrics that stands for every part
    with exporter() as (address, paths), tempfile.TemporaryDirectory(prefix="h-") as folder:
        alerts = Path(__file__).parents[2] / "policies" / "alerts.yaml"
        text = prometheus_yml(
            traffic=address,
            envoy_admin=address,
            worker=address,
            api=address,
            node_targets="nodes.json",
            rules=str(alerts),
        )
        targets = Path(folder, "nodes.json")
        targets.write_text(node_targets(address, ["n1", "n2"]))

        # when Prometheus runs with the configuration
        with prometheus(Path(folder), text) as url:
            metrics = PrometheusMetrics(url)
            deadline = time.monotonic() + 40
            while await metrics.value("count(up == 1)") != 6:
                assert time.monotonic() < deadline, (await metrics.instant("up")).samples
                await asyncio.sleep(0.05)

            # then every part is scraped under its job, and a release that claims another node is not believed
            up = (await metrics.instant("up")).samples
            claimed = (await metrics.instant('claims{job="nodes"}')).samples

            # and that nobody says when the watch ticked last is an alert about to fire
            while await metrics.value('count(ALERTS{alertname="HarnessWatchIsUnknown"})') != 1:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

            # and when a node goes and another comes, Prometheus follows without being started anew
            replace_text(targets, node_targets(address, ["n1", "n4"]))
            while await metrics.value('count(claims{job="nodes", node=~"n1|n4"})') != 2:
                assert time.monotonic() < deadline, (await metrics.instant("up")).samples
                await asyncio.sleep(0.05)

    assert sorted((sample.labels["job"], sample.labels.get("node", "")) for sample in up) == [
        ("api", ""), ("envoy", ""), ("nodes", "n1"), ("nodes", "n2"), ("traffic", ""), ("worker", ""),
    ]  # fmt: skip
    assert {sample.labels["node"] for sample in claimed} == {"n1", "n2"}
    assert set(paths) == {"/metrics", "/stats/prometheus", "/n1/metrics", "/n2/metrics", "/n4/metrics"}


@contextmanager
def exporter() -> Iterator[tuple[str, list[str]]]:
    """A page of metrics at every path, and the list of the paths that were asked for."""
    paths: list[str] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'claims{node="n9"} 1\n')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
