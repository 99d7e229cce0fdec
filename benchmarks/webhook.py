"""How many signals and tickets a second `harness serve` takes in, beside what the same server answers without work.

``python -m benchmarks.webhook [ROUNDS]`` starts one on a free port, with a home of its own, and sends from this
process. The floor is GET /livez. Rates are of the wall clock, as people wait by it; the processor's seconds that the
server takes for a request stand beside, as a machine may be shared. Touches nothing else.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil

from tests.alert_load import post
from tests.alerts import alert, message
from tests.integration.alert_world import Serving, serving, until

ROUNDS = 5
CONNECTIONS = 16
_NUMBERS = count()


@dataclass(frozen=True)
class Way:
    """A route with what is sent to it: ``things`` in each of ``requests``."""

    name: str
    method: str
    path: str
    body: Callable[[], bytes]
    requests: int
    things: int = 1


def alerts(each: int) -> bytes:
    """A message of so many alerts that were never told before, of five names."""
    told = [alert(number, alertname=f"Name{number % 5}") for number in (next(_NUMBERS) for _ in range(each))]
    return json.dumps(message(*told)).encode()


def repeated() -> bytes:
    """A message that changes nothing."""
    return json.dumps(message(alert(0, alertname="Name0"))).encode()


def signal() -> bytes:
    """A signal with a label of its own."""
    return json.dumps({"name": "probe", "labels": {"n": str(next(_NUMBERS))}}).encode()


def ticket() -> bytes:
    """A ticket of a person."""
    wants = [{"metric": "slow_share", "condition": "< 5%"}]
    document = {"type": "improvement", "objective": {"description": "less"}, "acceptance_criteria": wants}
    return json.dumps({"ticket": document}).encode()


WAYS = (
    Way("GET /livez (the floor)", "GET", "/livez", lambda: b"", 2_000),
    Way("one alert a message", "POST", "/api/v1/signals/alertmanager", lambda: alerts(1), 1_000),
    Way("one alert, told before", "POST", "/api/v1/signals/alertmanager", repeated, 1_000),
    Way("100 alerts a message", "POST", "/api/v1/signals/alertmanager", lambda: alerts(100), 50, 100),
    Way("signals of anyone", "POST", "/api/v1/signals", signal, 1_000),
    Way("tickets filed", "POST", "/api/v1/tickets", ticket, 100),
)


def main(rounds: int) -> None:
    """Prints the table: medians of the rounds, in which the ways take turns."""
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    filed: list[float] = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        for _ in range(rounds):
            for way in WAYS:
                bodies = [way.body() for _ in range(way.requests)]
                before_s, began_s = sum(process.cpu_times()[:2]), time.monotonic()
                url, token = f"{server.url}{way.path}", server.token
                outcome = asyncio.run(post(url, token, bodies, connections=CONNECTIONS, method=way.method))
                assert all(200 <= status < 300 for status in outcome.statuses), outcome.statuses
                until(lambda: _is_filed(server), "everything is filed")
                rates.setdefault(way.name, []).append(way.requests * way.things / outcome.took_s)
                costs.setdefault(way.name, []).append((sum(process.cpu_times()[:2]) - before_s) / way.requests)
                if way.things > 1:
                    filed.append(way.requests * way.things / (time.monotonic() - began_s))
        memory = process.memory_info().rss
    floor = statistics.median(costs[WAYS[0].name])
    for way in WAYS:
        rate, cost = statistics.median(rates[way.name]), statistics.median(costs[way.name])
        print(f"{way.name:<26} {rate:>8.0f} /s   {cost * 1e6:>8.0f} µs of the processor a request, filing and all"
              f"   {cost / floor:>6.1f} × the floor")  # fmt: skip
    print(f"of 100 alerts a message {statistics.median(filed):.0f} /s from the first request until the last is filed")
    print(f"memory of the server at the end: {memory / 1024 / 1024:.0f} MiB")


def _is_filed(server: Serving) -> bool:
    counted = server.asked("GET", "/metrics").text

    def total(name: str) -> float:
        return sum(float(line.split()[-1]) for line in counted.splitlines() if line.startswith(f"{name}_total"))

    return total("harness_signals_filed") >= total("harness_signals_received")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
