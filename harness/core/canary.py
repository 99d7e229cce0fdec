"""The canary judge: from the plan and the counts of a delivery to promote, abort, extend, ask. Pure, touches nothing.

Promised: a change that is as good as the baseline is stopped in at most ``alpha`` of *deliveries*: one budget over all
metrics and looks. Guards show harm; that none was shown is worth what ``smallest_harm`` says. Limits are absolute: they
also stop a change that only shares what ails both arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.core.errors import Invalid
from harness.core.lattice import spent_by
from harness.core.power import detectable, power
from harness.core.sequential import (
    Counts,
    Pair,
    Race,
    Trial,
    Verdict,
    VerdictWord,
    proportion_sequential,
    refuse_shrinking,
    told,
)

__all__ = [
    "Counts",
    "DeliveryPlan",
    "Guard",
    "Limit",
    "MetricVerdict",
    "Pair",
    "StageVerdict",
    "Superiority",
    "Verdict",
    "detectable",
    "judge_delivery",
    "power",
    "proportion_sequential",
]

Decision = Literal["promote", "abort", "extend", "ask", "continue"]
Look = Mapping[str, Pair | None]  # metric → cumulative counts; None, or left out: could not be measured


@dataclass(frozen=True)
class Guard:
    """Non-inferiority: stop when the canary's bad share is shown to be above the baseline's.

    ``design_effect`` >= 1: variance of the live share over that of independent requests; counts are divided by it.
    ``weight``: its part of the family's alpha, relative to the other weights.
    """

    metric: str
    design_effect: float = 1.0
    weight: float = 1.0


@dataclass(frozen=True)
class Limit:
    """An absolute guard, reads only the canary's arm: stop when its bad share is shown to be above ``at_most`` (0..1).

    A healthy arm is far from its limit, so a thin slice of alpha is enough. With ``at_most`` 0 one bad request stops.
    """

    metric: str
    at_most: float
    design_effect: float = 1.0
    weight: float = 0.1


@dataclass(frozen=True)
class Superiority:
    """The ticket's own metric: the canary has to be shown better than the sick baseline, at an ``alpha`` of its own."""

    metric: str
    design_effect: float = 1.0
    alpha: float = 0.05


@dataclass(frozen=True)
class DeliveryPlan:
    """What a delivery is judged by, fixed before its first look.

    ``planned_per_arm``: requests at which it ends; ``min_per_arm``: nothing is judged before; ``planned_looks`` are
    handed in before more time is asked for, at most ``extra_looks`` after that; ``alpha``: the family's, one-sided.
    """

    guards: tuple[Guard, ...]
    limits: tuple[Limit, ...] = ()
    superiority: Superiority | None = None
    planned_per_arm: int = 600
    min_per_arm: int = 100
    planned_looks: int = 9
    extra_looks: int = 3
    alpha: float = 0.05

    def __post_init__(self) -> None:
        compared = [test.metric for test in self._tests if not isinstance(test, Limit)]
        twice = sorted({name for name in compared if compared.count(name) > 1})
        if twice:
            raise Invalid(f"canary plan: {', '.join(twice)} is compared twice; a metric either guards or has to win")
        if not compared:
            raise Invalid("canary plan: nothing to compare; name a guard or the metric that has to win")
        if not 0 < self.min_per_arm <= self.planned_per_arm:
            raise Invalid(f"canary plan: min_per_arm {self.min_per_arm}; allowed 1 to planned {self.planned_per_arm}")
        for alpha in (self.alpha, self.superiority.alpha if self.superiority else self.alpha):
            if not 0 < alpha < 1:
                raise Invalid(f"canary plan: alpha {alpha}; allowed above 0 and below 1")
        for test in self._tests:
            if test.design_effect < 1:
                raise Invalid(f"canary plan: design_effect {test.design_effect} of {test.metric}; allowed 1 and above")
            if not isinstance(test, Superiority) and test.weight <= 0:
                raise Invalid(f"canary plan: weight {test.weight} of {test.metric}; allowed above 0")
            if isinstance(test, Limit) and not 0 <= test.at_most < 1:
                raise Invalid(f"canary plan: at_most {test.at_most} of {test.metric}; allowed 0 to below 1")

    @property
    def metrics(self) -> frozenset[str]:
        """Every metric that has to be measured at each look."""
        return frozenset(test.metric for test in self._tests)

    def share(self, guard: Guard | Limit) -> float:
        """The part (0..1) of the family's alpha that ``guard`` has for itself."""
        return guard.weight / math.fsum(each.weight for each in self._tests if not isinstance(each, Superiority))

    def smallest_harm(self, guard: Guard, baseline_rate: float) -> float | None:
        """The bad share that ``guard`` shows with 80 % at the planned sample from its own share; None if none is."""
        return detectable(
            baseline_rate=baseline_rate,
            per_arm=self.planned_per_arm,
            alpha=self.alpha * self.share(guard),
            design_effect=guard.design_effect,
        )

    @property
    def _tests(self) -> tuple[Guard | Limit | Superiority, ...]:
        return (*self.guards, *self.limits, *([self.superiority] if self.superiority else []))


