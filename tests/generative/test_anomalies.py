"""What the detector of anomalies promises, whatever the metric: ranks alone count, and no data is no anomaly."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.anomaly import Detection, Judged, walk

DETECTION = Detection(reference=120, guard=15, warm_up=60, windows_per_false_alarm=40_000)
FULL = DETECTION.reference + DETECTION.guard
seeds = st.integers(0, 2**32)
"""Only for what holds of every run of noise. What holds of nearly all is tried with seeds that stay the same."""
whole = st.integers(-1_000, 1_000)


def noise(seed: int, count: int) -> list[float]:
    """Skewed, with outliers, and seldom the same twice: as metrics are."""
    chance = Random(seed)
    return [chance.lognormvariate(0, 0.3) * (10 if chance.random() < 0.01 else 1) for _ in range(count)]


def states(values: list[float | None]) -> list[str]:
    return [judged.state for judged in walk(values, DETECTION)]


def told(values: list[float]) -> list[tuple[str, float, int]]:
    return [(judged.state, judged.evidence, judged.run) for judged in walk(values, DETECTION)]


@given(seeds, st.integers(0, 3))
def test_scale_and_place_of_a_metric_change_nothing_that_is_found(seed: int, shift: int) -> None:
    values = [round(value * 1024) / 1024 for value in noise(seed, FULL + 40)]
    values[FULL:] = [value + shift for value in values[FULL:]]
    assert told(values) == told([value * 8 for value in values]) == told([value + 64 for value in values])
    assert told(values) == told([math.log(value + 1) for value in values])  # nor does any other scale that rises


@given(whole, st.integers(1, 400))
def test_a_constant_is_never_strange(value: int, count: int) -> None:
    assert set(states([float(value)] * count)) <= {"warming_up", "ok"}


@given(seeds, st.lists(st.tuples(st.integers(0, FULL + 39), st.sampled_from([None, math.nan, math.inf, -math.inf]))))
def test_no_data_is_no_anomaly_and_does_not_become_usual(seed: int, gaps: list[tuple[int, float | None]]) -> None:
    # given the same values with and without gaps between them
    values: list[float | None] = list(noise(seed, FULL + 40))
    with_gaps = list(values)
    for at, nothing in gaps:
        with_gaps.insert(at, nothing)
    # then each gap is no data, and everything else is judged as if they weren't there
    judged = list(walk(with_gaps, DETECTION))
    there = [value is not None and math.isfinite(value) for value in with_gaps]
    assert all((one.state == "no_data") == (not is_there) for one, is_there in zip(judged, there, strict=True))
    assert [one for one in judged if one.state != "no_data"] == list(walk(values, DETECTION))


@given(seeds)
def test_a_shift_beyond_what_was_ever_seen_is_found_within_ten_windows_and_dated(seed: int) -> None:
    values = noise(seed, FULL)
    judged = list(walk(values + [max(values) + 1] * 12, DETECTION))
    found = next(number for number, one in enumerate(judged) if one.state == "strange" and number >= FULL)
    assert found - FULL < 10
    # and it is not said to have begun later than it did
    assert judged[found].run > found - FULL
    assert judged[found].limit is not None and judged[found].limit <= max(values)


@pytest.mark.parametrize("seed", range(100))
def test_what_stays_becomes_usual_and_is_strange_no_more(seed: int) -> None:
    judged = list(walk(noise(seed, FULL) + [value + 20 for value in noise(seed + 1, 3 * FULL)], DETECTION))
    assert "strange" in {one.state for one in judged}
    assert {one.state for one in judged[3 * FULL :]} == {"ok"}


def with_an_outlier(seed: int, outlier: float) -> tuple[list[float | None], list[float | None]]:
    """Noise, and the same with one value of it replaced."""
    chance = Random(seed)
    values: list[float | None] = [float(chance.randrange(1_000)) for _ in range(FULL + 40)]
    at = chance.randrange(FULL, len(values))
    return values, [*values[:at], outlier, *values[at + 1 :]]


@given(seeds)
def test_how_large_an_outlier_is_makes_no_difference(seed: int) -> None:
    assert states(with_an_outlier(seed, 1e12)[1]) == states(with_an_outlier(seed, 1_000.0)[1])


def test_one_outlier_is_strange_nowhere_that_is_not_strange_without_it() -> None:
    # of so many runs of noise one has a false alarm, as is declared; so the seeds are not drawn anew each time
    runs = [with_an_outlier(seed, 1e12) for seed in range(150)]
    strange = [tuple("strange" in states(values) for values in run) for run in runs]
    assert sum(without for without, _ in strange) == 1
    assert all(without for without, with_it in strange if with_it)


@given(seeds)
def test_a_look_that_begins_later_sees_no_more_evidence(seed: int) -> None:
    # the watch looks back for so long and no longer; what it sees then is what it would have seen all along, or less
    values = noise(seed, FULL + 200)

    def last(judged: list[Judged]) -> float:
        return judged[-1].evidence

    assert last(list(walk(values[-(FULL + 120) :], DETECTION))) <= last(list(walk(values, DETECTION))) + 1e-9


def test_nothing_is_judged_before_the_warm_up_is_over() -> None:
    before = DETECTION.warm_up + DETECTION.guard
    judged = states([1.0] * before + [2.0] * 30)
    assert set(judged[:before]) == {"warming_up"} and "strange" in judged[before:]


@pytest.mark.parametrize("law", ["gauss", "lognormvariate", "paretovariate"])
def test_false_alarms_are_as_seldom_as_declared_whatever_the_distribution(law: str) -> None:
    # given so many windows without any change that ten false alarms are declared
    often = Detection(reference=120, guard=15, warm_up=60, windows_per_false_alarm=1_000)
    chance = Random(law)
    draw = {
        "gauss": lambda: chance.gauss(0, 1), "lognormvariate": lambda: chance.lognormvariate(0, 2),
        "paretovariate": lambda: chance.paretovariate(1),
    }[law]  # fmt: skip
    alarms, was = 0, "ok"
    for judged in walk((draw() for _ in range(10_000)), often):
        alarms += judged.state == "strange" and was != "strange"
        was = judged.state
    # then there are no more of them: the bets bound the rate from above
    assert alarms <= 10
