"""How much error budget the objective of a ticket has left: part of its place in the queue. Reads metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from harness.core.errors import Invalid, Retryable
from harness.core.events import TicketFiled
from harness.core.manifest import Manifest
from harness.core.slo import Slo, budget_left
from harness.measure import EVERY_ARM
from harness.ports import CounterReading, Metrics


async def left_of(
    filed: TicketFiled, *, slos: Sequence[Slo], manifest: Manifest, metrics: Metrics, now: datetime
) -> float | None:
    """The share that is left of the budget of the objective that the ticket was filed for, over its period.

    None for a ticket of anything else, and where it cannot be told: metrics are away, a counter was reset, or half of
    the period is not covered.
    """
    slo = next((one for one in slos if filed.signal == f"slo:{one.name}"), None)
    if slo is None:
        return None
    of = slo.selectors(manifest, EVERY_ARM)
    selectors = {"total": of.total} | {f"bad {n}": bad for n, bad in enumerate(of.bad)}
    if of.good is not None:
        selectors["good"] = of.good
    try:
        last = await metrics.counters(selectors, now)
        first = await metrics.counters(selectors, now - timedelta(seconds=slo.period_s))
    except (Retryable, Invalid):
        return None
    counted = {name: _difference(first[name], last[name]) for name in selectors}
    total = counted.pop("total")
    if total is None or None in counted.values() or not _covers_half(first["total"], last["total"], slo.period_s):
        return None
    return budget_left(slo, bad=_bad(counted, total), total=total)


def _bad(counted: Mapping[str, int | None], total: int) -> int:
    known = {name: number for name, number in counted.items() if number is not None}
    return total - known["good"] if "good" in known else sum(known.values())


def _difference(first: CounterReading, last: CounterReading) -> int | None:
    if first.value is None or last.value is None or last.value < first.value:
        return None
    return last.value - first.value


def _covers_half(first: CounterReading, last: CounterReading, period_s: float) -> bool:
    return bool(first.at and last.at and (last.at - first.at).total_seconds() >= period_s / 2)