@dataclass(frozen=True)
class MetricVerdict:
    """``judged.reason``: harm, above_limit, superior, no_harm_shown, within_limit, not_superior, insufficient or
    query_failed."""

    metric: str
    role: Literal["guard", "limit", "superiority"]
    judged: Verdict


@dataclass(frozen=True)
class StageVerdict:
    """``promote`` and ``abort`` are final; ``continue`` and ``extend``: hand in another look; ``ask``: a human decides.

    ``reason`` begins with a fixed word: harm, above_limit, not_superior, passed, insufficient, query_failed, running.
    """

    decision: Decision
    reason: str
    metrics: tuple[MetricVerdict, ...]
    decided_at_look: int | None = None


def judge_delivery(plan: DeliveryPlan, looks: Sequence[Look]) -> StageVerdict:
    """Judge a delivery by all its ``looks`` so far.

    The same looks give the same verdict, and a final verdict depends on no look after its own. A tripped guard or limit
    aborts at once; a win may be known early but waits for the planned sample, for the sake of the guards.
    Raises Invalid when counts shrink: a reset counter is None, not a smaller number.
    """
    for metric in sorted(plan.metrics):
        refuse_shrinking([pair for look in looks if (pair := look.get(metric)) is not None], metric)
    bench = _Bench(plan)
    for number, look in enumerate(looks, start=1):
        measured = {metric: pair for metric in plan.metrics if (pair := look.get(metric)) is not None}
        if not measured or min(pair.smaller for pair in measured.values()) < plan.min_per_arm:
            continue
        bench.judge(measured, number)
        if bench.tripped:
            return bench.verdict("abort", bench.why_tripped(), look, number)
        if bench.complete:
            if plan.superiority and bench.won_at is None:
                return bench.verdict("abort", f"not_superior: {plan.superiority.metric}", look, number)
            return bench.verdict("promote", f"passed: {plan.planned_per_arm} requests an arm", look, number)
    last = looks[-1] if looks else {}
    return bench.verdict(*_unfinished(plan, last, len(looks)), last, None)


def _unfinished(plan: DeliveryPlan, last: Look, looks: int) -> tuple[Decision, str]:
    missing = sorted(metric for metric in plan.metrics if last.get(metric) is None)
    smaller = min((pair.smaller for pair in last.values() if pair is not None), default=0)
    have = f"{smaller} of {plan.planned_per_arm} requests in the smaller arm"
    if looks < plan.planned_looks:
        return "continue", f"running: {have}"
    reason = f"query_failed: {', '.join(missing)}" if missing else f"insufficient: {have}"
    return ("extend" if looks < plan.planned_looks + plan.extra_looks else "ask"), reason


