"""The judge's two promises over many seeds, at the sizes of the demo profile. Draws counts; touches no process."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from harness.core.canary import Counts, DeliveryPlan, Guard, Pair, judge_delivery
from harness.core.canary_plan import PROMISE_WEIGHT

Shares = dict[str, float]
"""Bad shares of one arm (0..1), by metric."""
Report = Callable[[str, object], None]

ROOT = Path(__file__).parents[2]
DELIVERIES = 10_000
HEALTHY = {
    "quiet": {"error_share": 0.001, "wrong_denial_share": 0.0, "slow_share": 0.03, "over_admission_share": 0.0},
    "busy": {"error_share": 0.02, "wrong_denial_share": 0.01, "slow_share": 0.10, "over_admission_share": 0.0},
}
GUARDS = {"error_share": 1.0, "wrong_denial_share": 1.0, "slow_share": 1.0, "over_admission_share": PROMISE_WEIGHT}
"""What the service declares, and what its users were promised, with their parts of alpha."""


def plan() -> DeliveryPlan:
    """The plan of a change that repairs nothing: guards only."""
    sizes = yaml.safe_load((ROOT / "policies/profiles/demo.yaml").read_text())["canary"]
    return DeliveryPlan(
        guards=tuple(Guard(name, sizes["design_effect"].get(name, 1.0), weight) for name, weight in GUARDS.items()),
        planned_per_arm=sizes["planned_per_arm"],
        min_per_arm=sizes["first_look_per_arm"],
        planned_looks=sizes["looks"],
        alpha=sizes["alpha"],
    )


def bad(share: float, requests: int, design_effect: float, chance: random.Random) -> int:
    """Bad requests of so many: in clusters, so that the count varies as much as the plan says of live ones."""
    cluster = round(design_effect)
    return cluster * sum(chance.random() < share for _ in range(requests // cluster))


def looks(canary: Shares, baseline: Shares, plan: DeliveryPlan, seed: int) -> Iterator[dict[str, Pair | None]]:
    """Cumulative counts, look by look, until the planned sample."""
    chance = random.Random(seed)
    each = -(-plan.planned_per_arm // plan.planned_looks)
    sums = {guard.metric: (0, 0) for guard in plan.guards}
    for look in range(1, plan.planned_looks + 1):
        for guard in plan.guards:
            name, effect = guard.metric, guard.design_effect
            control, experiment = sums[name]
            control += bad(baseline[name], each, effect, chance)
            experiment += bad(canary[name], each, effect, chance)
            sums[name] = control, experiment
        yield {
            name: Pair(control=Counts(control, look * each), experiment=Counts(experiment, look * each))
            for name, (control, experiment) in sums.items()
        }


def stopped(canary: Shares, baseline: Shares, report: Report) -> float:
    """The share of deliveries that the judge aborted."""
    agreed = plan()
    verdicts = [judge_delivery(agreed, list(looks(canary, baseline, agreed, seed))) for seed in range(DELIVERIES)]
    aborted = sum(verdict.decision == "abort" for verdict in verdicts)
    report("deliveries", DELIVERIES)
    report("stopped", aborted)
    return aborted / DELIVERIES


@pytest.mark.parametrize("day", HEALTHY)
def test_a_healthy_change_is_stopped_in_at_most_alpha_of_deliveries(day: str, record_property: Report) -> None:
    share = stopped(HEALTHY[day], HEALTHY[day], record_property)

    alpha = plan().alpha
    three_standard_errors = 3 * math.sqrt(alpha * (1 - alpha) / DELIVERIES)
    assert share <= alpha + three_standard_errors


@pytest.mark.parametrize("guard", plan().guards, ids=lambda guard: guard.metric)
def test_the_stated_harm_is_stopped_in_eighty_percent_of_deliveries(guard: Guard, record_property: Report) -> None:
    healthy = HEALTHY["quiet"]
    harm = plan().smallest_harm(guard, healthy[guard.metric])
    assert harm is not None
    record_property("smallest_harm", harm)

    share = stopped(healthy | {guard.metric: harm}, healthy, record_property)

    assert share >= 0.80
