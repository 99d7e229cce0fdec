"""Bad and all requests of arms since a moment, from raw counters, and what is seen between two samples. Reads through
``Metrics``; judges nothing.

A count that is not known (no data, a counter that began anew) is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from harness.core.errors import Retryable
from harness.core.events import ArmCount, Wait
from harness.core.manifest import Manifest
from harness.measure import EVERY_ARM, counter_selectors, declared
from harness.ports import Clock, Metrics

POLL_S = 0.1
SETTLED_WITHIN_S = 5.0
"""How long is waited for samples that show what is so now."""
SAMPLE_EVERY_S = 1.0
"""The most that lies between two samples of the same thing."""
Column = Literal["canary", "baseline"]
TWO_ARMS: Mapping[Column, str] = {"canary": "canary", "baseline": "baseline"}
WHOLE_SERVICE: Mapping[Column, str] = {"canary": EVERY_ARM}
"""Nothing is compared: what is watched stands where a canary's counts do."""


async def counts_since(
    metrics: Metrics, manifest: Manifest, names: Sequence[str], since: Sequence[ArmCount], arms: Mapping[Column, str]
) -> tuple[tuple[ArmCount, ...] | None, datetime | None]:
    """Counts per metric since ``since``, and the time of the sample; None when one of them has no data."""
    selectors = {
        f"{name} {column}_{part}": selector
        for name in names
        for column, arm in arms.items()
        for part, selector in counter_selectors(declared(manifest, name), arm).items()
    }
    readings = await metrics.counters(selectors)
    values = {key: reading.value for key, reading in readings.items() if reading.value is not None}
    times = [reading.at for reading in readings.values() if reading.at is not None]
    if len(values) < len(selectors) or not times:
        return None, None
    zero = {count.metric: count.model_dump() for count in since}
    counts = []
    for name in names:
        counted = dict.fromkeys(("canary_bad", "canary_total", "baseline_bad", "baseline_total"), 0)
        for column in arms:
            for part in ("bad", "total"):
                key = f"{column}_{part}"
                counted[key] = values[f"{name} {key}"] - (zero[name][key] if name in zero else 0)
            if not 0 <= counted[f"{column}_bad"] <= counted[f"{column}_total"]:
                return None, None  # a counter was reset: what it counted before is not known
        counts.append(ArmCount(metric=name, **counted))
    return tuple(counts), min(times)


async def counts_if_readable(
    metrics: Metrics, manifest: Manifest, names: Sequence[str], since: Sequence[ArmCount], arms: Mapping[Column, str]
) -> tuple[tuple[ArmCount, ...] | None, datetime | None]:
    """Nothing when nobody answers: to wait elsewhere would leave what is tried its traffic, and nobody looks."""
    try:
        return await counts_since(metrics, manifest, names, since, arms)
    except Retryable:
        return None, None


async def share_of_stable(metrics: Metrics, manifest: Manifest, clock: Clock) -> tuple[float | None, tuple[Wait, ...]]:
    """The part of the traffic that stable answers now, counted between two samples; None where nothing is counted.

    Envoy says what it was told, the users' counts say what they got.
    """
    metric, began_at, what = declared(manifest, manifest.canary.guards[0]), clock.now(), "traffic on stable"
    selectors: dict[str, str] = {
        arm: counter_selectors(metric, arm)["total"] for arm in ("stable", "canary", "baseline")
    }
    first: tuple[datetime, dict[str, int]] | None = None
    while (now := clock.now()) < began_at + timedelta(seconds=SETTLED_WITHIN_S):
        try:
            readings = await metrics.counters(selectors)
        except Retryable:
            return None, ()
        counts = {arm: reading.value for arm, reading in readings.items() if reading.value is not None}
        times = [reading.at for reading in readings.values() if reading.at is not None]
        if len(counts) < len(selectors) or not times:
            return None, ()
        if min(times) > began_at:
            if first is None:
                first = (min(times), counts)
            grown = {arm: value - first[1][arm] for arm, value in counts.items()}
            if min(times) > first[0] and min(grown.values()) >= 0 and (total := sum(grown.values())):
                wait = Wait(kind="query_window", what=what, opened_at=began_at, closed_at=min(times))
                return grown["stable"] / total, (wait,)
        await clock.sleep(POLL_S)
    return None, (Wait(kind="query_window", what=what, opened_at=began_at, closed_at=now),)


async def sampled_anew(metrics: Metrics, manifest: Manifest, clock: Clock, what: str) -> Wait:
    """Return once there is a sample so young that everything was read since the call, or none came for a while."""
    selector = counter_selectors(declared(manifest, manifest.canary.guards[0]), EVERY_ARM)["total"]
    opened_at = clock.now()
    while (now := clock.now()) < opened_at + timedelta(seconds=SETTLED_WITHIN_S):
        try:
            sampled_at = (await metrics.counters({"total": selector}))["total"].at
        except Retryable:
            break
        if sampled_at is not None and sampled_at >= opened_at + timedelta(seconds=SAMPLE_EVERY_S):
            break
        await clock.sleep(POLL_S)
    return Wait(kind="query_window", what=what, opened_at=opened_at, closed_at=now)
