"""The traffic process and the scenario oracle, each against a real limiter on loopback that does what the test says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from scenarios.oracle import OracleReading, Thresholds, healthy, measure
from tests.integration.ports import free_port

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
TRAFFIC = ROOT / "services" / "traffic"
CONTRACT = TRAFFIC / "contract.yaml"
INTERVAL_NS = 60 * 10**9 // 44
DEADLINE_S = 15.0

T = TypeVar("T")


@dataclass
class Ways:
    """How the limiter behaves from now on; a test changes it while the limiter runs."""

    burst: int = 10
    arm: str = "stable"
    wait_s: float = 0.0
    status: int | None = None  # answered to everything
    reset: bool = False  # closes instead of answering
    garbage: bool = False  # answers what is no HTTP
    short: bool = False  # answers all but the last byte, and then no more


class TinyLimiter:
    """GCRA at the contract's rate behind the service's protocol, on a loop and thread of its own, until closed."""

    def __init__(self, port: int = 0) -> None:
        self.ways = Ways()
        self._tat_ns: dict[tuple[str, str], int] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._in_loop(asyncio.start_server(self._talk, "127.0.0.1", port))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._in_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _in_loop(self, doing: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(DEADLINE_S)

    async def _close(self) -> None:
        self._server.close()
        talks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                check = json.loads(await reader.readexactly(int(fields["content-length"])))
                assert head.startswith("POST /v1/check HTTP/1.1\r\n") and check["limit"] == "api_default"
                assert check["key"] == fields["x-ratelimit-key"] and check["cost"] == 1
                await asyncio.sleep(self.ways.wait_s)
                if self.ways.reset:
                    writer.transport.abort()
                    return
                answer = b"what?\r\n\r\n" if self.ways.garbage else self._answer(check["key"])
                writer.write(answer[:-1] if self.ways.short else answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the other side, or the test, is done
        finally:
            writer.transport.abort()

    def _answer(self, key: str) -> bytes:
        arm, now_ns = self.ways.arm, time.monotonic_ns()
        tat_ns = max(self._tat_ns.get((arm, key), now_ns), now_ns)
        allowed = tat_ns - now_ns <= (self.ways.burst - 1) * INTERVAL_NS
        if allowed:
            self._tat_ns[arm, key] = tat_ns + INTERVAL_NS
        status = self.ways.status or (200 if allowed else 429)
        body = json.dumps({"allowed": allowed})
        head = f"HTTP/1.1 {status} X\r\nx-arm: {arm}\r\nx-node: {arm}.sock\r\ncontent-length: {len(body)}\r\n\r\n"
        return (head + body).encode()


class Traffic:
    """The traffic process, started as the stack starts it, and what its metrics say."""

    def __init__(self, url: str, *options: str) -> None:
        command = [sys.executable, "-m", "traffic", "--url", url, "--metrics", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*command, "--contract", str(CONTRACT), *options],
            env={**os.environ, "PYTHONPATH": str(TRAFFIC / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        found = re.search(r"metrics on (127\.0\.0\.1:\d+)", self.said)
        assert found is not None, self.process.communicate()
        self.metrics_url = f"http://{found[1]}/metrics"

    def read(self) -> dict[str, float]:
        """Samples by ``name{arm}``, without the traffic_ in front and without buckets."""
        families = text_string_to_metric_families(httpx.get(self.metrics_url, trust_env=False).text)
        samples = (sample for family in families for sample in family.samples if "le" not in sample.labels)
        return {f"{s.name.removeprefix('traffic_')}{{{s.labels['arm']}}}": s.value for s in samples}

    def wait_for(self, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """The first reading for which it holds; fails with the last one when none does in time."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not holds(reading := self.read()):
            assert time.monotonic() < deadline_s, reading
            time.sleep(0.05)
        return reading

    def more(self, series: str, count: int) -> dict[str, float]:
        """Wait until the series has grown by so much from now."""
        before = self.read()[series]
        return self.wait_for(lambda now: now[series] >= before + count)

    def stop(self) -> tuple[int, str]:
        """Ask it to end; its exit code and what it wrote to stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, errors


@pytest.fixture
def limiter() -> Iterator[TinyLimiter]:
    tiny = TinyLimiter()
    yield tiny
    tiny.close()


@contextmanager
def playing(url: str, *options: str) -> Iterator[Traffic]:
    """Traffic that must end cleanly and silently, whatever it met."""
    traffic = Traffic(url, *options)
    try:
        yield traffic
        assert traffic.stop() == (0, "")
    finally:
        if traffic.process.poll() is None:
            traffic.process.kill()
            traffic.process.communicate()


def test_users_of_a_correct_limiter_see_right_denials_only(limiter: TinyLimiter) -> None:
    # given few keys, so that good and abusive ones alike run out of their limit
    with playing(limiter.url, "--rate", "200", "--keys", "30", "--prefix", "mine") as traffic:
        # when there were denials
        seen = traffic.wait_for(lambda now: now["denials_total{stable}"] >= 100)
        # then none was wrong, nothing was over-admitted, nothing failed, and every key was answered by the arm
        assert "keys mine-0 to mine-29" in traffic.said
        assert seen["wrong_denials_total{stable}"] == seen["over_admissions_total{stable}"] == 0
        assert seen["errors_total{stable}"] == seen["requests_total{none}"] == 0
        assert seen["latency_seconds_count{stable}"] == seen["requests_total{stable}"]
        assert seen["keys{stable}"] == 30


def test_the_rate_is_that_of_the_schedule(limiter: TinyLimiter) -> None:
    rates_per_s: list[float] = []
    with playing(limiter.url, "--rate", "300", "--keys", "1000") as traffic:
        # a stall of the machine between a reading and its time is seen once, a wrong rate every time
        while len(rates_per_s) < 3 and not (rates_per_s and rates_per_s[-1] == pytest.approx(300, rel=0.15)):
            first, first_s = traffic.more("requests_total{stable}", 10), time.monotonic()
            last, last_s = traffic.more("requests_total{stable}", 600), time.monotonic()
            rates_per_s.append((last["requests_total{stable}"] - first["requests_total{stable}"]) / (last_s - first_s))
    assert rates_per_s[-1] == pytest.approx(300, rel=0.15), rates_per_s


def test_a_lowered_burst_shows_as_wrong_denials_of_the_arm_that_has_it(limiter: TinyLimiter) -> None:
    with playing(limiter.url, "--rate", "200", "--keys", "100") as traffic:
        # given a healthy arm
        assert traffic.more("requests_total{stable}", 100)["wrong_denials_total{stable}"] == 0
        # when another arm with a burst of 1 answers
        limiter.ways = Ways(burst=1, arm="canary")
        seen = traffic.wait_for(lambda now: now["wrong_denials_total{canary}"] >= 10)
        # then the denials are held against that arm, and the keys are seen to have moved
        assert seen["wrong_denials_total{stable}"] == 0
        assert seen["keys{canary}"] > 0


def test_lost_state_is_never_a_verdict(limiter: TinyLimiter) -> None:
    with playing(limiter.url, "--rate", "200", "--keys", "30") as traffic:
        traffic.wait_for(lambda now: now["denials_total{stable}"] >= 50)
        # when all keys move to an arm that knows nothing of them
        limiter.ways = Ways(arm="baseline")
        seen = traffic.more("denials_total{baseline}", 50)
        # then the burst that they get anew is allowed, and no denial is wrong
        assert seen["wrong_denials_total{baseline}"] == seen["over_admissions_total{baseline}"] == 0


def test_no_limit_at_all_shows_as_over_admissions(limiter: TinyLimiter) -> None:
    limiter.ways = Ways(status=200)
    with playing(limiter.url, "--rate", "200", "--keys", "30") as traffic:
        assert traffic.more("over_admissions_total{stable}", 50)["denials_total{stable}"] == 0


def test_late_answers_are_slow_and_no_errors(limiter: TinyLimiter) -> None:
    with playing(limiter.url, "--rate", "200") as traffic:
        before = traffic.more("requests_total{stable}", 100)
        # when every answer takes 80 ms longer
        limiter.ways = Ways(wait_s=0.08)
        seen = traffic.more("slow_total{stable}", 100)
        # then nothing failed: the users did not wait for each other
        assert seen["errors_total{stable}"] == seen["requests_total{none}"] == 0
        # and the slow ones are about all since then
        since = seen["requests_total{stable}"] - before["requests_total{stable}"]
        assert seen["slow_total{stable}"] - before["slow_total{stable}"] > since / 2


@pytest.mark.parametrize("status", [500, 503, 404])
def test_other_answers_than_yes_and_no_are_errors_of_their_arm(limiter: TinyLimiter, status: int) -> None:
    limiter.ways = Ways(status=status)
    with playing(limiter.url, "--rate", "200") as traffic:
        seen = traffic.more("errors_total{stable}", 50)
        assert seen["errors_total{stable}"] == seen["slow_total{stable}"] == seen["requests_total{stable}"]
        assert seen["denials_total{stable}"] == seen["requests_total{none}"] == 0


@pytest.mark.parametrize("ways", [Ways(reset=True), Ways(garbage=True)], ids=["reset", "garbage"])
def test_broken_connections_are_errors_of_no_arm_until_they_hold_again(limiter: TinyLimiter, ways: Ways) -> None:
    limiter.ways = ways
    with playing(limiter.url, "--rate", "200") as traffic:
        # given connections that break in the middle of a request
        seen = traffic.more("errors_total{none}", 50)
        assert seen["slow_total{none}"] == seen["errors_total{none}"] == seen["requests_total{none}"]
        assert seen["latency_seconds_count{none}"] == 0
        # when they hold again, then users are served
        limiter.ways = Ways()
        traffic.more("requests_total{stable}", 50)


def test_an_answer_that_never_ends_is_an_error_of_the_arm_that_began_it(limiter: TinyLimiter) -> None:
    # given an arm that names itself and does not get to the end of its answers
    limiter.ways = Ways(short=True, arm="canary")
    with playing(limiter.url, "--rate", "100") as traffic:
        # when users have left, and when the connections break
        seen = traffic.more("errors_total{canary}", 20)
        # then the arm is judged by it
        assert seen["requests_total{canary}"] == seen["errors_total{canary}"] == seen["slow_total{canary}"]
        assert seen["latency_seconds_count{canary}"] == seen["denials_total{canary}"] == 0


def test_no_answer_for_two_seconds_is_an_error(limiter: TinyLimiter) -> None:
    limiter.ways = Ways(wait_s=30)
    began_s = time.monotonic()
    with playing(limiter.url, "--rate", "100") as traffic:
        seen = traffic.wait_for(lambda now: now["errors_total{none}"] >= 20)
        assert time.monotonic() - began_s > 2
        assert seen["requests_total{none}"] == seen["errors_total{none}"] == seen["slow_total{none}"]


def test_requests_without_a_free_connection_are_unsent_and_bounded(limiter: TinyLimiter) -> None:
    limiter.ways = Ways(wait_s=30)
    with playing(limiter.url, "--rate", "2000") as traffic:
        # when 512 are in the air, then further ones are errors at once, long before any timed out
        began_s = time.monotonic()
        traffic.wait_for(lambda now: now["errors_total{none}"] >= 100)
        assert time.monotonic() - began_s < 10
        assert len(psutil.Process(traffic.process.pid).net_connections()) <= 512 + 10


def test_traffic_survives_a_limiter_that_is_away_and_comes_back() -> None:
    port = free_port()
    # given nobody who listens
    with playing(f"http://127.0.0.1:{port}", "--rate", "200") as traffic:
        traffic.more("errors_total{none}", 50)
        for _ in range(2):
            # when the limiter comes, then users are served; when it goes, they fail
            tiny = TinyLimiter(port)
            try:
                traffic.more("requests_total{stable}", 50)
            finally:
                tiny.close()
            traffic.more("errors_total{none}", 50)


def test_every_request_is_counted_once_over_a_stall_of_the_process_itself(limiter: TinyLimiter) -> None:
    rate_per_s, slow_s = 200, 0.05

    def counted(reading: dict[str, float]) -> float:
        return reading["requests_total{stable}"] + reading["errors_total{none}"]

    with playing(limiter.url, "--rate", str(rate_per_s)) as traffic:
        traffic.more("requests_total{stable}", 50)
        asked_s, before, read_s = time.monotonic(), traffic.read(), time.monotonic()
        # when the process stands still for longer than users wait
        traffic.process.send_signal(signal.SIGSTOP)
        stood_s = time.monotonic()
        while time.monotonic() - stood_s < 2.5:
            time.sleep(0.05)
        moves_s = time.monotonic()
        traffic.process.send_signal(signal.SIGCONT)
        # then whoever was due in the stall is counted, and all but the last either unsent or slow
        due = rate_per_s * (moves_s - slow_s - stood_s) - 1
        traffic.wait_for(lambda now: now["errors_total{none}"] + now["slow_total{stable}"] >= due)
        after = traffic.wait_for(lambda now: counted(now) - counted(before) >= rate_per_s * (moves_s - read_s) - 1)
        assert after["errors_total{none}"] >= 50 and after["slow_total{stable}"] >= 100
        # and nobody twice: no more are counted than were ever due, or in the air at the first look
        assert counted(after) - counted(before) <= rate_per_s * (time.monotonic() - asked_s + slow_s) + 1


def test_only_metrics_are_served(limiter: TinyLimiter) -> None:
    with playing(limiter.url) as traffic:
        base = traffic.metrics_url.removesuffix("/metrics")
        assert httpx.get(f"{base}/other", trust_env=False).status_code == 404
        with socket.create_connection(("127.0.0.1", int(base.rsplit(":", 1)[1]))) as rude:
            rude.sendall(b"GET /metr")
        assert traffic.read()["requests_total{canary}"] == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--url", "ftp://x"], "is not like http://HOST:PORT"),
        (["--metrics", "9000"], "is not like HOST:PORT"),
        (["--rate", "0"], "is not a whole number from 1 to"),
        (["--keys", "20"], "is not a whole number from 21 to"),
        (["--prefix", "a b"], "'a b'"),
        (["--contract", "absent.yaml"], "absent.yaml: cannot be read"),
    ],
)
def test_bad_arguments_are_named_and_end_with_2(options: list[str], complaint: str) -> None:
    good = {"--url": "http://127.0.0.1:1", "--metrics": "127.0.0.1:0", "--contract": str(CONTRACT)}
    good.update(zip(options[::2], options[1::2], strict=True))
    ended = subprocess.run(
        [sys.executable, "-m", "traffic", *(part for option in good.items() for part in option)],
        env={**os.environ, "PYTHONPATH": str(TRAFFIC / "src")},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert complaint in ended.stderr and "Traceback" not in ended.stderr


def asked(limiter: TinyLimiter, requests: int, *, until: Callable[[OracleReading], bool]) -> list[OracleReading]:
    """Readings of the oracle, three at most: a stall of the machine is seen once, what ails users every time."""
    readings: list[OracleReading] = []
    while len(readings) < 3 and not (readings and until(readings[-1])):
        readings.append(measure(limiter.url, requests, 50, 200))
    return readings


def test_the_scenario_oracle_finds_a_correct_limiter_healthy(limiter: TinyLimiter) -> None:
    def well(reading: OracleReading) -> bool:
        return reading.errors == 0 and healthy(reading, Thresholds(slow_share=0.25))[0]

    readings = asked(limiter, 160, until=well)
    assert well(readings[-1]), readings
    assert (readings[-1].requests, readings[-1].denied_wrongly) == (160, 0)
    assert 0 < readings[-1].p50_ms <= readings[-1].p99_ms


@pytest.mark.parametrize(
    ("ways", "reason"),
    [
        (Ways(wait_s=0.08), "slow 100.00%, must be below 10.00%"),
        (Ways(burst=5), "denied wrongly 37.50%, must be below 1.00%"),
        (Ways(status=503), "errors 100.00%, must be below 1.00%"),
        (Ways(reset=True), "errors 100.00%, must be below 1.00%"),
    ],
    ids=["slow", "lowered burst", "5xx", "reset"],
)
def test_the_scenario_oracle_finds_what_ails_users(limiter: TinyLimiter, ways: Ways, reason: str) -> None:
    limiter.ways = ways
    readings = asked(limiter, 80, until=lambda reading: reason in healthy(reading, Thresholds())[1])
    assert not any(healthy(reading, Thresholds())[0] for reading in readings)
    assert reason in healthy(readings[-1], Thresholds())[1], readings


def test_the_scenario_oracle_counts_silence_as_the_whole_wait_of_a_user(limiter: TinyLimiter) -> None:
    limiter.ways = Ways(wait_s=30)
    reading = measure(limiter.url, 20, 50, 200)
    assert (reading.errors, reading.slow_share, reading.p50_ms) == (20, 1.0, 2000.0)


def test_the_scenario_oracle_prints_its_reading_as_json_also_when_nobody_listens(tmp_path: Path) -> None:
    # given an incident's file that asks 20 times, and a port without anybody behind it
    incident = tmp_path / "silence.yaml"
    quiet = (ROOT / "scenarios/quiet.yaml").read_text()
    assert "requests: 600" in quiet
    incident.write_text(quiet.replace("requests: 600", "requests: 20"))
    url = f"http://127.0.0.1:{free_port()}"

    # when the oracle is asked
    ended = subprocess.run(
        [sys.executable, "-m", "scenarios.oracle", "--url", url, "--incident", str(incident)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    reading = json.loads(ended.stdout)
    assert reading["requests"] == reading["errors"] == reading["slow"] == 20
    assert (reading["healthy"], reading["denied_wrongly"]) == (False, 0)
    assert set(reading) >= {"slow_share", "p50_ms", "p99_ms", "why", "shows_the_fault"}
