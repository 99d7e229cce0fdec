"""What raw counters counted since a moment, also over a restart of what counts. Reads through ``Metrics``.

Events of a window are ``sum(x) - sum(x offset window)``, and what a counter had counted when it began anew. So they are
whole numbers, and a number that Prometheus has: unlike ``increase()``, nothing is extrapolated to the window's ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from harness.core.slo_documents.promql import Selectors
from harness.ports import CounterReading, Lost, Metrics


@dataclass(frozen=True, slots=True)
class Events:
    """Bad of all events; None what is not known. ``parts``: the bad ones by selector."""

    bad: int | None
    total: int | None
    parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Counters:
    """Values at several moments, and what is missing between each of them and now."""

    now: datetime
    values: Mapping[datetime, Mapping[str, CounterReading]]
    lost: Lost

    def events(self, of: Selectors, start: datetime) -> Events:
        """What was counted since then."""
        total = self._since(of.total, start)
        if of.good is not None:
            good = self._since(of.good, start)
            return Events(None if total is None or good is None else total - good, total)
        parts = [self._since(one, start) for one in of.bad]
        known = tuple(part for part in parts if part is not None)
        return Events(sum(known), total, known) if len(known) == len(parts) else Events(None, total)

    def knows(self, of: Selectors, start: datetime) -> bool:
        """Whether there were data then."""
        return self.values[start][of.total].value is not None

    def and_also(self, other: Counters) -> Counters:
        """With what was read of other moments."""
        return Counters(self.now, _both(self.values, other.values), _both(self.lost, other.lost))

    def partial(self, start: datetime) -> str | None:
        """What is said to be missing in an answer that this window is read from."""
        warnings = [
            warning for at in (start, self.now) for reading in self.values[at].values() for warning in reading.warnings
        ]
        return f"the answer is not whole: {'; '.join(dict.fromkeys(warnings))}" if warnings else None

    def covered_s(self, selector: str, start: datetime) -> float:
        """How much of the time since then samples span."""
        begins, ends = self.values[start][selector].at, self.values[self.now][selector].at
        return (ends - begins).total_seconds() if begins and ends else 0.0

    def _since(self, selector: str, start: datetime) -> int | None:
        before, after = self.values[start][selector].value, self.values[self.now][selector].value
        if before is None or after is None:
            return None
        counted = after - before + self.lost[start][selector]
        return counted if counted >= 0 else None


V = TypeVar("V")


def _both(
    one: Mapping[datetime, Mapping[str, V]], other: Mapping[datetime, Mapping[str, V]]
) -> dict[datetime, dict[str, V]]:
    return {moment: {**one.get(moment, {}), **other.get(moment, {})} for moment in {*one, *other}}


def named(of: Selectors) -> set[str]:
    """Every selector in it."""
    return {of.total, *of.bad, *filter(None, [of.good])}


async def read(metrics: Metrics, wanted: Mapping[datetime, Collection[str]], now: datetime) -> Counters:
    """Of each moment the selectors that are wanted of it, one question a moment; and what was lost until ``now``."""
    values = {
        moment: await metrics.counters({selector: selector for selector in sorted(wanted[moment])}, moment)
        for moment in sorted(wanted)
    }
    selectors = sorted({selector for each in wanted.values() for selector in each})
    return Counters(now, values, await metrics.lost(selectors, [one for one in wanted if one != now], now))
