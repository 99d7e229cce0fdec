"""Measures how often the detector of anomalies is wrong, and how soon it is right, on recorded traffic.

``python -m benchmarks.anomalies --record http://HOST:PORT --hours H FILE`` reads the service's counters, second by
second, from a Prometheus into FILE (.npz). ``python -m benchmarks.anomalies FILE [--weeks N]`` resamples it.

A circular block bootstrap makes weeks out of the recording: blocks of consecutive seconds, all metrics together, so
that what disturbs the machine for a while stays together. The block is twice the lag from which on no metric's
autocorrelation is told from 0 any more (the rule of Politis and White, 2004), at least ten minutes and at most a
quarter of the recording. The detector is the one that the watch runs, with the policy of this checkout; beside it run
a plain three-sigma rule and an EWMA chart (Roberts, 1959) with the same windows, reference and warm-up. The recording
holds quiet traffic, so every ticket is false; nothing is left out of it, not even what burnt an objective. A ticket
is closed at once, so that all metrics learn anew what is usual, as they do in the watch.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.adapters.declarations import load_manifest
from harness.bootstrap import CHECKOUT, read_rules
from harness.core.anomaly import Detection, walk
from harness.core.anomaly_policy import SETTLES_S, Anomalies
from harness.core.contract import with_promises
from harness.core.manifest import Manifest, Metric
from harness.measure import EVERY_ARM, counter_selectors

WEEK_S = 7 * 86_400
LEAST_BLOCK_S = 600
ON_NOTHING = 0.001
"""What is planted in a metric that never moved, for there is no sigma of it."""
CHUNK_S = 10_000
"""Prometheus gives 11,000 points of a series at most."""
Floats = NDArray[np.float64]
Detector = Callable[[Iterable[float]], Iterator[bool]]


# --- the recording -------------------------------------------------------------------------------------------------


def counters(manifest: Manifest, names: Iterable[str]) -> dict[str, str]:
    """Column → the query of one counter, for every counter that these metrics are made of."""
    columns = {}
    for name in names:
        metric = manifest.metrics[name]
        if metric.kind == "ratio":
            columns |= {f"{name} {one}": f"sum({query})" for one, query in counter_selectors(metric, EVERY_ARM).items()}
        elif metric.kind == "latency":
            columns[name] = f"sum by (le) ({str(metric.histogram).replace('{arm}', EVERY_ARM)})"
        else:
            raise SystemExit(f"{name}: a metric of kind {metric.kind} is made of no counters, so it is not resampled")
    return columns


def record(url: str, hours: float, columns: dict[str, str], path: Path) -> None:
    """Each counter at every second of the last hours; NaN where it has no value."""
    end = int(time.time()) - 2
    start = int(end - hours * 3600)
    seconds = end - start + 1
    found: dict[str, Floats] = {}
    for column, query in columns.items():
        for first in range(start, end + 1, CHUNK_S):
            asked = {"query": query, "start": first, "end": min(first + CHUNK_S - 1, end), "step": 1}
            address = f"{url.rstrip('/')}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
            with urllib.request.urlopen(address, timeout=60) as answer:
                series = json.load(answer)["data"]["result"]
            for one in series:
                name = f"{column} {one['metric']['le']}" if "le" in one["metric"] else column
                values = found.setdefault(name, np.full(seconds, np.nan))
                for at, value in one["values"]:
                    values[round(at) - start] = float(value)
    names = sorted(found)
    np.savez_compressed(path, start=start, names=np.array(names), values=np.array([found[name] for name in names]))
    begun = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(start))
    print(f"{path}: {seconds} s from {begun} UTC, {len(found)} counters")


@dataclass(frozen=True)
class Recording:
    """What each counter grew by, second by second. Seconds that some counter does not tell of are left out."""

    names: tuple[str, ...]
    grown: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> Recording:
        with np.load(path) as stored:
            names, values = tuple(str(name) for name in stored["names"]), stored["values"]
        grown = np.diff(values, axis=1).T
        whole = np.isfinite(grown).all(axis=1) & (grown >= 0).all(axis=1)
        return cls(names, grown[whole].astype(np.int64))

    @property
    def seconds(self) -> int:
        return len(self.grown)

    def resampled(self, seconds: int, block_s: int, chance: np.random.Generator) -> Recording:
        """So many seconds out of blocks of this one, each from anywhere."""
        starts = chance.integers(0, self.seconds, math.ceil(seconds / block_s))
        index = (starts[:, None] + np.arange(block_s)[None, :]) % self.seconds
        return Recording(self.names, self.grown[index.ravel()[:seconds]])

    def windows(self, manifest: Manifest, metric: str, window_s: int) -> Floats:
        """The metric over each window, as the harness measures it. Windows without any request are left out."""
        columns = [number for number, name in enumerate(self.names) if name.split(" ")[0] == metric]
        whole = self.seconds // window_s * window_s
        sums = self.grown[:whole, columns].reshape(-1, window_s, len(columns)).sum(axis=1)
        return value_of(manifest.metrics[metric], [self.names[number] for number in columns], sums)


def value_of(metric: Metric, names: list[str], sums: NDArray[np.int64]) -> Floats:
    """The metric's value for each row of its counters' growth."""
    by_name = {name.split(" ")[1]: sums[:, number] for number, name in enumerate(names)}
    if metric.kind == "ratio":
        some = by_name["total"] > 0
        return np.asarray(by_name["bad"][some] / by_name["total"][some])
    bounds = sorted((math.inf if name == "+Inf" else float(name), name) for name in by_name)
    counts = np.stack([by_name[name] for _, name in bounds], axis=1).astype(float)
    counts = counts[counts[:, -1] > 0]
    edges = np.array([bound for bound, _ in bounds])
    wanted = float(metric.quantile or 0) * counts[:, -1]
    at = (counts < wanted[:, None]).sum(axis=1)  # the first bucket that reaches it, as Prometheus looks for it
    below = np.where(at > 0, np.take_along_axis(counts, np.maximum(at - 1, 0)[:, None], 1)[:, 0], 0.0)
    reached = np.take_along_axis(counts, at[:, None], 1)[:, 0]
    lower = np.where(at > 0, edges[np.maximum(at - 1, 0)], 0.0)
    inside = (wanted - below) / np.maximum(reached - below, 1e-12)
    last = len(edges) - 1  # within the bucket without an upper end its lower one counts
    width = np.where(at < last, edges[np.minimum(at, last - 1)] - lower, 0.0)
    return np.asarray(lower + width * inside)


def block_length_s(recording: Recording, manifest: Manifest, names: Iterable[str]) -> tuple[int, int]:
    """The block, and the lag in seconds that it comes from."""
    n = recording.seconds
    longest, run = n // 8, max(5, round(math.sqrt(math.log10(n))))
    small, lag = 2 * math.sqrt(math.log10(n) / n), 1
    for name in names:
        series = recording.windows(manifest, name, 1)
        series = series - series.mean()
        if not series.any():
            continue
        spectrum = np.fft.rfft(series, 2 * len(series))
        correlation = np.fft.irfft(spectrum * spectrum.conj())[: longest + run]
        beyond = np.abs(correlation / correlation[0]) >= small
        quiet = next((one for one in range(1, longest) if not beyond[one : one + run].any()), longest)
        lag = max(lag, quiet)
    return min(max(2 * lag, LEAST_BLOCK_S), n // 4), lag


# --- the detectors -------------------------------------------------------------------------------------------------


def ours(detection: Detection) -> Detector:
    return lambda values: (judged.state == "strange" for judged in walk(values, detection))


def three_sigma(detection: Detection) -> Detector:
    return lambda values: (
        ready and value > mean + 3 * deviation for value, ready, mean, deviation in _moments(values, detection)
    )


def ewma(detection: Detection, weight: float = 0.2, width: float = 3.0) -> Detector:
    def alarms(values: Iterable[float]) -> Iterator[bool]:
        level = 0.0
        for value, ready, mean, deviation in _moments(values, detection):
            level = level + weight * (((value - mean) / deviation if deviation else 0.0) - level) if ready else 0.0
            yield ready and level > width * math.sqrt(weight / (2 - weight))

    return alarms


def _moments(values: Iterable[float], detection: Detection) -> Iterator[tuple[float, bool, float, float]]:
    """Each value, whether there is enough to judge it by, and mean and standard deviation of its reference."""
    usual: deque[float] = deque()
    guard: deque[float] = deque()
    total = squares = 0.0
    for value in values:
        n = len(usual)
        mean = total / n if n else 0.0
        yield value, n >= detection.warm_up, mean, math.sqrt(max(0.0, squares / n - mean * mean)) if n else 0.0
        guard.append(value)
        if len(guard) > detection.guard:
            usual.append(guard.popleft())
            total, squares = total + usual[-1], squares + usual[-1] ** 2
            if len(usual) > detection.reference:
                oldest = usual.popleft()
                total, squares = total - oldest, squares - oldest**2


# --- what is measured ----------------------------------------------------------------------------------------------


def tickets(series: list[list[float]], detector: Detector) -> list[int]:
    """For each metric how many tickets it opens, where all of them begin anew after each."""
    opened = [0] * len(series)
    begun, length = 0, min(map(len, series))
    while begun < length:
        for step, alarms in enumerate(zip(*(detector(one[begun:]) for one in series), strict=False)):
            if any(alarms):
                opened[alarms.index(True)] += 1
                begun += step + 1
                break
        else:
            break
    return opened


def poisson_interval(count: int, share: float = 0.95) -> tuple[float, float]:
    """The exact interval (Garwood) for the mean of a Poisson count."""
    tail = (1 - share) / 2

    def at_most(most: int, mean: float) -> float:
        return sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(most + 1)) if mean else 1.0

    def solve(wanted: Callable[[float], bool]) -> float:
        low, high = 0.0, 10.0 + 10 * count
        for _ in range(60):
            low, high = ((low + high) / 2, high) if wanted((low + high) / 2) else (low, (low + high) / 2)
        return low

    low = solve(lambda mean: 1 - at_most(count - 1, mean) < tail) if count else 0.0
    return low, solve(lambda mean: at_most(count, mean) > tail)


@dataclass(frozen=True)
class Bench:
    recording: Recording
    manifest: Manifest
    policy: Anomalies
    names: tuple[str, ...]
    block_s: int
    chance: np.random.Generator

    @property
    def window_s(self) -> int:
        return round(self.policy.window_s)

    def series(self, recording: Recording) -> list[list[float]]:
        return [recording.windows(self.manifest, name, self.window_s).tolist() for name in self.names]

    def false_tickets(self, detectors: dict[str, Detector], weeks: int) -> None:
        """How many tickets a week each detector opens on the recording, resampled."""
        counted = {name: [0] * len(self.names) for name in detectors}
        for _ in range(weeks):
            series = self.series(self.recording.resampled(WEEK_S, self.block_s, self.chance))
            for name, detector in detectors.items():
                counted[name] = [a + b for a, b in zip(counted[name], tickets(series, detector), strict=True)]
        print(f"\nfalse tickets a week, the service in total, over {weeks} weeks (95 % interval of these weeks):")
        for name, by_metric in counted.items():
            low, high = (bound / weeks for bound in poisson_interval(sum(by_metric)))
            parts = ", ".join(f"{metric} {n}" for metric, n in zip(self.names, by_metric, strict=True))
            print(f"  {name:<16} {sum(by_metric) / weeks:8.3f}  [{low:.3f}, {high:.3f}]   tickets: {parts}")

    def spread(self, detector: Detector, recordings: int, weeks: int) -> None:
        """The same for ours on recordings that could have been made instead: each is resampled from this one first."""
        rates = []
        for _ in range(recordings):
            other = self.recording.resampled(self.recording.seconds, self.block_s, self.chance)
            series = self.series(other.resampled(weeks * WEEK_S, self.block_s, self.chance))
            rates.append(sum(tickets(series, detector)) / weeks)
        low, middle, high = np.percentile(rates, [5, 50, 95])
        kept = np.mean(np.array(rates) <= 1)
        print(
            f"  ours on {recordings} other recordings, resampled from this one, {weeks} weeks each: median "
            f"{middle:.2f}, 90 % between {low:.2f} and {high:.2f}, {kept:.0%} of them at most 1 a week"
        )

    def delays(self, detectors: dict[str, Detector], trials: int) -> None:
        """How long each takes to find a shift of three sigma that begins anywhere in a window, and stays."""
        detection, after = self.policy.detection(len(self.names)), 120
        before = detection.reference + detection.guard
        seconds = (before + 1 + after) * self.window_s
        print(f"\ndelay until a planted shift of 3 sigma is found, in s: median, 90 %, how many of {trials}:")
        for number, metric in enumerate(self.names):
            all_windows = np.array(self.series(self.recording)[number])
            mad = 1.4826 * float(np.median(np.abs(all_windows - np.median(all_windows))))
            for kind, sigma in {"MAD": mad, "standard deviation": float(all_windows.std())}.items():
                shift = 3 * sigma or ON_NOTHING
                found: dict[str, list[float]] = {name: [] for name in detectors}
                for _ in range(trials):
                    drawn = self.recording.resampled(seconds, self.block_s, self.chance)
                    values = drawn.windows(self.manifest, metric, self.window_s)
                    part = float(self.chance.random())
                    values[before] += shift * part
                    values[before + 1 :] += shift
                    for name, detector in detectors.items():
                        alarms = enumerate(detector(values.tolist()))
                        at = next((step for step, alarm in alarms if alarm and step >= before), None)
                        waited = math.inf if at is None else (at - before + part) * self.window_s + SETTLES_S
                        found[name].append(waited)
                told = "; ".join(
                    f"{name} {np.percentile(waits, 50, method='higher'):.0f}, "
                    f"{np.percentile(waits, 90, method='higher'):.0f}, {np.isfinite(waits).sum()}"
                    for name, waits in found.items()
                )
                of = f"3 of {kind}" if sigma else f"as {kind} is 0"
                print(f"  {metric:<20} +{shift:.2g} ({of}): {told}")
                if not sigma:
                    break


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("file", type=Path, help="the recording")
    parser.add_argument("--record", metavar="URL", help="make it first, from this Prometheus")
    parser.add_argument("--hours", type=float, default=2.0, help="how long a recording to make")
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--policy", metavar="KEY=VALUE", nargs="*", default=[], help="try another policy: window=30s")
    given = parser.parse_args()
    rules = read_rules()
    manifest = load_manifest(CHECKOUT / "services" / rules.service / "service.yaml")
    manifest, policy = with_promises(manifest, rules.promises), _with(rules.anomalies, given.policy)
    names = policy.compared(manifest)
    if given.record:
        record(given.record, given.hours, counters(manifest, names), given.file)
    begun = time.perf_counter()
    recording = Recording.read(given.file)
    block_s, lag_s = block_length_s(recording, manifest, names)
    bench = Bench(recording, manifest, policy, names, block_s, np.random.default_rng(given.seed))
    detection = policy.detection(len(names))
    print(
        f"{given.file}: {recording.seconds} s, {len(names)} metrics; block {block_s} s (correlated for {lag_s} s), "
        f"windows of {policy.window_s:g} s; declared: a false alarm in {policy.false_alarm_every_s / 86_400:g} d"
    )
    for name, values in zip(names, bench.series(recording), strict=True):
        low, middle, high, top = np.percentile(values, [5, 50, 95, 100])
        print(f"  {name:<20} windows: median {middle:.4g}, 5 to 95 % {low:.4g} to {high:.4g}, worst {top:.4g}")
    detectors = {"ours": ours(detection), "three sigma": three_sigma(detection), "EWMA 0.2": ewma(detection)}
    bench.false_tickets(detectors, given.weeks)
    bench.spread(detectors["ours"], 25, 2)
    bench.delays(detectors, given.trials)
    print(f"\n{time.perf_counter() - begun:.0f} s in all")


def _with(policy: Anomalies, changes: list[str]) -> Anomalies:
    document: dict[str, Any] = policy.model_dump(mode="json", by_alias=True)
    spans = ("window", "reference", "guard", "warm_up", "false_alarm_every")
    document |= {name: f"{document[name]}s" for name in spans} | dict(one.split("=", 1) for one in changes)
    return Anomalies.parse(document, "--policy")


if __name__ == "__main__":
    main()
