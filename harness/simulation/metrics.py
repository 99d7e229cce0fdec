"""The port ``Metrics`` in memory: samples the traffic's counters once a second and answers the manifest's queries.

Knows what a scrape knows and nothing else. Changes nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from math import ceil

from harness.core.errors import Invalid, Retryable
from harness.ports import CounterReading, Lost
from harness.simulation.clock import START, VirtualClock
from harness.simulation.traffic import ARMS, KEYS, Count, Traffic

SCRAPE_S = 1.0
STALE_S = 1.5
"""A series without a sample for so long has no value any more."""
COUNTERS = (
    "traffic_requests_total", "traffic_slow_total", "traffic_errors_total", "traffic_wrong_denials_total",
    "traffic_over_admissions_total",
)  # fmt: skip
_SELECTOR = re.compile(r'(?P<name>\w+)(?:\{arm=~"(?P<arm>[^"]*)"(?:,le="\+Inf")?\})?')
_RATE = r"sum\(rate\((?P<selector>traffic_requests_total[^\[]*)\[(?P<seconds>\d+)s\]\)\)"
_ERROR_RATE = _RATE.replace("selector", "errors").replace("requests", "errors").replace("seconds", "span")
_FIRST = r"min\(min_over_time\(timestamp\((?P<selector>.+)\)\[(?P<span>\d+)ms:\d+ms\]\)\)"
_HEALTHY = r'max\(envoy_cluster_membership_healthy\{envoy_cluster_name="stable"\}\)'


@dataclass(frozen=True, slots=True)
class Sample:
    """One scrape: the counters, and how many nodes answer for stable."""

    at_s: float
    counts: Mapping[Count, int]
    healthy: int


class MemoryMetrics:
    """``failing``: questions get no answer. ``blind``: nothing is scraped any more, so there is no data.
    ``nonsense`` names an arm for which something else than events is counted, ``absent`` one for which nothing is.
    """

    def __init__(self, *, traffic: Traffic, healthy: Callable[[], int], clock: VirtualClock, phase_s: float) -> None:
        self._traffic, self._healthy, self._clock = traffic, healthy, clock
        self._next_s = phase_s
        self._samples: list[Sample] = []
        self.failing = False
        self.blind = False
        self.nonsense: str | None = None
        self.absent: str | None = None

    def scrape(self) -> None:
        """Take every sample that is due by now."""
        while self._next_s <= self._clock.now_s():
            self._traffic.advance(self._next_s)
            if not self.blind:
                self._samples.append(Sample(self._next_s, dict(self._traffic.counts), self._healthy()))
            self._next_s += SCRAPE_S

    def forget(self) -> None:
        """What was scraped until now is lost."""
        self._samples.clear()

    async def counters(self, selectors: Mapping[str, str], at: datetime | None = None) -> dict[str, CounterReading]:
        """The last sample's values, summed over the arms that the selector matches."""
        sample = self._sample(self._moment(at))
        if self.nonsense and any(f'"{self.nonsense}"' in selector for selector in selectors.values()):
            raise Invalid("counter: it is 0.5, which is no whole number")
        there = {name: sample for name, selector in selectors.items() if f'"{self.absent}"' not in selector}
        return {name: _reading(selector, there.get(name)) for name, selector in selectors.items()}

    async def lost(self, selectors: Collection[str], starts: Collection[datetime], end: datetime) -> Lost:
        """What the traffic had counted when it began to count anew."""
        until = self._moment(end)
        return {
            start: {each: self._lost(each, (start - START).total_seconds(), until) for each in selectors}
            for start in starts
        }

    def _lost(self, selector: str, start_s: float, end_s: float) -> int:
        inside = [sample for sample in self._samples if start_s - STALE_S <= sample.at_s <= end_s]
        return sum(
            max(0, before.counts.get(one, 0) - after.counts.get(one, 0)) and before.counts.get(one, 0)
            for one in _series(selector)
            for before, after in pairwise(inside)
            if after.at_s > start_s
        )

    async def value(self, query: str, at: datetime | None = None) -> float | None:
        """The value of one of the manifest's queries; there is no histogram here, so quantiles have no data."""
        moment = self._moment(at)
        if found := re.fullmatch(_FIRST, query):
            return self._first(found["selector"], moment - float(found["span"]) / 1000, moment)
        sample = self._sample(moment)
        if query.startswith("histogram_quantile(") or sample is None:
            return None
        if query == "sum(traffic_keys)":
            return float(KEYS)
        if found := re.fullmatch(_RATE, query):
            return self._rate(found["selector"], float(found["seconds"]), moment)
        if found := re.fullmatch(rf"1 - {_RATE} / \((?P<capacity>\d+) \* {_HEALTHY}\)", query):
            rate, capacity = self._rate(found["selector"], float(found["seconds"]), moment), float(found["capacity"])
            return None if rate is None or not sample.healthy else 1 - rate / (capacity * sample.healthy)
        if found := re.fullmatch(rf"1 - {_ERROR_RATE} / {_RATE}", query):
            errors = self._rate(found["errors"], float(found["span"]), moment)
            rate = self._rate(found["selector"], float(found["seconds"]), moment)
            return None if errors is None or not rate else 1 - errors / rate
        raise Invalid(f"query: {query} is none that the modelled metrics can answer")

    async def values(self, queries: Mapping[str, str], at: datetime | None = None) -> dict[str, float | None]:
        """As ``value``, for each of them."""
        return {name: await self.value(query, at) for name, query in queries.items()}

    async def history(self, query: str, start: datetime, end: datetime, step_s: float) -> list[float | None]:
        """The value of one of the manifest's queries, or the sum of a counter, at each of these moments."""
        moments = [
            start + timedelta(seconds=step_s * step) for step in range(int((end - start).total_seconds() / step_s) + 1)
        ]
        if found := re.fullmatch(r"sum\((?P<counter>traffic_\w+_total\{[^}]*\})\)", query):
            readings = [await self.counters({"it": found["counter"]}, moment) for moment in moments]
            return [None if (value := reading["it"].value) is None else float(value) for reading in readings]
        return [await self.value(query, moment) for moment in moments]

    def _moment(self, at: datetime | None) -> float:
        if self.failing:
            raise Retryable("metrics: no answer")
        self.scrape()
        return self._clock.now_s() if at is None else (at - START).total_seconds()

    def _sample(self, moment_s: float) -> Sample | None:
        before = bisect_right(self._samples, moment_s, key=lambda sample: sample.at_s)
        if not before or moment_s - self._samples[before - 1].at_s > STALE_S:
            return None
        return self._samples[before - 1]

    def _first(self, selector: str, start_s: float, end_s: float) -> float | None:
        """When the first sample of the span was taken, in Unix time, which Prometheus has in whole milliseconds."""
        there = [sample.at_s for sample in self._samples if start_s <= sample.at_s <= end_s and _series(selector)]
        return START.timestamp() + ceil(there[0] * 1000) / 1000 if there else None

    def _rate(self, selector: str, seconds: float, moment_s: float) -> float | None:
        inside = [sample for sample in self._samples if moment_s - seconds <= sample.at_s <= moment_s]
        if len(inside) < 2:
            return None
        first, last = (_reading(selector, sample).value for sample in (inside[0], inside[-1]))
        assert first is not None and last is not None, "every counter is in every sample"
        return (last - first) / (inside[-1].at_s - inside[0].at_s)


def _reading(selector: str, sample: Sample | None) -> CounterReading:
    series = _series(selector)
    if sample is None or not series:
        return CounterReading(value=None, at=None)
    total = sum(sample.counts.get(one, 0) for one in series)
    return CounterReading(value=total, at=START + timedelta(seconds=sample.at_s))


@lru_cache
def _series(selector: str) -> tuple[Count, ...]:
    parts = _SELECTOR.fullmatch(selector)
    if parts is None:
        raise Invalid(f"selector: {selector} is not plain")
    arms = [arm for arm in ARMS if parts["arm"] is None or re.fullmatch(parts["arm"], arm)]
    return tuple((parts["name"], arm) for arm in arms if parts["name"] in COUNTERS)
