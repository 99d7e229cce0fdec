"""Metrics of a manifest, measured over a window: composes the queries, computes the values. Reads through ``Metrics``.

Shares are differences of raw counters, as integers: ``increase()`` extrapolates and is never used for a judgement.
A ratio of the manifest knows the arms of a canary, and says nothing of a window in which a counter began anew; what an
objective counts for itself may be counted by the service, which does so at every delivery.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil, isfinite

from harness.core.errors import Invalid
from harness.core.events import Measurement, Wait
from harness.core.manifest import Counted, Manifest, Metric
from harness.core.slo_documents.promql import buckets
from harness.core.units import choices
from harness.counters import named, read
from harness.ports import Checks, CounterReading, Metrics

EVERY_ARM = "canary|stable|baseline|none"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time."""

    start: datetime
    end: datetime

    @classmethod
    def before(cls, end: datetime, seconds: float) -> Window:
        """The window of so many seconds that ends at ``end``."""
        return cls(end - timedelta(seconds=seconds), end)

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Bench:
    """Where metrics of a tree are measured: that of this commit, with its own probes and checks."""

    checks: Checks
    commit: str


def live(manifest: Manifest) -> list[str]:
    """The metrics that are read while the service runs; those of a tree cost seconds, and wait until asked for."""
    return [name for name, metric in manifest.metrics.items() if not metric.of_tree]


def least_samples(share: float) -> int:
    """How many values a quantile needs: with fewer it is the largest of them, or beyond, and one value moves it."""
    return ceil(round(1 / (1 - share), 6))


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of all values does not exceed (nearest rank); None of too few."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)] if len(values) >= least_samples(share) else None


def declared(manifest: Manifest, name: str) -> Metric:
    """The metric of that name; raises Invalid with the nearest names."""
    metric = manifest.metrics.get(name)
    if metric is None:
        raise Invalid(f"metric `{name}` is not declared by {manifest.name}; {choices(name, manifest.metrics)}")
    return metric


def counter_selectors(metric: Metric, arm: str) -> dict[str, str]:
    """The two counters of a ratio, for one arm (a regular expression over arms)."""
    assert metric.kind == "ratio"
    return {"bad": str(metric.bad).replace("{arm}", arm), "total": str(metric.total).replace("{arm}", arm)}


async def measure(
    metrics: Metrics, manifest: Manifest, name: str, window: Window, *, arm: str = EVERY_ARM
) -> Measurement:
    """The metric over the window: a share for ratios and objectives, seconds for latencies, else the query's value.

    ``value`` is None without data, and of too few for a quantile or an objective; ``samples`` where a metric has no
    count of its own.
    """
    (measured,) = await measure_all(metrics, manifest, [(name, window)], arm=arm)
    return measured


async def measure_all(
    metrics: Metrics, manifest: Manifest, wanted: Sequence[tuple[str, Window]], *, arm: str = EVERY_ARM
) -> list[Measurement]:
    """As ``measure``, of many metrics, each over its window: what is asked of one moment is one question."""
    counters, queries = dict[datetime, dict[str, str]](), dict[datetime, dict[str, str]]()
    for number, (name, window) in enumerate(wanted):
        metric = declared(manifest, name)
        if metric.of_tree:
            by = f"the {metric.kind} `{metric.probe or metric.check}`"
            raise Invalid(f"metric `{name}` is measured by {by} on a commit, not over a window")
        if metric.kind == "ratio":
            for which, selector in counter_selectors(metric, arm).items():
                for moment in (window.end, window.start):
                    counters.setdefault(moment, {})[f"{which} {number}"] = selector
        elif metric.kind != "objective":
            queries.setdefault(window.end, {})[str(number)] = _query(metric, window.seconds, arm)
        if metric.kind == "latency":
            for moment in (window.end, window.start):
                counters.setdefault(moment, {})[f"count {number}"] = _count(metric, arm)
    readings = {moment: await metrics.counters(selectors, moment) for moment, selectors in counters.items()}
    values = {moment: await metrics.values(asked, moment) for moment, asked in queries.items()}
    measured = []
    for number, (name, window) in enumerate(wanted):
        if (own := declared(manifest, name).counted) is not None:
            measured.append(await _error_ratio(metrics, name, own, window))
            continue
        if str(number) not in queries.get(window.end, {}):
            measured.append(_share(name, declared(manifest, name), window, arm, number, readings))
            continue
        value = values[window.end][str(number)]
        if value is not None and not isfinite(value):  # x/0 is no measurement
            value = None
        if (share := declared(manifest, name).quantile) is not None:
            first, last = (readings[moment][f"count {number}"].value for moment in (window.start, window.end))
            if first is None or last is None or last - first < least_samples(share):
                value = None
        measured.append(
            Measurement(
                metric=name, query=queries[window.end][str(number)], window_from=window.start, window_to=window.end,
                value=value, samples=None,
            )
        )  # fmt: skip
    return measured


