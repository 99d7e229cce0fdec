"""What an objective's error budget is spent at, and whether that is too fast. Pure, touches nothing.

No data is neither zero nor healthy: too few events, a window covered by less than half, a NaN, a failed query and an
answer that is not whole are told apart from ``ok`` and from each other.

What was burnt before the last ticket of the cause was closed has been dealt with, yet slow windows carry it for days.
A tier whose short window holds that moment counts only the bad events since then, out of all events of the window: it
fires as on a service without that past. Once its short window begins after it, the tier counts in full again. What
burns on through the closing is the same firing, until the events since then say that it has ended.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.core.slo import Slo, Tier

State = Literal["ok", "burning", "no_data", "query_failed"]
CHANCES = 1e6


def error_ratio(bad: float, total: float) -> float:
    """The share of bad events, 0..1: two metrics may count one request twice, and no more than all can be bad."""
    return min(1.0, bad / total)


def burn_rate(bad: float, total: float, error_budget: float) -> float:
    """How fast a budget is spent: 1 uses it up in exactly its period. Needs events; ``error_budget``: a share above 0.

    Source: SRE workbook, chapter 5.
    """
    return error_ratio(bad, total) / error_budget


def budget_left(bad: float, total: float, error_budget: float) -> float:
    """The share of the budget that is left of the events of a period: 1 unspent, 0 used up, below 0 overspent."""
    return 1 - burn_rate(bad, total, error_budget)


def exhausted_in_s(left: float, burn: float, period_s: float) -> float | None:
    """Seconds until a budget of which ``left`` (a share) is left is used up at this burn rate.

    0 when it is already, None when it never is.
    """
    if left <= 0:
        return 0.0
    return left * period_s / burn if burn > 0 else None


@dataclass(frozen=True)
class WindowReading:
    """Events in one window: ``bad`` of ``total`` (None: no such series).

    ``parts``: of an objective on metrics, what each of them adds to ``bad``, in their order. ``covered_s``: the part of
    the window that samples span; ``failed``: why the query failed, or what its answer lacks, if so.
    ``fresh``: of a window in which the last ticket of the cause was closed, the bad events since then, with
    ``fresh_parts`` as ``parts``; None for any other window. ``fresh_total``: all events since then, None unknown.
    """

    bad: float | None
    total: float | None
    covered_s: float
    failed: str | None = None
    parts: tuple[float, ...] = ()
    fresh: float | None = None
    fresh_parts: tuple[float, ...] = ()
    fresh_total: float | None = None


@dataclass(frozen=True)
class SloState:
    """``burn``: window (seconds) → burn rate, None unmeasured.

    ``tier``: the tier that fired, the fastest first; ``reason``: a sentence for people and evidence; ``burnt``: of an
    objective on metrics, the bad share of each over that tier's short window. ``blind``: why not even the shortest
    window could be told, None when it could: that nothing is seen now, and not that a slow window is yet to fill.
    ``burns``: None when not even the fastest tier can be told (what slower ones lack keeps no signal alive), and while
    it cannot be told whether what burnt when the last ticket was closed burns on.
    """

    slo: str
    state: State
    burn: Mapping[float, float | None]
    tier: Tier | None
    reason: str
    burnt: Mapping[str, float] = field(default_factory=dict)
    blind: str | None = None
    burns: bool | None = None


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
            burn[window_s] = burn_rate(reading.bad, reading.total, slo.error_budget)
        else:
            burn[window_s] = None
            missing[gap[0]].append(f"{window_s:g}s: {gap[1]}")
    unknown = [f"{state}: {'; '.join(reasons)}" for state, reasons in missing.items() if reasons]
    blind = "; ".join(unknown) if burn[slo.windows_s[0]] is None else None
    for tier in slo.tiers:
        if burn[tier.long_s] is None or burn[tier.short_s] is None:
            continue
        if (counted := _counted(slo, readings[tier.long_s], readings[tier.short_s])) > tier.factor:
            reason, burnt = _told(slo, tier, burn, counted, readings[tier.short_s])
            return SloState(slo.name, "burning", burn, tier, reason, burnt, blind, burns=True)
    for tier in slo.tiers:
        long, short = burn[tier.long_s], burn[tier.short_s]
        if long is None or short is None or min(long, short) <= tier.factor:
            continue
        if not _has_ended(readings[tier.short_s], tier.factor * slo.error_budget):
            reason = f"{long:.3g}x over {tier.long_s:g}s and {short:.3g}x over {tier.short_s:g}s, more than "
            reason += f"{tier.factor:g}x: its last ticket was closed, and nothing tells yet that it ended with it"
            return SloState(slo.name, "burning", burn, tier, reason, {}, blind)
    fastest = slo.tiers[0]
    burns = None if burn[fastest.long_s] is None or burn[fastest.short_s] is None else False
    for state, reasons in missing.items():
        if reasons:
            return SloState(slo.name, state, burn, None, "; ".join(reasons), blind=blind, burns=burns)
    return SloState(slo.name, "ok", burn, None, "no tier exceeds its factor over both windows", burns=burns)


def _has_ended(short: WindowReading, share: float) -> bool:
    """Whether the events since the closing would be so good with a chance of one in a million if that share were bad.

    Chernoff's bound on a binomial, which holds for any count: n x KL(seen, share) above ln(10^6).
    """
    if short.fresh is None or not short.fresh_total:
        return False
    seen = error_ratio(short.fresh, short.fresh_total)
    if seen >= share:
        return False
    distance = (1 - seen) * math.log((1 - seen) / (1 - share)) + (seen * math.log(seen / share) if seen else 0.0)
    return short.fresh_total * distance > math.log(CHANCES)


def _counted(slo: Slo, long: WindowReading, short: WindowReading) -> float:
    """The lower of a tier's two burn rates, of what counts."""
    since_closing = short.fresh is not None
    rates = []
    for reading in (long, short):
        bad = reading.fresh if since_closing else reading.bad
        assert bad is not None and reading.total is not None, "a long window holds what its short one holds"
        rates.append(burn_rate(bad, reading.total, slo.error_budget))
    return min(rates)


def _told(
    slo: Slo, tier: Tier, burn: Mapping[float, float | None], counted: float, short: WindowReading
) -> tuple[str, dict[str, float]]:
    """Why it burns, in words, and the bad share of each metric over the short window."""
    reason = (
        f"burns {burn[tier.long_s]:.3g}x over {tier.long_s:g}s and {burn[tier.short_s]:.3g}x over {tier.short_s:g}s"
    )
    parts = short.parts
    if short.fresh is not None:
        reason, parts = f"{reason}, {counted:.3g}x of it since its last ticket was closed", short.fresh_parts
    assert short.total
    burnt = {name: bad / short.total for name, bad in zip(slo.by_arm, parts, strict=False)}
    return f"{reason}, more than {tier.factor:g}x", burnt


def _gap(slo: Slo, window_s: float, reading: WindowReading) -> tuple[State, str] | None:
    """Why the window cannot be told; None when it can."""
    if reading.failed is not None:
        return "query_failed", reading.failed
    if reading.bad is None or reading.total is None:
        return "no_data", "no such series"
    if not math.isfinite(reading.bad) or not math.isfinite(reading.total) or reading.bad < 0:
        return "no_data", f"{reading.bad} bad of {reading.total} is no count"
    if reading.total < slo.min_events:
        return "no_data", f"{reading.total:g} events, {slo.min_events} are needed"
    if reading.covered_s < window_s / 2:
        return "no_data", f"samples span {reading.covered_s:g}s, less than half of the window"
    return None
