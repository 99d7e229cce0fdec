"""What the judge promises, over thousands of seeded deliveries at the sizes of the demo. Draws counts; touches nothing.

Slow requests come in clusters of three in one arm: a variance of three times that of independent ones, which is the
design effect of the plan. The soak repeats this with more seeds and records the figures.
"""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.canary import Counts, DeliveryPlan, Guard, Pair, Superiority, judge_delivery, proportion_sequential

LOOKS, PER_LOOK = 9, 67
CLUSTER = {"error_share": 1, "slow_share": 3, "wrong_denial_share": 1}
PLAN = DeliveryPlan(guards=tuple(Guard(metric, design_effect=size) for metric, size in CLUSTER.items()))
HEALTHY = {"error_share": 0.001, "slow_share": 0.03, "wrong_denial_share": 0.0}
BUSY = {"error_share": 0.01, "slow_share": 0.10, "wrong_denial_share": 0.01}

Rates = dict[str, float]


def drawn(trials: int, rate: float, chance: random.Random) -> int:
    """A binomial count, by the geometric gaps between its successes: as cheap as it is rare."""
    if rate <= 0:
        return 0
    if rate >= 1:
        return trials
    count, at = 0, 0
    while True:
        at += int(math.log(1 - chance.random()) / math.log1p(-rate)) + 1
        if at > trials:
            return count
        count += 1


def delivery(baseline: Rates, canary: Rates, chance: random.Random) -> list[dict[str, Pair | None]]:
    bad = {metric: [0, 0] for metric in baseline}
    looks: list[dict[str, Pair | None]] = []
    for number in range(1, LOOKS + 1):
        for metric, size in CLUSTER.items():
            for arm, rates in enumerate((baseline, canary)):
                clusters, rest = divmod(PER_LOOK, size)
                bad[metric][arm] += size * drawn(clusters, rates[metric], chance) + drawn(rest, rates[metric], chance)
        total = number * PER_LOOK
        looks.append({metric: Pair(Counts(b[0], total), Counts(b[1], total)) for metric, b in bad.items()})
    return looks


def decisions(plan: DeliveryPlan, baseline: Rates, canary: Rates, runs: int, seed: int = 7) -> Counter[str]:
    chance = random.Random(seed)
    return Counter(judge_delivery(plan, delivery(baseline, canary, chance)).decision for _ in range(runs))


@pytest.mark.parametrize("rates", [HEALTHY, BUSY], ids=["healthy", "busy"])
def test_a_healthy_change_is_stopped_in_at_most_alpha_of_deliveries(rates: Rates) -> None:
    runs = 2000

    stopped = decisions(PLAN, rates, rates, runs)["abort"] / runs

    assert stopped <= PLAN.alpha + 2 * math.sqrt(PLAN.alpha * (1 - PLAN.alpha) / runs)


@pytest.mark.parametrize(
    "harm",
    [{"slow_share": 0.10}, {"error_share": 0.014}, {"wrong_denial_share": 0.014}],
    ids=["slow 3 to 10 %", "errors 0.1 to 1.4 %", "wrong denials 0 to 1.4 %"],
)
def test_the_harm_that_the_plan_claims_to_see_is_stopped_in_eighty_percent(harm: Rates) -> None:
    runs = 1000

    stopped = decisions(PLAN, HEALTHY, HEALTHY | harm, runs)["abort"] / runs

    assert stopped >= 0.8


def test_a_repair_wins_and_one_that_changes_nothing_is_promoted_in_at_most_alpha() -> None:
    plan = DeliveryPlan(
        guards=tuple(guard for guard in PLAN.guards if guard.metric != "slow_share"),
        superiority=Superiority("slow_share", design_effect=3),
    )
    sick, runs = HEALTHY | {"slow_share": 0.9}, 400

    assert decisions(plan, sick, HEALTHY, runs)["promote"] / runs >= 0.95
    assert decisions(plan, sick, sick, runs)["promote"] / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.03])
def test_one_metric_is_falsely_high_in_at_most_alpha_of_canaries(rate: float) -> None:
    chance, runs, high = random.Random(11), 2000, 0
    for _ in range(runs):
        bad, looks = [0, 0], []
        for number in range(1, LOOKS + 1):
            bad = [count + drawn(PER_LOOK, rate, chance) for count in bad]
            looks.append(Pair(Counts(bad[0], number * PER_LOOK), Counts(bad[1], number * PER_LOOK)))
        verdict = proportion_sequential(alpha=0.05, direction="increase", planned=(603, 603), looks=looks)
        high += verdict.verdict == "HIGH"

    assert high / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


batches = st.lists(
    st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(0, 80), st.integers(0, 80)), min_size=1, max_size=8
)


@given(batches, st.sampled_from(["increase", "decrease", "either"]), st.sampled_from([1.0, 1.7, 3.0]))
def test_a_verdict_once_given_stays(
    batches: list[tuple[int, int, int, int]], direction: str, design_effect: float
) -> None:
    # Given any batches of (bad, good) requests of both arms
    sums, looks = (0, 0, 0, 0), []
    for batch in batches:
        sums = tuple(total + more for total, more in zip(sums, batch, strict=True))
        looks.append(Pair(Counts(sums[0], sums[0] + sums[1]), Counts(sums[2], sums[2] + sums[3])))

    # When they are judged look by look
    told = [
        proportion_sequential(
            alpha=0.05,
            direction=direction,  # type: ignore[arg-type]
            planned=(300, 300),
            looks=looks[:seen],
            design_effect=design_effect,
        )
        for seen in range(1, len(looks) + 1)
    ]

    # Then the first verdict is the last one
    decided = [verdict for verdict in told if verdict.decided_at_look is not None]
    assert len(set(decided)) <= 1
    assert decided == told[len(told) - len(decided) :]
    assert all(verdict.p_value is None or 0 <= verdict.p_value <= 1.0000001 for verdict in told)