async def measure_windows(
    metrics: Metrics, manifest: Manifest, name: str, start: datetime, end: datetime, window_s: float
) -> list[float | None]:
    """The metric over each of the windows of ``window_s`` between the two moments, in order; None without data.

    As ``measure`` would give it, in one or two questions for all of them.
    """
    metric = declared(manifest, name)
    if metric.counted is not None:
        return await _error_ratios(metrics, metric.counted, start, end, window_s)
    if metric.kind != "ratio":
        first = start + timedelta(seconds=window_s)
        values = await metrics.history(_query(metric, window_s, EVERY_ARM), first, end, window_s)
        return [value if value is not None and isfinite(value) else None for value in values]
    selectors = counter_selectors(metric, EVERY_ARM)
    bad, total = [await metrics.history(f"sum({selectors[one]})", start, end, window_s) for one in ("bad", "total")]
    return [_share_between(*numbers) for numbers in zip(bad[:-1], bad[1:], total[:-1], total[1:], strict=True)]


async def _error_ratios(
    metrics: Metrics, own: Counted, start: datetime, end: datetime, window_s: float
) -> list[float | None]:
    """None of a window in which a counter began anew, too."""
    of, grown = own.of, dict[str, list[float | None]]()
    for selector in sorted(named(of)):
        values = await metrics.history(f"sum({selector})", start, end, window_s)
        grown[selector] = [_grown(*pair) for pair in pairwise(values)]
    ratios: list[float | None] = []
    for number, total in enumerate(grown[of.total]):
        parts = [grown[selector][number] for selector in ([of.good] if of.good is not None else of.bad)]
        seen = [part for part in parts if part is not None]
        if not total or total < own.min_events or len(seen) < len(parts):
            ratios.append(None)
            continue
        bad = total - sum(seen) if of.good is not None else sum(seen)
        ratios.append(bad / total if bad >= 0 else None)
    return ratios


def _grown(before: float | None, after: float | None) -> float | None:
    return after - before if before is not None and after is not None and after >= before else None


def _share_between(
    bad_before: float | None, bad: float | None, total_before: float | None, total: float | None
) -> float | None:
    if bad_before is None or bad is None or total_before is None or total is None:
        return None
    if bad < bad_before or total <= total_before:  # a counter was reset, or nothing was asked for
        return None
    return (bad - bad_before) / (total - total_before)


async def measure_anywhere(
    metrics: Metrics, manifest: Manifest, name: str, window: Window, bench: Bench
) -> tuple[Measurement, tuple[Wait, ...]]:
    """As ``measure``, and metrics of a tree too: they are measured now, on the bench's. With what was waited for.

    ``value`` is None when the commit cannot be measured.
    """
    metric = declared(manifest, name)
    if not metric.of_tree:
        return await measure(metrics, manifest, name, window), ()
    return await measure_by_probe(manifest, name, bench)


