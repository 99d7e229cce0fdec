"""What a tick of the watch costs with many objectives and invariants, beside one question of that size, and one alone.

``python -m benchmarks.watch [OBJECTIVES] [INVARIANTS]`` (100 of each) fills a Prometheus of its own with series, keeps
itself and it on one core, and ticks on a ledger in a folder of its own. Medians of the clock, and means of what both
processes took of the processor, which other work on the machine does not change much. Touches nothing else.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from harness.adapters.declarations import load_manifest, load_windows
from harness.adapters.prometheus import PrometheusMetrics
from harness.bootstrap import CHECKOUT, read_rules
from harness.core.invariant import Invariant, parse_invariants
from harness.core.manifest import Manifest, Metric
from harness.core.slo import Slo, parse_slos
from harness.ledger.store import Ledger
from harness.measure import EVERY_ARM
from harness.simulation.world import World
from harness.stages.observe import Memory, Watch, tick
from tests.integration.prometheus_servers import prometheus

GOAL_S = 1.0
TICKS = 15
ARMS = ("stable", "canary", "baseline")
TABLES = ("demo", "30d")
"""Of windows, in turns: seconds in one, up to three days in the other."""


class Noon:
    """Always the same moment: that of the last sample."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Nothing here waits."""


def main(objectives: int, invariants: int) -> None:
    """Prints the table."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    rules = read_rules()
    manifest = declared(max(objectives, invariants))
    slos, conditions = declared_slos(objectives), declared_invariants(invariants)
    with tempfile.TemporaryDirectory(prefix="h-") as name:
        folder = Path(name)
        (folder / "stored").write_text("".join(stored(manifest, slos, now)))
        made = ["promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "stored", folder / "data"]
        subprocess.run(made, check=True, capture_output=True)
        with (
            prometheus(folder, "{}") as url,
            closing(Ledger.open(folder / "ledger.db", now=lambda: now)) as ledger,
        ):
            watch = Watch(
                manifest=manifest, slos=slos, invariants=conditions, metrics=PrometheusMetrics(url),
                nodes=World(manifest).nodes, ledger=ledger, clock=Noon(now), anomalies=rules.anomalies,
                no_data=rules.profile.no_data, together_s=rules.profile.causes.together_s,
            )  # fmt: skip
            asyncio.run(compared(watch, url))


async def compared(watch: Watch, url: str) -> None:
    """Ticks and what they are compared with, in turns."""
    memory = (await tick(Memory(), watch)).memory
    seen = {state: sum(state in by_state for by_state in memory.states.values()) for state in ("ok", "no_data")}
    totals = {slo.name: slo.selectors(watch.manifest, EVERY_ARM).total for slo in watch.slos}
    now = watch.clock.now()

    async def ticked() -> None:
        nonlocal memory
        memory = (await tick(memory, watch)).memory

    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "one question for one value": lambda: watch.metrics.value("vector(1)", now),
        "one question for every objective's total (the floor)": lambda: watch.metrics.counters(totals, now),
        "a tick": ticked,
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    ours: dict[str, list[float]] = {name: [] for name in ways}
    theirs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TICKS):
        for name, way in ways.items():
            theirs_s, began_s, own_s = prometheus_s(url), time.perf_counter(), time.process_time()
            await way()
            took[name].append(time.perf_counter() - began_s)
            ours[name].append(time.process_time() - own_s)
            theirs[name].append(prometheus_s(url) - theirs_s)
    print(f"{len(watch.slos)} objectives, {len(watch.invariants)} invariants: {seen}; "
          f"a memory of {len(memory.model_dump_json()) / 1024:.0f} kB")  # fmt: skip
    cpu_s = {name: statistics.mean(ours[name]) + statistics.mean(theirs[name]) for name in ways}
    _, floor_s, tick_s = cpu_s.values()
    for name in ways:
        own_ms, median_ms = statistics.mean(ours[name]) * 1000, statistics.median(took[name]) * 1000
        print(f"{name:<52} {median_ms:7.0f} ms   of the processor {cpu_s[name] * 1000:6.0f} ms, here {own_ms:4.0f}   "
              f"{cpu_s[name] / floor_s:5.1f} × the floor")  # fmt: skip
    print(f"goal {GOAL_S:g} s of one core a tick: {'reached' if tick_s < GOAL_S else 'not reached here'}")


def prometheus_s(url: str) -> float:
    """Seconds of the processor that it took so far, by its own account."""
    page = requests.get(f"{url}/metrics", proxies={"no_proxy": "*"}, timeout=10).text
    (line,) = [one for one in page.splitlines() if one.startswith("process_cpu_seconds_total ")]
    return float(line.split()[1])


def declared(count: int) -> Manifest:
    """The sample service with so many ratios and gauges more."""
    manifest = load_manifest(CHECKOUT / "services" / "ratelimiter" / "service.yaml")
    more = {}
    for n in range(count):
        selectors = {"bad": f'bad_{n}_total{{arm=~"{{arm}}"}}', "total": f'all_{n}_total{{arm=~"{{arm}}"}}'}
        more[f"ratio_{n}"] = Metric(kind="ratio", unit="%", direction="lower", good="0", **selectors)
        query = f"1 - sum(rate(bad_{n}_total[{{window}}])) / sum(rate(all_{n}_total[{{window}}]))"
        more[f"gauge_{n}"] = Metric(kind="gauge", unit="%", direction="higher", good="1", query=query)
    return manifest.model_copy(update={"metrics": manifest.metrics | more})


def declared_slos(count: int) -> tuple[Slo, ...]:
    """In turns on the windows of either table."""
    written = [
        {"name": f"slo-{n}", "target": "90%", "window": TABLES[n % 2], "indicator": {"metric": f"ratio_{n}"},
         "burn_rate_alert": "2x"} if TABLES[n % 2] == "demo" else
        {"name": f"slo-{n}", "target": "99%", "window": TABLES[n % 2], "indicator": {"metric": f"ratio_{n}"}}
        for n in range(count)
    ]  # fmt: skip
    return parse_slos({"slos": written}, "benchmark", load_windows(CHECKOUT / "slos" / "windows"))


def declared_invariants(count: int) -> tuple[Invariant, ...]:
    """In turns on a gauge and on a ratio."""
    conditions = [f"gauge_{n} > 20%" if n % 2 else f"ratio_{n} < 50%" for n in range(count)]
    return parse_invariants(
        {"invariants": [
            {"name": f"invariant-{n}", "condition": condition, "for": "10s", "on_violation": "auto_remediate"}
            for n, condition in enumerate(conditions)
        ]},
        "benchmark",
    )  # fmt: skip


def stored(manifest: Manifest, slos: tuple[Slo, ...], now: datetime) -> Iterator[str]:
    """Samples of every counter for each second of the last minute, and at the start of every window."""
    ends_s = int(now.timestamp())
    starts = {ends_s - int(window_s) - early for slo in slos for window_s in slo.windows_s for early in (0, 1)}
    moments = sorted({*starts, *range(ends_s - 60, ends_s + 1)})
    began_s = moments[0]
    for name in manifest.metrics:
        if not name.startswith("ratio_"):
            continue
        for counter, per_s in ((f"bad_{name[6:]}", 1), (f"all_{name[6:]}", 100)):
            yield f"# TYPE {counter} counter\n"
            for arm in ARMS:
                yield from (f'{counter}_total{{arm="{arm}"}} {(at - began_s) * per_s} {at}\n' for at in moments)
    yield "# EOF\n"


if __name__ == "__main__":
    main(*(int(number) for number in (*sys.argv[1:3], "100", "100")[:2]))
