"""Whether there is a trend, and when it reaches a limit: planted ones are found, noise is left alone."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.trend import BLOCKS, WINDOWS, breach, trend_of

COUNT = BLOCKS * WINDOWS


def noise(seed: int, alike: float = 0.0) -> list[float]:
    """Of standard deviation 1, each as much like the one before as this says; now and then far out."""
    chance, at, values = Random(seed), 0.0, []
    for _ in range(COUNT):
        at = alike * at + chance.gauss(0, 1) * (1 - alike * alike) ** 0.5
        values.append(at * (20 if chance.random() < 0.01 else 1))
    return values


def risen(values: list[float], by: float) -> list[float]:
    return [value + by * number / COUNT for number, value in enumerate(values)]


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
def test_of_300_series_without_a_trend_nearly_all_are_left_alone(alike: float) -> None:
    # one in 200 is what the interval says, to each side; within blocks that have nothing to do with each other
    seeming = 0
    for seed in range(300):
        trend = trend_of(noise(seed, alike), 60.0)
        seeming += trend is not None and breach(trend, 100.0, upper=True) is not None
    assert seeming <= 6


def test_a_planted_trend_is_found_with_when_it_reaches_the_limit() -> None:
    # given a metric that rises by four times its noise, to 14, in a third of the time that is left until 26
    covered = found = 0
    for seed in range(100):
        trend = trend_of(risen([value + 10 for value in noise(seed)], 4.0), 60.0)
        ahead = breach(trend, 26.0, upper=True) if trend else None
        if ahead is None:
            continue
        found += 1
        covered += ahead.soonest_s <= 3 * COUNT * 60 <= ahead.latest_s
        assert ahead.soonest_s <= ahead.in_s <= ahead.latest_s
    # then it always is, and the interval has the truth in it about as often as it says
    assert found == 100 and covered >= 94


@given(st.integers(0, 2**32), st.sampled_from([0.25, 2.0, 1024.0]), st.integers(-50, 50))
def test_scale_and_place_change_nothing_but_the_unit(seed: int, scale: float, place: int) -> None:
    values = [round(value * 1024) / 1024 for value in risen(noise(seed), 3.0)]
    one, other = trend_of(values, 60.0), trend_of([value * scale + place for value in values], 60.0)
    assert one is not None and other is not None
    assert other.slope == pytest.approx(one.slope * scale) and other.low == pytest.approx(one.low * scale, abs=1e-12)
    assert other.level == pytest.approx(one.level * scale + place)


@given(st.integers(0, 2**32))
def test_downwards_is_upwards_in_a_mirror(seed: int) -> None:
    values = risen(noise(seed), 3.0)
    up, down = trend_of(values, 60.0), trend_of([-value for value in values], 60.0)
    assert up is not None and down is not None
    one, other = breach(up, 9.0, upper=True), breach(down, -9.0, upper=False)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert (other.in_s, other.soonest_s, other.latest_s) == pytest.approx((one.in_s, one.soonest_s, one.latest_s))


def test_a_constant_has_no_trend_and_a_limit_that_is_reached_already_is_nothing_to_foresee() -> None:
    flat = trend_of([3.0] * COUNT, 60.0)
    assert flat is not None and breach(flat, 4.0, upper=True) is None
    rising = trend_of(risen([0.0] * COUNT, 4.0), 60.0)
    assert rising is not None and breach(rising, 3.0, upper=True) is None
    assert breach(rising, -1.0, upper=False) is None


def test_where_too_little_is_known_there_is_no_trend() -> None:
    values: list[float | None] = [*risen(noise(1), 3.0)]
    assert trend_of([None] * (COUNT // 3) + values[COUNT // 3 :], 60.0) is None
    gaps = [None if number % 3 == 0 else value for number, value in enumerate(values)]
    assert trend_of(gaps, 60.0) is not None
