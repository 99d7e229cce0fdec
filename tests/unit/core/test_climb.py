"""The climb over a tunable: which pair is measured next, what a challenger needs to win, where it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.core.climb import ALPHA, COMPARISONS, PAIRS, Compare, Hill, Pair, Top, judge, next_step, p_of

HILL = Hill(start=2, low=1, high=4096, factor=8, margin=0.10, lower_is_better=True, seed="INF-1")


def cost(value: int) -> float:
    """What a check costs when a connection is ended after so many."""
    return 60.0 + 66.0 / value


def climbed(hill: Hill, measured: Callable[[int], float | None]) -> tuple[Top, list[Compare]]:
    """The whole climb over what is measured of each value, and every pair that was asked for."""
    pairs: list[Pair] = []
    asked: list[Compare] = []
    while isinstance(step := next_step(hill, pairs), Compare):
        asked.append(step)
        pairs.append(Pair(step.challenger, step.in_force, measured(step.challenger), measured(step.in_force)))
    return step, asked


def test_it_goes_up_as_long_as_that_wins_by_the_margin_and_stops_where_it_does_not() -> None:
    top, asked = climbed(HILL, cost)
    assert [(one.challenger, one.in_force, one.won) for one in top.comparisons] == [(16, 2, True), (128, 16, False)]
    assert top.value == 16
    # and a challenger that cannot win any more is not measured to the end
    assert [one.pair for one in asked] == [*range(1, PAIRS + 1), *range(1, PAIRS // 2 + 2)]


def test_where_nothing_makes_a_difference_nothing_is_kept() -> None:
    top, asked = climbed(HILL, lambda value: 60.0)
    assert top.value == HILL.start and not any(one.won for one in top.comparisons)
    assert [one.challenger for one in top.comparisons] == [16, 1] and len(asked) < PAIRS * 2


def test_it_goes_down_where_up_does_not_win() -> None:
    top, _ = climbed(Hill(512, 1, 4096, 8, 0.10, True, "x"), lambda value: 10.0 + value)
    assert top.value == 1 and [one.challenger for one in top.comparisons] == [4096, 64, 8, 1]


def test_higher_is_better_turns_it_round() -> None:
    top, _ = climbed(Hill(2, 1, 4096, 8, 0.10, False, "x"), lambda value: 1000 / cost(value))
    assert top.value == 16


@pytest.mark.parametrize("gone", [None, 0.0, float("nan"), float("inf")])
def test_a_value_that_cannot_be_measured_does_not_win(gone: float | None) -> None:
    top, asked = climbed(HILL, lambda value: gone if value == 16 else 60.0)
    assert top.value == 2 and "could not be measured" in top.comparisons[0].reason
    assert sum(one.challenger == 16 for one in asked) == 1


def test_at_an_end_of_the_range_there_is_nothing_further() -> None:
    assert climbed(Hill(1, 1, 2, 8, 0.10, True, "x"), cost)[0].value == 2
    assert climbed(Hill(1, 1, 2, 8, 0.10, True, "x"), lambda value: 60.0)[0] == Top(
        1, climbed(Hill(1, 1, 2, 8, 0.10, True, "x"), lambda value: 60.0)[0].comparisons
    )


def test_it_makes_no_more_comparisons_than_its_share_of_errors_is_meant_for() -> None:
    top, _ = climbed(Hill(1, 1, 10**9, 2, 0.10, True, "x"), lambda value: 1e12 / value)
    assert len(top.comparisons) == COMPARISONS and top.value == 2**COMPARISONS


def test_a_win_below_the_margin_is_none() -> None:
    pairs = [Pair(16, 2, 93.0, 100.0)] * PAIRS
    judged = judge(HILL, 16, 2, pairs)
    assert judged is not None and not judged.won and "does not win by 10%" in judged.reason


def test_a_win_that_may_be_chance_is_none() -> None:
    # given a median far beyond the margin, and two pairs the other way round by as much
    pairs = [Pair(16, 2, 70.0, 100.0)] * 7 + [Pair(16, 2, 100.0, 60.0)] * 3
    judged = judge(HILL, 16, 2, pairs)
    assert judged is not None and not judged.won and "may be chance" in judged.reason


def test_p_is_the_part_of_all_ways_to_turn_the_pairs_over() -> None:
    assert p_of([1.0] * 3) == 1 / 8
    assert p_of([3.0, 2.0, 1.0]) == 1 / 8
    assert p_of([3.0, 2.0, -1.0]) == 2 / 8
    assert p_of([-1.0, -1.0]) == 1.0
    assert 1 / 2**PAIRS < ALPHA / COMPARISONS


def test_the_order_within_a_pair_is_drawn_and_the_same_every_time() -> None:
    orders = [one.first for one in climbed(HILL, cost)[1]]
    assert set(orders) == {"challenger", "in_force"}
    assert orders == [one.first for one in climbed(HILL, cost)[1]]