async def measure_by_probe(manifest: Manifest, name: str, bench: Bench) -> tuple[Measurement, tuple[Wait, ...]]:
    """A metric of a tree, measured now on the bench's commit by a probe or a check, and what was waited for."""
    metric = declared(manifest, name)
    if metric.check is not None:
        return await _measure_by_check(name, metric.check, bench)
    run = await bench.checks.probe(str(metric.probe), bench.commit, bench.commit)
    values = run.measures[str(metric.measure)] if run.measures else []
    measured = Measurement(
        metric=name,
        query=f"probe {metric.probe} on {bench.commit[:12]}: quantile {metric.quantile} of {metric.measure}",
        window_from=run.wait.opened_at, window_to=run.wait.closed_at,
        value=quantile(values, float(metric.quantile or 0)), samples=len(values),
    )  # fmt: skip
    return measured, (run.wait,)


async def _measure_by_check(name: str, check: str, bench: Bench) -> tuple[Measurement, tuple[Wait, ...]]:
    """How long the check runs. Nothing is said of one that fails: it may have ended early."""
    run = await bench.checks.check(check, bench.commit, bench.commit)
    seconds = (run.wait.closed_at - run.wait.opened_at).total_seconds()
    measured = Measurement(
        metric=name, query=f"seconds of the check {check} on {bench.commit[:12]}", window_from=run.wait.opened_at,
        window_to=run.wait.closed_at, value=seconds if run.passed else None, samples=None,
    )  # fmt: skip
    return measured, (run.wait,)


def _share(
    name: str, metric: Metric, window: Window, arm: str, number: int,
    readings: Mapping[datetime, Mapping[str, CounterReading]],
) -> Measurement:  # fmt: skip
    selectors, last, first = counter_selectors(metric, arm), readings[window.end], readings[window.start]
    value: float | None = None
    samples: int | None = None
    bad, total = f"bad {number}", f"total {number}"
    numbers = [last[bad].value, first[bad].value, last[total].value, first[total].value]
    if not any(one is None for one in numbers):
        failed, samples = numbers[0] - numbers[1], numbers[2] - numbers[3]  # type: ignore[operator]
        if failed < 0 or samples < 0:  # a counter was reset within the window: nothing can be said of it
            samples = None
        elif samples:
            value = failed / samples
    query = f"Δ({selectors['bad']}) / Δ({selectors['total']})"
    return Measurement(
        metric=name, query=query, window_from=window.start, window_to=window.end, value=value, samples=samples
    )


async def _error_ratio(metrics: Metrics, name: str, own: Counted, window: Window) -> Measurement:
    """Also over a restart of what counts. Nothing is said of few events or half an answer, nor where what is declared
    counts no events: the watch tells that, and no other metric suffers by it."""
    of = own.of
    value: float | None = None
    total: int | None = None
    try:
        counted = await read(metrics, {window.start: named(of), window.end: named(of)}, window.end)
    except Invalid:
        pass
    else:
        events = counted.events(of, window.start)
        total = events.total
        if total and total >= own.min_events and events.bad is not None and counted.partial(window.start) is None:
            value = events.bad / total if events.bad >= 0 else None
    part = f"1 - Δ({of.good})" if of.good is not None else " + ".join(f"Δ({one})" for one in of.bad)
    query = f"({part}) / Δ({of.total})" if len(of.bad) > 1 else f"{part} / Δ({of.total})"
    return Measurement(
        metric=name, query=query, window_from=window.start, window_to=window.end, value=value, samples=total
    )


def _count(metric: Metric, arm: str) -> str:
    """The counter of everything that a histogram holds."""
    return buckets(str(metric.histogram).replace("{arm}", arm), 1.0)[1]


def _query(metric: Metric, seconds: float, arm: str) -> str:
    span = f"{max(1, round(seconds))}s"
    if metric.kind == "latency":
        histogram = str(metric.histogram).replace("{arm}", arm)
        return f"histogram_quantile({metric.quantile}, sum by (le) (rate({histogram}[{span}])))"
    return str(metric.query).replace("{arm}", arm).replace("{window}", span)
