"""A repair has to win against a sick baseline: one that repairs nothing hardly ever does, a real one does.

Draws what the traffic's own schedule asks of two fresh arms whose releases deny or fail by key; touches no process.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Literal

import pytest
import yaml

from harness.core.canary import Counts, DeliveryPlan, Guard, Pair, Superiority, judge_delivery
from traffic.auditor import Auditor
from traffic.schedule import ABUSIVE_KEYS, asks

Report = Callable[[str, object], None]
Trouble = Literal["denies", "fails"]
SIZES = yaml.safe_load((Path(__file__).parents[2] / "policies/profiles/demo.yaml").read_text())["canary"]
DELIVERIES = 400
KEYS, RATE_PER_S = 4_000, 400
ADMITS_EVERY_S = 15.0
"""Of a release whose limit is far too low; a second visit of a key within this is denied, against what was promised."""
FAILING_SHARE = 1 / 6
METRIC = "own"


def plan(design_effect: float) -> DeliveryPlan:
    """That of a ticket whose own metric is sick."""
    return DeliveryPlan(
        guards=(Guard("other"),),
        superiority=Superiority(METRIC, design_effect=design_effect, alpha=SIZES["alpha"]),
        planned_per_arm=SIZES["planned_per_arm"], min_per_arm=SIZES["first_look_per_arm"],
        planned_looks=SIZES["looks"], extra_looks=1, alpha=SIZES["alpha"],
    )  # fmt: skip


def due(look: int) -> int:
    """Requests in the smaller arm at which a look is taken."""
    least, most = SIZES["first_look_per_arm"], SIZES["planned_per_arm"]
    return min(most, least + ceil((most - least) * (look - 1) / (SIZES["looks"] - 1)))


def looks(trouble: Trouble, sick: tuple[str, ...], seed: int) -> Iterator[dict[str, Pair | None]]:
    """What is counted, once a second, until the last step was held for its time."""
    chance = random.Random(seed)
    place = [chance.random() for _ in range(KEYS)]
    failing = [key >= ABUSIVE_KEYS and chance.random() < FAILING_SHARE for key in range(KEYS)]
    due_keys = asks(KEYS, shuffle=chance)
    for _ in range(chance.randrange(KEYS)):
        next(due_keys)
    arm_of_key: list[str | None] = [None] * KEYS
    auditor = Auditor(arm_of_key, burst=10, shuffle=chance)
    first, second = SIZES["steps"]
    bad, total = {"canary": 0, "baseline": 0}, {"canary": 0, "baseline": 0}
    admitted_at: dict[tuple[str, int], float] = {}
    taken, request = 0, 0
    while True:
        at_s, key = request / RATE_PER_S, next(due_keys)
        if key is None:
            key = auditor.next(["canary", "baseline", "stable"])
        share = first["share"] if at_s < first["hold_s"] else second["share"]
        arm = "stable"
        if key is not None:
            arm = "canary" if place[key] < share else "baseline" if place[key] >= 1 - share else "stable"
            arm_of_key[key] = arm
        request += 1
        if key is not None and arm != "stable":
            total[arm] += 1
            went_wrong = False
            if arm in sick and trouble == "fails":
                went_wrong = failing[key]
            elif arm in sick:
                went_wrong = at_s - admitted_at.get((arm, key), -ADMITS_EVERY_S) < ADMITS_EVERY_S
                if not went_wrong:
                    admitted_at[arm, key] = at_s
            bad[arm] += went_wrong
            if went_wrong:
                auditor.drop(key)
        if request % RATE_PER_S:
            continue
        over_s = request / RATE_PER_S - first["hold_s"] - second["hold_s"]
        smaller = min(total.values())
        if smaller >= due(taken + 1) and (smaller < SIZES["planned_per_arm"] or over_s >= 0):
            taken += 1
            sick_arm, other_arm = (Counts(bad[name], total[name]) for name in ("baseline", "canary"))
            none = Pair(control=Counts(0, total["baseline"]), experiment=Counts(0, total["canary"]))
            yield {METRIC: Pair(control=sick_arm, experiment=other_arm), "other": none}
        if over_s >= SIZES["extension_s"] or (over_s >= 0 and smaller >= SIZES["planned_per_arm"]):
            return


def promoted(trouble: Trouble, sick: tuple[str, ...], design_effect: float, deliveries: int) -> float:
    agreed = plan(design_effect)
    verdicts = [judge_delivery(agreed, list(looks(trouble, sick, seed))) for seed in range(deliveries)]
    return sum(verdict.decision == "promote" for verdict in verdicts) / deliveries


@pytest.mark.parametrize(("trouble", "metric"), [("denies", "wrong_denial_share"), ("fails", "error_share")])
def test_a_repair_that_repairs_nothing_is_promoted_in_at_most_alpha_of_deliveries(
    trouble: Trouble, metric: str, record_property: Report
) -> None:
    effect = SIZES["sick_design_effect"][metric]
    share = promoted(trouble, ("canary", "baseline"), effect, DELIVERIES)
    as_if_requests_were_independent = promoted(trouble, ("canary", "baseline"), 1.0, DELIVERIES)
    record_property("deliveries", DELIVERIES)
    record_property("promoted", share)
    record_property("promoted_with_design_effect_1", as_if_requests_were_independent)

    assert share <= SIZES["alpha"] < as_if_requests_were_independent


@pytest.mark.parametrize(("trouble", "metric"), [("denies", "wrong_denial_share"), ("fails", "error_share")])
def test_a_real_repair_is_promoted(trouble: Trouble, metric: str, record_property: Report) -> None:
    effect = SIZES["sick_design_effect"][metric]
    share = promoted(trouble, ("baseline",), effect, DELIVERIES // 4)
    record_property("promoted", share)

    assert share >= 0.99
