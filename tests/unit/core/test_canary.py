"""The judge case by case: recorded cases, roles of metrics, ends of a delivery. Pure values."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.core.canary import (
    Counts,
    DeliveryPlan,
    Guard,
    Limit,
    Pair,
    StageVerdict,
    Superiority,
    detectable,
    judge_delivery,
    power,
    proportion_sequential,
)
from harness.core.errors import Invalid
from harness.core.lattice import Walk, binomial, hypergeometric, spent_by

SHELF = Path(__file__).parents[4] / "shared/fixtures/canary"


def cases(method: str) -> list[Any]:
    if not SHELF.is_dir():
        return [pytest.param(None, id=method, marks=pytest.mark.skip(reason="no fixture shelf at ../shared/fixtures"))]
    documents = [json.loads(path.read_text()) for path in sorted(SHELF.glob("p*.json"))]
    return [pytest.param(case, id=case["name"]) for case in documents if case["input"]["method"] == method]


def looked(*looks: tuple[int, int, int]) -> list[Pair]:
    """(control's bad, experiment's bad, requests per arm), cumulative."""
    return [Pair(Counts(control, total), Counts(experiment, total)) for control, experiment, total in looks]


@pytest.mark.parametrize("case", cases("proportion_sequential"))
def test_a_recorded_case_gets_the_expected_verdict(case: dict[str, Any]) -> None:
    given, expect = case["input"], case["expect"]

    verdict = proportion_sequential(
        alpha=given["alpha"],
        direction=given["direction"],
        planned=(given["planned"]["control"], given["planned"]["experiment"]),
        looks=[Pair(Counts(*look["control"]), Counts(*look["experiment"])) for look in given["looks"]],
    )

    assert verdict.verdict == expect["verdict"]
    if "decided_by_look" in expect:
        assert verdict.decided_at_look is not None and verdict.decided_at_look <= expect["decided_by_look"]


@pytest.mark.parametrize("case", cases("power"))
def test_a_recorded_sample_size_is_met(case: dict[str, Any]) -> None:
    given = {name: value for name, value in case["input"].items() if name != "method"}
    expect = case["expect"]

    assert power(**given) == pytest.approx(expect["requests_per_arm"], rel=expect["rel_tolerance"])


@pytest.mark.parametrize(
    ("rates", "level", "direction", "published"),
    [
        ((0.001, 0.002), 0.8, "increase", 18_519),
        ((0.001, 0.002), 0.8, "either", 23_511),
        ((0.001, 0.0144), 0.8, "increase", 526),
    ],
)
def test_the_published_sample_sizes_come_out(rates: Any, level: float, direction: Any, published: int) -> None:
    assert power(
        baseline_rate=rates[0], detectable_rate=rates[1], alpha=0.05, power=level, direction=direction
    ) == pytest.approx(published, abs=1)


def test_a_sample_size_for_no_difference_is_refused() -> None:
    with pytest.raises(Invalid, match=r"is no increase of 0\.02"):
        power(baseline_rate=0.02, detectable_rate=0.01, alpha=0.05, power=0.8)
    with pytest.raises(Invalid, match=r"alpha: 1\.5 is not a probability"):
        power(baseline_rate=0.01, detectable_rate=0.02, alpha=1.5, power=0.8)


def test_the_smallest_harm_is_smaller_with_more_requests_and_larger_with_overdispersion() -> None:
    few, many = (detectable(baseline_rate=0.01, per_arm=n, alpha=0.05) for n in (600, 6_000))
    rough = detectable(baseline_rate=0.01, per_arm=6_000, alpha=0.05, design_effect=3)

    assert few is not None and many is not None and rough is not None
    assert 0.01 < many < rough < few
    assert detectable(baseline_rate=0.0, per_arm=2, alpha=0.05) is None  # 2 v 0 of 2: p = 1/6


def test_the_smallest_harm_holds_near_zero_where_the_normal_approximation_does_not() -> None:
    # 5 against 0 is the least that is significant (1/32); 80 % to have 5 needs 6.7 expected, so 1.12 % of 600
    assert detectable(baseline_rate=0.0, per_arm=600, alpha=0.05) == pytest.approx(0.0112, abs=2e-4)


def test_chances_are_exact() -> None:
    assert hypergeometric(3, 5, 5).at_least(3) == pytest.approx(math.comb(5, 3) / math.comb(10, 3))
    assert binomial(4, 0.25).at_least(4) == pytest.approx(0.25**4)
    assert math.fsum(hypergeometric(900, 20_000, 20_000).mass) == pytest.approx(1)
    assert binomial(10, 0).at_least(1) == 0 and binomial(10, 1).at_least(10) == 1


def test_the_budget_is_spent_late_and_never_exceeded() -> None:
    allowed = [spent_by(0.05, look / 9) for look in range(10)]
    assert allowed[0] == 0 and allowed[-1] == 0.05 and allowed[3] < 0.001
    assert all(before <= after for before, after in pairwise(allowed))

    walk = Walk()
    for budget in allowed[1:]:
        walk = walk.moved(hypergeometric(7, 60, 70))
        walk = walk.cut(walk.fence(budget - walk.spent))
        assert 0 <= walk.spent <= budget + 1e-12
        assert walk.spent + math.fsum(walk.at.mass) == pytest.approx(1)
    assert walk.spent > 0.045  # counts are lumpy, yet little is left unused


@pytest.mark.parametrize(
    ("direction", "verdicts"),
    [("increase", ("HIGH", "PASS")), ("decrease", ("PASS", "LOW")), ("either", ("HIGH", "LOW"))],
)
def test_a_direction_sees_only_its_own_side(direction: Any, verdicts: tuple[str, str]) -> None:
    worse, better = looked((10, 60, 1000)), looked((60, 10, 1000))

    told = [
        proportion_sequential(alpha=0.05, direction=direction, planned=(1000, 1000), looks=looks).verdict
        for looks in (worse, better)
    ]

    assert tuple(told) == verdicts


def test_a_verdict_depends_on_the_looks_up_to_its_own_only() -> None:
    looks = looked((1, 9, 500), (1, 20, 1000), (40, 41, 1500), (80, 81, 2000), (80, 200, 2500))
    told = [
        proportion_sequential(alpha=0.05, direction="increase", planned=(2000, 2000), looks=looks[:n])
        for n in range(1, 6)
    ]

    assert [verdict.verdict for verdict in told] == ["NODATA", "HIGH", "HIGH", "HIGH", "HIGH"]
    assert len(set(told[1:])) == 1 and told[1].decided_at_look == 2


def test_the_canary_ends_at_the_plan() -> None:
    looks = looked((10, 10, 1000), (10, 60, 2000))

    verdict = proportion_sequential(alpha=0.05, direction="increase", planned=(1000, 1000), looks=looks)

    assert (verdict.verdict, verdict.decided_at_look, verdict.n_experiment) == ("PASS", 1, 1000)


def test_a_figure_is_told_only_where_there_are_requests() -> None:
    verdict = proportion_sequential(
        alpha=0.05, direction="increase", planned=(9, 9), looks=[Pair(Counts(0, 0), Counts(1, 5))]
    )

    assert (verdict.verdict, verdict.p_value, verdict.effect, verdict.reason) == ("NODATA", None, None, "no_requests")


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(Invalid, match="6 bad of 5 requests"):
        Counts(6, 5)
    with pytest.raises(Invalid, match=r"looks\[1\].control: 2 of 600 after 3 of 500"):
        proportion_sequential(alpha=0.05, direction="increase", planned=(9, 9), looks=looked((3, 3, 500), (2, 3, 600)))


# A delivery

REPAIR = DeliveryPlan(
    guards=(Guard("error_share"), Guard("wrong_denial_share")),
    limits=(Limit("error_share", at_most=0.01),),
    superiority=Superiority("slow_share", design_effect=3),
)
LOOKS = [(67 * n, n) for n in range(1, 10)]


def delivery(
    *, slow: tuple[float, float] = (0.9, 0.03), errors: tuple[float, float] = (0.001, 0.001), looks: int = 9
) -> list[dict[str, Pair | None]]:
    """Counts at even pace, as they would be without chance; shares are (baseline's, canary's)."""
    return [
        {
            "slow_share": Pair(Counts(int(total * slow[0]), total), Counts(int(total * slow[1]), total)),
            "error_share": Pair(Counts(int(total * errors[0]), total), Counts(int(total * errors[1]), total)),
            "wrong_denial_share": Pair(Counts(0, total), Counts(0, total)),
        }
        for total, _ in LOOKS[:looks]
    ]


def words(verdict: StageVerdict) -> dict[tuple[str, str], tuple[str, str]]:
    return {(each.role, each.metric): (each.judged.verdict, each.judged.reason) for each in verdict.metrics}


def test_a_repair_that_wins_and_harms_nothing_is_promoted_at_the_planned_sample() -> None:
    verdict = judge_delivery(REPAIR, delivery())

    assert (verdict.decision, verdict.decided_at_look) == ("promote", 9)
    assert verdict.reason == "passed: 600 requests an arm"
    assert words(verdict) == {
        ("superiority", "slow_share"): ("LOW", "superior"),
        ("guard", "error_share"): ("PASS", "no_harm_shown"),
        ("guard", "wrong_denial_share"): ("PASS", "no_harm_shown"),
        ("limit", "error_share"): ("PASS", "within_limit"),
    }


def test_a_win_that_shows_early_still_waits_for_the_guards() -> None:
    early = judge_delivery(REPAIR, delivery(looks=3))

    own = early.metrics[0].judged
    assert early.decision == "continue" and early.decided_at_look is None
    assert (own.verdict, own.decided_at_look) == ("LOW", 2)  # the first look with 100 requests an arm
    assert words(early)["guard", "error_share"] == ("NODATA", "insufficient")


def test_a_repair_that_does_not_win_is_aborted_with_the_reason() -> None:
    verdict = judge_delivery(REPAIR, delivery(slow=(0.9, 0.88)))

    assert (verdict.decision, verdict.reason) == ("abort", "not_superior: slow_share")
    assert words(verdict)["superiority", "slow_share"] == ("PASS", "not_superior")


def test_harm_aborts_at_the_look_that_shows_it_and_later_looks_change_nothing() -> None:
    looks = delivery(errors=(0.001, 0.2))
    verdict = judge_delivery(REPAIR, looks)

    assert verdict.decision == "abort" and verdict.reason.startswith("harm: error_share")
    assert verdict.decided_at_look is not None and verdict.decided_at_look < 5
    assert words(verdict)["guard", "error_share"] == ("HIGH", "harm")
    for seen in range(1, 10):
        told = judge_delivery(REPAIR, looks[:seen])
        assert told == verdict if seen >= verdict.decided_at_look else told.decision == "continue"


def test_a_limit_reads_only_the_canary() -> None:
    # Given errors that are as frequent in the sick baseline
    verdict = judge_delivery(REPAIR, delivery(errors=(0.1, 0.1)))

    assert verdict.reason == "above_limit: error_share"
    assert words(verdict)["guard", "error_share"][0] == "NODATA"


def test_a_limit_of_zero_stops_at_the_first_bad_request() -> None:
    plan = DeliveryPlan(guards=(Guard("error_share"),), limits=(Limit("wrong_denial_share", at_most=0),))
    looks = delivery(looks=2)
    looks[1]["wrong_denial_share"] = Pair(Counts(0, 134), Counts(1, 134))

    assert judge_delivery(plan, looks).reason == "above_limit: wrong_denial_share"


def test_nothing_is_judged_before_the_first_allowed_sample() -> None:
    assert judge_delivery(REPAIR, delivery(errors=(0, 1), looks=1)).decision == "continue"
    assert judge_delivery(REPAIR, []).reason == "running: 0 of 600 requests in the smaller arm"


def test_a_slow_arm_gets_more_time_and_then_a_person_decides() -> None:
    # Given a canary that had only 400 requests at every look after the sixth
    looks = delivery(looks=6) + [delivery(looks=6)[-1]] * 6

    told = [judge_delivery(REPAIR, looks[:n]) for n in range(6, 13)]

    assert [verdict.decision for verdict in told] == ["continue"] * 3 + ["extend"] * 3 + ["ask"]
    assert told[-1].reason == "insufficient: 402 of 600 requests in the smaller arm"


def test_what_could_not_be_measured_is_neither_harm_nor_health() -> None:
    looks = delivery()
    for look in looks[7:]:
        look["error_share"] = None

    told = [judge_delivery(REPAIR, [*looks, *[looks[-1]] * more]) for more in (0, 3)]

    assert [verdict.decision for verdict in told] == ["extend", "ask"]
    assert told[1].reason == "query_failed: error_share"
    assert words(told[1])["guard", "error_share"] == ("NODATA", "query_failed")
    # and once it can be measured again, the delivery goes on
    assert judge_delivery(REPAIR, [*looks, delivery()[-1]]).decision == "promote"


def test_the_smallest_harm_is_worked_out_from_the_plan() -> None:
    plan = DeliveryPlan(guards=(Guard("error_share"), Guard("slow_share", design_effect=3)))

    harms = [plan.smallest_harm(guard, 0.03) for guard in plan.guards]

    assert harms[0] is not None and harms[1] is not None and 0.03 < harms[0] < harms[1]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"superiority": Superiority("a")}, "a is compared twice"),
        ({"guards": ()}, "nothing to compare"),
        ({"min_per_arm": 700}, "min_per_arm 700; allowed 1 to planned 600"),
        ({"alpha": 0.0}, "alpha 0.0"),
        ({"guards": (Guard("a", design_effect=0.5),)}, "design_effect 0.5 of a"),
        ({"guards": (Guard("a", weight=0),)}, "weight 0 of a"),
        ({"limits": (Limit("a", at_most=10),)}, "at_most 10 of a; allowed 0 to below 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changed: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"guards": (Guard("a"),)} | changed

    with pytest.raises(Invalid) as refused:
        DeliveryPlan(**given)

    assert told in str(refused.value)
