"""Whether an objective burns its budget too fast, from what was read over its windows. Pure, touches nothing.

No data is neither zero nor healthy: too few events, a window covered by less than half, a NaN and a failed query are
told apart from ``ok`` and from each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.core.slo import Slo, Tier

State = Literal["ok", "burning", "no_data", "query_failed"]


@dataclass(frozen=True)
class WindowReading:
    """Events in one window: ``bad`` of ``total`` (None: no such series, or a counter reset within it).

    ``parts``: of an objective on metrics, what each of them adds to ``bad``, in their order. ``covered_s``: the part of
    the window that samples span; ``failed``: why the query failed, if it did.
    """

    bad: float | None
    total: float | None
    covered_s: float
    failed: str | None = None
    parts: tuple[float, ...] = ()


@dataclass(frozen=True)
class SloState:
    """``burn``: window (seconds) → burn rate, 1 uses the budget up in exactly its period, None unmeasured.

    ``tier``: the tier that fired, the fastest first; ``reason``: a sentence for people and evidence; ``burnt``: of an
    objective on metrics, the bad share of each over that tier's short window.
    """

    slo: str
    state: State
    burn: Mapping[float, float | None]
    tier: Tier | None
    reason: str
    burnt: Mapping[str, float] = field(default_factory=dict)


def evaluate(slo: Slo, readings: Mapping[float, WindowReading]) -> SloState:
    """The state of ``slo`` from ``readings``: window (seconds, ``slo.windows_s``) → what was read over it.

    Burning when a tier exceeds its factor over both windows; else, when any window is unmeasured, why; else ok.
    """
    burn: dict[float, float | None] = {}
    missing: dict[State, list[str]] = {"query_failed": [], "no_data": []}
    for window_s in slo.windows_s:
        reading = readings.get(window_s, WindowReading(None, None, 0))
        gap = _gap(slo, window_s, reading)
        if gap is None:
            assert reading.bad is not None and reading.total is not None
            burn[window_s] = min(1.0, reading.bad / reading.total) / slo.error_budget
        else:
            burn[window_s] = None
            missing[gap[0]].append(f"{window_s:g}s: {gap[1]}")
    for tier in slo.tiers:
        long, short = burn[tier.long_s], burn[tier.short_s]
        if long is not None and short is not None and min(long, short) > tier.factor:
            reason = f"burns {long:.3g}x over {tier.long_s:g}s and {short:.3g}x over {tier.short_s:g}s"
            burnt = _burnt(slo, readings[tier.short_s])
            return SloState(slo.name, "burning", burn, tier, f"{reason}, more than {tier.factor:g}x", burnt)
    for state, reasons in missing.items():
        if reasons:
            return SloState(slo.name, state, burn, None, "; ".join(reasons))
    return SloState(slo.name, "ok", burn, None, "no tier exceeds its factor over both windows")


def _burnt(slo: Slo, reading: WindowReading) -> dict[str, float]:
    assert reading.total
    return {name: bad / reading.total for name, bad in zip(slo.metrics, reading.parts, strict=False)}


def _gap(slo: Slo, window_s: float, reading: WindowReading) -> tuple[State, str] | None:
    """Why the window cannot be told; None when it can."""
    if reading.failed is not None:
        return "query_failed", reading.failed
    if reading.bad is None or reading.total is None:
        return "no_data", "no such series, or a counter was reset"
    if not math.isfinite(reading.bad) or not math.isfinite(reading.total) or reading.bad < 0:
        return "no_data", f"{reading.bad} bad of {reading.total} is no count"
    if reading.total < slo.min_events:
        return "no_data", f"{reading.total:g} events, {slo.min_events} are needed"
    if reading.covered_s < window_s / 2:
        return "no_data", f"samples span {reading.covered_s:g}s, less than half of the window"
    return None
