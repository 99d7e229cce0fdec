"""What counters had counted when they began anew or went away, found in the samples that Prometheus holds.

Prometheus's past does not change, so each span of time is looked through once: a tick looks at what is new, and longer
windows cost nothing more. Resets are those of Prometheus's own ``increase()``: a sample below the one before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Protocol

from harness.core.slo_documents.promql import narrowed
from harness.ports import Lost

_LOOKBACK = timedelta(minutes=5)
"""For so long a sample stands for its series (Prometheus's default). A look begins so much earlier: the sample before
the first may be as old, and one that was late has come by then."""
_SIGN = "harness_sign"
"""The label that says what a series of an answer is a sign of, and of which selector, by its number."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series. ``at`` is the time of evaluation, not of the scrape; ``value`` may be NaN."""

    labels: Mapping[str, str]
    value: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Samples:
    """An answer: its samples (none is no data) and what Prometheus warned about it."""

    samples: tuple[Sample, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """A series as it was scraped: its labels but the name, and time (Unix seconds) and value of each sample."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


class Store(Protocol):
    """Where the samples are."""

    async def instant(self, query: str, at: datetime | None = None) -> Samples:
        """The samples of a query at one moment."""
        ...

    async def raw(self, selector: str, start: datetime, end: datetime) -> tuple[Series, ...]:
        """The samples as they were scraped."""
        ...


Labels = frozenset[tuple[str, str]]


@dataclass(slots=True)
class _Known:
    """Of one selector, the span that was looked through and what was found: (series, when) → what it had counted.

    ``away``: series that were there and are not any more → when they were last seen, and what they had counted.
    ``span``: the longest that was asked for.
    """

    begin: datetime
    end: datetime
    span: timedelta = timedelta(0)
    resets: dict[tuple[Labels, float], float] = field(default_factory=dict)
    away: dict[Labels, tuple[float, float]] = field(default_factory=dict)

    def lost(self, start_s: float, end_s: float) -> int:
        """What was counted before every reset after ``start_s``, and by what went away after it."""
        found = [lost for (_, at), lost in self.resets.items() if start_s < at <= end_s]
        found += [lost for at, lost in self.away.values() if start_s < at <= end_s]
        return round(sum(found))


class Resets:
    """Remembers what was found."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, _Known] = {}

    async def lost(self, selectors: Collection[str], starts: Collection[datetime], end: datetime) -> Lost:
        """The port ``Metrics``."""
        earliest = min(starts, default=end)
        unseen: dict[tuple[datetime, datetime], list[str]] = {}
        for selector in selectors:
            known = self._known.setdefault(selector, _Known(end, end))
            if earliest < known.begin:  # up to what is known, or a gap would lie between
                unseen.setdefault((earliest, max(end, known.end)), []).append(selector)
            elif end > known.end:
                unseen.setdefault((known.end, end), []).append(selector)
        for (begin, until), those in unseen.items():
            await self._look(those, begin, until)
        for selector in selectors:
            self._forget(self._known[selector], earliest, end)
        return {
            start: {each: self._known[each].lost(start.timestamp(), end.timestamp()) for each in selectors}
            for start in starts
        }

    async def _look(self, selectors: list[str], unseen_from: datetime, end: datetime) -> None:
        begin = unseen_from - _LOOKBACK
        signs = (await self._store.instant(self._signs(selectors, begin, end), end)).samples
        for sign in signs:
            labels = dict(sign.labels)
            kind, number = labels.pop(_SIGN).split()
            selector = selectors[int(number)]
            labels.pop("__name__", None)
            await self._note(self._known[selector], selector, labels, kind, sign.value, begin, end)
        for selector in selectors:
            known = self._known[selector]
            known.begin, known.end = min(known.begin, unseen_from), max(known.end, end)

    async def _note(
        self, known: _Known, selector: str, labels: dict[str, str], kind: str, value: float, begin: datetime,
        end: datetime,
    ) -> None:  # fmt: skip
        """Look at the samples of a series of which there is a sign, unless what it is a sign of is known."""
        key = frozenset(labels.items())
        if kind == "away" and key in known.away:
            return
        if kind == "reset" and value <= sum(one == key and at > begin.timestamp() for one, at in known.resets):
            return
        if kind == "back":
            if key not in known.away:
                return
            begin = min(begin, datetime.fromtimestamp(known.away.pop(key)[0] - 1, UTC))
        for series in await self._store.raw(narrowed(selector, labels), begin, end):
            known.resets.update({(key, at): lost for at, lost in _resets(series.samples)})
            if kind == "away":
                known.away[key] = series.samples[-1]

    def _signs(self, selectors: list[str], begin: datetime, end: datetime) -> str:
        length = f"[{round((end - begin).total_seconds() * 1000)}ms]"
        parts = []
        for number, selector in enumerate(selectors):
            parts += [
                _signed(f"resets({selector}{length}) > 0", number, "reset"),
                _signed(f"last_over_time({selector}{length}) unless {selector}", number, "away"),
            ]
            if self._known[selector].away:
                parts.append(_signed(selector, number, "back"))
        return either(parts)

    def _forget(self, known: _Known, earliest: datetime, end: datetime) -> None:
        """Keep twice the longest that was ever asked for: a ticket asks for seconds of what the watch asks days of."""
        known.span = max(known.span, end - earliest)
        keep = known.end - 2 * known.span
        if known.begin < keep:
            known.begin = keep
            known.resets = {key: lost for key, lost in known.resets.items() if key[1] > keep.timestamp()}


def either(parts: list[str]) -> str:
    """All of them, in pairs of pairs: in a row, every `or` would go through all that was found before it."""
    while len(parts) > 1:
        pairs = zip_longest(parts[::2], parts[1::2])
        parts = [one if other is None else f"({one} or {other})" for one, other in pairs]
    return parts[0]


def _signed(query: str, number: int, sign: str) -> str:
    return f'label_replace({query}, "{_SIGN}", "{sign} {number}", "", "")'


def _resets(samples: Iterable[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    """When a sample was below the one before it, and what that was."""
    before: float | None = None
    for at, value in samples:
        if before is not None and value < before:
            yield at, before
        before = value
