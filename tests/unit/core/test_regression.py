"""When `no regression` holds of a share that was counted before and after. Values only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.criteria import Condition
from harness.core.errors import Invalid
from harness.core.events import Measurement
from harness.core.lattice import binomial
from harness.core.manifest import Metric
from harness.core.regression import compare, held, told, verdict

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE, NOW = 6_000, 4_000
"""Requests of the demo's baseline and of its verification."""
RATIO: dict[str, Any] = {"kind": "ratio", "bad": "bad_total", "total": "all_total", "unit": "%", "good": "little"}
SHARE = Metric(**RATIO, direction="lower")
DECLARED = Metric(**RATIO, direction="lower", margin="0.5%")
DEFAULT, HALF = Condition.parse("no regression"), Condition.parse("no regression > 50%")
totals = st.integers(0, 3_000)
effects = st.floats(1, 8)


def counted(bad: float, total: int) -> Measurement:
    return Measurement(
        metric="share", query="q", window_from=NOON, window_to=NOON + timedelta(seconds=10),
        value=bad / total if total else None, samples=total,
    )  # fmt: skip


def met(
    before: Measurement, now: Measurement, metric: Metric = SHARE, condition: Condition = DEFAULT, effect: float = 1.0
) -> bool | None:
    return held(condition, before, now, metric, design_effect=effect)[0]


@pytest.mark.parametrize(
    ("metric", "condition", "before", "now", "expected"),
    [
        (SHARE, DEFAULT, 60, 46, True),  # 15 % more is chance
        (SHARE, DEFAULT, 60, 60, False),  # half more is not
        (SHARE, DEFAULT, 0, 0, True),
        (SHARE, DEFAULT, 0, 20, False),
        (SHARE, HALF, 600, 460, True),  # surely worse, and surely within
        (SHARE, DEFAULT, 600, 460, False),
        (SHARE, HALF, 60, 46, True),
        (DECLARED, DEFAULT, 0, 4, True),
        (DECLARED, DEFAULT, 0, 20, False),
        (DECLARED, DEFAULT, 60, 44, None),  # 0.5 points more would often look so, too
        (DECLARED, DEFAULT, 60, 32, True),
        (DECLARED, HALF, 60, 46, True),  # what the ticket says goes first
    ],
)
def test_what_chance_explains_is_no_regression_and_a_declared_margin_has_to_be_shown(
    metric: Metric, condition: Condition, before: int, now: int, expected: bool | None
) -> None:
    assert met(counted(before, BEFORE), counted(now, NOW), metric, condition) is expected


@given(totals, totals, st.data(), effects, st.sampled_from([SHARE, DECLARED]), st.sampled_from([DEFAULT, HALF]))
def test_one_more_bad_request_never_makes_it_pass(
    then: int, since: int, data: st.DataObject, effect: float, metric: Metric, condition: Condition
) -> None:
    before = counted(data.draw(st.integers(0, then)), then)
    bad = data.draw(st.integers(0, max(0, since - 1)))
    fewer, more = counted(bad, since), counted(min(since, bad + 1), since)
    assert met(before, more, metric, condition, effect) is not True or met(before, fewer, metric, condition, effect)


@given(totals, totals, st.data(), st.integers(2, 8))
def test_as_many_times_more_requests_that_vary_so_much_more_say_the_same(
    then: int, since: int, data: st.DataObject, times: int
) -> None:
    bad, now = data.draw(st.integers(0, then)), data.draw(st.integers(0, since))
    one = met(counted(bad, then), counted(now, since))
    assert met(counted(bad * times, then * times), counted(now * times, since * times), effect=times) is one


@given(totals, st.data(), effects)
def test_a_share_that_did_not_rise_is_never_called_worse(total: int, data: st.DataObject, effect: float) -> None:
    bad = data.draw(st.integers(0, total))
    now = data.draw(st.integers(0, bad))
    assert met(counted(bad, total), counted(now, total), effect=effect) is not False


@given(totals, st.data(), effects, st.sampled_from([SHARE, DECLARED]))
def test_without_requests_before_or_after_it_is_never_met(
    total: int, data: st.DataObject, effect: float, metric: Metric
) -> None:
    some = counted(data.draw(st.integers(0, total)), total)
    assert met(counted(0, 0), some, metric, effect=effect) is None
    assert met(some, counted(0, 0), metric, effect=effect) is None


