"""What a canary is judged by, when it looks, and when its time is over. Decides; touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil

from harness.core import events as e
from harness.core.canary import (
    Counts,
    DeliveryPlan,
    Guard,
    Limit,
    Pair,
    StageVerdict,
    Superiority,
    judge_delivery,
)
from harness.core.contract import Promise
from harness.core.policy import Canary
from harness.core.slo import Slo

PROMISE_WEIGHT = 0.1
"""Of the family's alpha, beside 1 for a declared guard: who keeps a promise breaks it never, who does not breaks it so
often that a thin slice tells (``tests/soak/test_promises.py``)."""


def planned(
    policy: Canary, own: str, *, wins: bool, guards: Iterable[str], promises: Iterable[Promise], slos: Iterable[Slo],
    no_limit: Mapping[str, str],
) -> DeliveryPlan:  # fmt: skip
    """What a delivery is judged by: the declared guards must not get worse, nor may what users were promised.

    ``wins``: whether the ticket's ``own`` metric has to be better in the canary. Absolute limits are the objectives of
    the other SLOs: one that is violated already, by this ticket's signal or by what is left to another ticket
    (``no_limit``), is no gate. The guards compare such a metric all the same.
    """
    effects = policy.design_effect
    weights = {name: 1.0 for name in guards}
    weights |= {promise.metric: PROMISE_WEIGHT for promise in promises}
    if wins:
        weights.pop(own, None)
    limits = {name: slo.error_budget for slo in slos for name in slo.by_arm if name != own and name not in no_limit}
    return DeliveryPlan(
        guards=tuple(
            Guard(name, design_effect=effects.get(name, 1.0), weight=weight) for name, weight in weights.items()
        ),
        limits=tuple(
            Limit(name, at_most=at_most, design_effect=effects.get(name, 1.0)) for name, at_most in limits.items()
        ),
        superiority=Superiority(own, design_effect=policy.clustering(own), alpha=policy.alpha) if wins else None,
        planned_per_arm=policy.planned_per_arm,
        min_per_arm=policy.first_look_per_arm,
        planned_looks=policy.looks,
        extra_looks=1,
        alpha=policy.alpha,
    )


def verdict_of(plan: DeliveryPlan, looks: Sequence[e.CanaryLooked]) -> StageVerdict:
    """What the judge says of the recorded looks, by them alone."""
    return judge_delivery(plan, [{count.metric: _pair(count) for count in look.counts} for look in looks])


def _pair(count: e.ArmCount) -> Pair:
    return Pair(
        control=Counts(count.baseline_bad, count.baseline_total),
        experiment=Counts(count.canary_bad, count.canary_total),
    )


def smaller_arm(counts: Sequence[e.ArmCount]) -> int:
    """Requests of the smaller arm."""
    return min((min(count.canary_total, count.baseline_total) for count in counts), default=0)


def requests_due(plan: DeliveryPlan, look: int) -> int:
    """Requests in the smaller arm at which a look is due: evenly from the first allowed sample to the planned one."""
    if look >= plan.planned_looks:
        return plan.planned_per_arm
    span = plan.planned_per_arm - plan.min_per_arm
    return plan.min_per_arm + ceil(span * (look - 1) / max(1, plan.planned_looks - 1))


def is_late(policy: Canary, taken: Sequence[e.CanaryStepped], now: datetime, *, seen: bool) -> bool:
    """Whether the last step, and what may be added to it, is over; whatever step it is when nobody can see it."""
    if not taken or (seen and len(taken) < len(policy.steps)):
        return False
    return now > taken[-1].at + timedelta(seconds=policy.steps[len(taken) - 1].hold_s + policy.extension_s)


def has_exposed(policy: Canary, taken: Sequence[e.CanaryStepped], sampled_at: datetime) -> bool:
    """Whether a sample tells of the last step, held for its time.

    Counted from when the steps were taken, not from the start: a harness that was away takes no time from a step, and
    the sample of a long first step does not stand for a larger one that nobody was exposed to.
    """
    if len(taken) < len(policy.steps):
        return False
    return sampled_at >= taken[-1].at + timedelta(seconds=policy.steps[-1].hold_s)


def insufficient(plan: DeliveryPlan, verdict: StageVerdict, have: int | None) -> StageVerdict:
    """The time is over. ``have``: requests in the smaller arm; None when the arms could not be measured at the end."""
    seen = f"{have} of {plan.planned_per_arm} requests in the smaller arm" if have is not None else "nothing measured"
    if have is not None and have >= plan.planned_per_arm:
        seen = "no sample of the whole last step"
    return StageVerdict("ask", f"insufficient: {seen} when the time was over", verdict.metrics, None)
