"""What objectives counted over their windows and their period, from raw counters. Reads through ``Metrics``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from harness.core.burn_rate import SloState, WindowReading, evaluate
from harness.core.errors import Invalid, Retryable
from harness.core.manifest import Manifest
from harness.core.slo import Slo
from harness.core.slo_documents.promql import Selectors
from harness.counters import Counters, Events, named, read
from harness.measure import EVERY_ARM
from harness.ports import Metrics

STEPS = 1000
"""Into so many parts a period is cut to find where its data begin."""


@dataclass(frozen=True, slots=True)
class Looked:
    """The state of every objective, the time of the newest sample, and all requests that the first one counts in it."""

    states: Mapping[str, SloState]
    sampled_at: datetime
    requests: int | None


@dataclass(frozen=True, slots=True)
class Spent:
    """Bad of all events of an objective's period, as far as there are data: since ``since``."""

    bad: int
    total: int
    since: datetime


async def look(
    metrics: Metrics, manifest: Manifest, slos: Sequence[Slo], closed_at: Mapping[str, datetime | None], now: datetime
) -> Looked:
    """Every objective over all its windows; one question per moment reads all counters.

    ``closed_at``: name of an objective → when the last ticket of its cause was closed, where there is none that lives.
    """
    states: dict[str, SloState] = {}
    sampled: list[datetime] = []
    requests: int | None = None
    for those, counted in await _counted(metrics, manifest, slos, closed_at, now):
        if isinstance(counted, str):
            failed = WindowReading(None, None, 0, failed=counted)
            states |= {slo.name: evaluate(slo, dict.fromkeys(slo.windows_s, failed)) for slo in those}
            continue
        sampled += [reading.at for reading in counted.values.get(now, {}).values() if reading.at]  # without any: {}
        for slo in those:
            of = slo.selectors(manifest, EVERY_ARM)
            states[slo.name] = evaluate(slo, _readings(slo, of, counted, closed_at.get(slo.name)))
            if slo is slos[0]:
                requests = counted.values[now][of.total].value
    return Looked(states, max(sampled, default=now), requests)


async def spent(metrics: Metrics, manifest: Manifest, slo: Slo, now: datetime) -> Spent | None:
    """What was counted over the objective's period, or over the part of it that there are data of; None without any.

    Raises Retryable and Invalid as ``Metrics`` does, and Retryable for an answer that is not whole.
    """
    of = slo.selectors(manifest, EVERY_ARM)
    start = now - timedelta(seconds=slo.period_s)
    counted = await read(metrics, {start: named(of), now: named(of)}, now)
    if not counted.knows(of, start):
        first = await _first_sample(metrics, of.total, slo.period_s, now)
        if first is None:
            return None
        start = first
        counted = await read(metrics, {start: named(of), now: named(of)}, now)
    if reason := counted.partial(start):
        raise Retryable(reason)
    events = counted.events(of, start)
    if events.bad is None or not events.total or events.bad < 0:
        return None
    return Spent(events.bad, events.total, start)


async def _first_sample(metrics: Metrics, selector: str, span_s: float, end: datetime) -> datetime | None:
    """The oldest sample of the span; looked for in steps, then between two of them."""
    first: datetime | None = None
    while True:
        step_s = max(1.0, span_s / STEPS)
        query = f"min(min_over_time(timestamp({selector})[{round(span_s * 1000)}ms:{round(step_s * 1000)}ms]))"
        found = await metrics.value(query, first or end)
        if found is None:
            return first
        first = datetime.fromtimestamp(found, end.tzinfo)
        if step_s == 1.0:
            return first
        span_s = step_s


async def _counted(
    metrics: Metrics, manifest: Manifest, slos: Sequence[Slo], closed_at: Mapping[str, datetime | None], now: datetime
) -> list[tuple[Sequence[Slo], Counters | str]]:
    """The counters of these objectives, or why there are none. One that cannot be asked for leaves the others alone."""
    try:
        wanted, of_slo = _Wanted(set), {slo.name: slo.selectors(manifest, EVERY_ARM) for slo in slos}
        for slo in slos:
            starts = [now - timedelta(seconds=window_s) for window_s in slo.windows_s]
            closed = closed_at.get(slo.name)
            for moment in (now, *starts, *([closed] if closed and min(starts) < closed < now else [])):
                wanted[moment].update(named(of_slo[slo.name]))
        counted = await read(metrics, wanted, now)
        halves = _Wanted(set)
        for slo in slos:
            for window_s in slo.windows_s:
                if not counted.knows(of_slo[slo.name], now - timedelta(seconds=window_s)):
                    halves[_half(now, window_s)].update(named(of_slo[slo.name]))
        if halves:  # from the same begin on, or what is remembered from there would be forgotten
            counted = counted.and_also(await read(metrics, {min(wanted): set(), **halves}, now))
        return [(slos, counted)]
    except Retryable as error:
        return [(slos, str(error))]
    except Invalid as error:
        if len(slos) == 1:
            return [(slos, str(error))]
        apart = [await _counted(metrics, manifest, [slo], closed_at, now) for slo in slos]
        return [one for each in apart for one in each]


_Wanted = defaultdict[datetime, set[str]]
"""Of which moment which selectors are read: an objective's own windows alone need its counters."""


def _half(now: datetime, window_s: float) -> datetime:
    return now - timedelta(seconds=window_s / 2)


def _readings(slo: Slo, of: Selectors, counted: Counters, closed_at: datetime | None) -> dict[float, WindowReading]:
    readings = {}
    for window_s in slo.windows_s:
        start = counted.now - timedelta(seconds=window_s)
        if not counted.knows(of, start):  # data began later, or had a gap then: half of a window is enough to tell
            start = _half(counted.now, window_s)
        events = counted.events(of, start)
        fresh: Events | None = None
        if closed_at is not None and start < closed_at < counted.now:
            fresh = counted.events(of, closed_at)
            if fresh.bad is None:  # nobody knows what is new: until the short window begins later, nothing is
                fresh = Events(0, None)
        readings[window_s] = WindowReading(
            events.bad, events.total, counted.covered_s(of.total, start), failed=counted.partial(start),
            parts=events.parts, fresh=fresh.bad if fresh else None, fresh_parts=fresh.parts if fresh else (),
            fresh_total=fresh.total if fresh else None,
        )  # fmt: skip
    return readings