class _Bench:
    """The running state of one judgement: which test stands where, and what is left of the family's alpha."""

    def __init__(self, plan: DeliveryPlan) -> None:
        self._plan = plan
        self._races = {guard: Race(guard.design_effect) for guard in plan.guards}
        self._trials = {limit: Trial(limit.at_most, limit.design_effect) for limit in plan.limits}
        self._family: tuple[tuple[Guard | Limit, Race | Trial], ...] = (*self._races.items(), *self._trials.items())
        self._win = Race(plan.superiority.design_effect) if plan.superiority else None
        self._information = 0.0  # 0..1 of the planned sample
        self.complete = False  # planned sample reached, with every metric measured
        self.won_at: int | None = None
        self.tripped: dict[Guard | Limit, int] = {}

    def judge(self, measured: Mapping[str, Pair], number: int) -> None:
        """Advance every measured test by one look."""
        smaller = min(pair.smaller for pair in measured.values())
        self._information = max(self._information, min(1.0, smaller / self._plan.planned_per_arm))
        self.complete = self._information >= 1 and measured.keys() == self._plan.metrics
        self._look_for_win(measured, number)
        self._look_for_harm(measured)
        self.tripped = {guard: number for guard, test in self._family if test.crossed}

    def _look_for_win(self, measured: Mapping[str, Pair], number: int) -> None:
        own = self._plan.superiority
        if own is None or self._win is None or self.won_at is not None or own.metric not in measured:
            return
        pair = measured[own.metric]
        self._win.advance(suspect=pair.control, other=pair.experiment)
        self._win.spend_up_to(spent_by(own.alpha, self._information))
        if self._win.crossed:
            self.won_at = number

    def _look_for_harm(self, measured: Mapping[str, Pair]) -> None:
        """Each test spends its own share. What none could spend (counts are lumpy) is offered again at the planned
        sample, to the guards in the plan's order. Not to limits: they are not judged given the totals of both arms,
        and a boundary that moved with those would void their chances."""
        allowed = spent_by(self._plan.alpha, self._information)
        for limit, trial in self._trials.items():
            if limit.metric in measured:
                trial.advance(measured[limit.metric].experiment)
                trial.spend_up_to(allowed * self._plan.share(limit))
        for guard, race in self._races.items():
            if guard.metric in measured:
                pair = measured[guard.metric]
                race.advance(suspect=pair.experiment, other=pair.control)
                race.spend_up_to(allowed * self._plan.share(guard))
        if self.complete:
            for race in self._races.values():
                left = allowed - math.fsum(test.spent for _, test in self._family)
                race.spend_up_to(race.spent + left)

    def why_tripped(self) -> str:
        """``harm: error_share; above_limit: slow_share``."""
        words = (f"{'harm' if isinstance(guard, Guard) else 'above_limit'}: {guard.metric}" for guard in self.tripped)
        return "; ".join(words)

    def verdict(self, decision: Decision, reason: str, look: Look, number: int | None) -> StageVerdict:
        """The verdict of the stage with one of each metric, told from the counts of ``look``."""
        metrics = [self._told_own(self._plan.superiority, look)] if self._plan.superiority else []
        for guard in self._plan.guards:
            word, why = self._word(guard, look, "harm", "no_harm_shown")
            judged = told(word, why, look.get(guard.metric), decided_at_look=self._decided_at(guard, number))
            metrics.append(MetricVerdict(guard.metric, "guard", judged))
        for limit in self._plan.limits:
            word, why = self._word(limit, look, "above_limit", "within_limit")
            at = self._decided_at(limit, number)
            judged = told(word, why, look.get(limit.metric), limit=limit.at_most, decided_at_look=at)
            metrics.append(MetricVerdict(limit.metric, "limit", judged))
        return StageVerdict(decision, reason, tuple(metrics), number)

    def _word(self, guard: Guard | Limit, look: Look, bad: str, good: str) -> tuple[VerdictWord, str]:
        if guard in self.tripped:
            return "HIGH", bad
        return ("PASS", good) if self.complete else ("NODATA", _why_nothing(look, guard.metric))

    def _decided_at(self, guard: Guard | Limit, number: int | None) -> int | None:
        return self.tripped.get(guard) or (number if self.complete else None)

    def _told_own(self, own: Superiority, look: Look) -> MetricVerdict:
        word: VerdictWord = "LOW" if self.won_at else "PASS" if self.complete else "NODATA"
        why = {"LOW": "superior", "PASS": "not_superior"}.get(word) or _why_nothing(look, own.metric)
        judged = told(word, why, look.get(own.metric), "decrease", decided_at_look=self.won_at)
        return MetricVerdict(own.metric, "superiority", judged)


def _why_nothing(look: Look, metric: str) -> str:
    return "query_failed" if look.get(metric) is None else "insufficient"