@pytest.mark.parametrize(("before", "now"), [(2, NOW), (BEFORE, 1), (7, 7)])
def test_of_so_few_requests_that_nothing_could_be_seen_it_is_not_met(before: int, now: int) -> None:
    assert met(counted(0, before), counted(0, now), effect=8.0) is None


@given(totals, totals, st.data(), effects)
def test_a_share_of_good_requests_is_judged_by_the_bad_ones(
    then: int, since: int, data: st.DataObject, effect: float
) -> None:
    bad, now = data.draw(st.integers(0, then)), data.draw(st.integers(0, since))
    lower = compare(counted(bad, then), counted(now, since), "lower", 0.01, declared=True, design_effect=1.0)
    higher = compare(
        counted(then - bad, then), counted(since - now, since), "higher", 0.01, declared=True, design_effect=1.0
    )
    assert (lower and verdict(lower)) is (higher and verdict(higher))


def test_what_should_stay_as_it_is_may_neither_rise_nor_fall() -> None:
    either = Metric(**RATIO, direction="either")
    assert [met(counted(600, BEFORE), counted(now, NOW), either) for now in (300, 400, 500)] == [False, True, False]


def _chance(share_before: float, share_now: float, metric: Metric, condition: Condition = DEFAULT) -> float:
    """That it is met, summed over what may be counted."""
    then, since = binomial(BEFORE, share_before), binomial(NOW, share_now)
    chance = 0.0
    for bad, likely in enumerate(then.mass, start=then.start):
        if likely < 1e-4:
            continue
        passing = [
            more for now, more in enumerate(since.mass, start=since.start)
            if more > 1e-5 and met(counted(bad, BEFORE), counted(now, NOW), metric, condition) is True
        ]  # fmt: skip
        chance += likely * sum(passing)
    return chance


@pytest.mark.parametrize(
    ("share", "harm", "metric", "condition", "least", "most"),
    [
        (0.001, 0.0, SHARE, DEFAULT, 0.95, 1.0),
        (0.01, 0.0, SHARE, DEFAULT, 0.94, 1.0),
        (0.01, 0.005, SHARE, DEFAULT, 0.2, 0.35),
        (0.01, 0.01, SHARE, DEFAULT, 0.0, 0.02),
        (0.001, 0.0, DECLARED, DEFAULT, 0.95, 1.0),
        (0.001, 0.005, DECLARED, DEFAULT, 0.0, 0.05),
        (0.01, 0.005, DECLARED, DEFAULT, 0.0, 0.05),
    ],
)
def test_how_often_an_unchanged_service_passes_and_a_worse_one_does(
    share: float, harm: float, metric: Metric, condition: Condition, least: float, most: float
) -> None:
    assert least <= _chance(share, share + harm, metric, condition) <= most


def test_what_it_rests_on_is_told() -> None:
    verdict_, compared = held(DEFAULT, counted(60, BEFORE), counted(40, NOW), DECLARED, design_effect=3.0)
    assert verdict_ is None and compared is not None
    assert told(compared, verdict_) == (
        "cannot be told from 1 % before (6000 and 4000 requests, divided by 3): p 0.59 if nothing changed, "
        f"p {compared.p_within:.2g} if worse by 0.5 points as declared"
    )


@pytest.mark.parametrize("form", ["no regression", "no regression > 5%", "< 10%", "within 5% of baseline"])
def test_values_without_counts_are_compared_as_they_are(form: str) -> None:
    gauge = Metric(kind="gauge", query="up", unit="count", direction="lower", good="few")
    before, now = (
        one.model_copy(update={"samples": None, "value": value})
        for one, value in ((counted(0, 1), 1.0), (counted(0, 1), 1.04))
    )
    condition = Condition.parse(form)
    assert held(condition, before, now, gauge, design_effect=1.0) == (condition.holds(1.04, 1.0, "lower"), None)


@pytest.mark.parametrize("margin", ["0%", "100%"])
def test_a_margin_that_says_nothing_is_refused(margin: str) -> None:
    with pytest.raises(Invalid, match="a ratio has one, above 0% and below 100%"):
        Metric.parse({**RATIO, "direction": "lower", "margin": margin}, "service.yaml")


def test_only_what_is_counted_has_a_margin() -> None:
    gauge = {"kind": "gauge", "query": "up", "unit": "count", "direction": "lower", "good": "few", "margin": "1%"}
    with pytest.raises(Invalid, match=r"margin: 1\.0+% of kind gauge"):
        Metric.parse(gauge, "service.yaml")
