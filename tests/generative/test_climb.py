"""What a climb promises over many seeds: where nothing makes a difference little is kept, what is there is found."""

from __future__ import annotations

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from harness.core.climb import ALPHA, COMPARISONS, PAIRS, Compare, Hill, Pair, Top, next_step

MARGIN = 0.10
RUNS = 400


def climbed(hill: Hill, log_cost: dict[int, float], noise: float, chance: Random, drift: float = 0.0) -> Top:
    """A climb in which each measurement is disturbed, and the machine becomes slower from one to the next."""
    pairs: list[Pair] = []
    taken = 0
    while isinstance(step := next_step(hill, pairs), Compare):
        measured = {}
        for side in sorted(("challenger", "in_force"), key=lambda side: side != step.first):
            value = step.challenger if side == "challenger" else step.in_force
            measured[side] = math.exp(log_cost.get(value, 0.0) + chance.gauss(0, noise) + drift * taken)
            taken += 1
        pairs.append(Pair(step.challenger, step.in_force, measured["challenger"], measured["in_force"]))
    return step


def hill(seed: int, *, start: int = 64) -> Hill:
    return Hill(start=start, low=1, high=4096, factor=8, margin=MARGIN, lower_is_better=True, seed=f"{seed}")


def kept(noise: float, *, drift: float = 0.0) -> int:
    """In how many of RUNS climbs among equal values something was kept."""
    return sum(climbed(hill(n), {}, noise, Random(n), drift).value != 64 for n in range(RUNS))


def test_where_nothing_makes_a_difference_it_keeps_something_in_at_most_the_stated_share() -> None:
    # three standard deviations above the share that is stated; wide noise is what a margin alone would not hold
    bound = RUNS * ALPHA + 3 * math.sqrt(RUNS * ALPHA * (1 - ALPHA))
    for noise in (0.02, 0.1, 0.3, 1.0):
        assert kept(noise) <= bound
        assert kept(noise, drift=0.02) <= bound


def test_twice_the_margin_is_mostly_found() -> None:
    better = {512: math.log(1 - 2 * MARGIN), 4096: math.log(1 - 2 * MARGIN)}
    for noise, least in ((0.05, 0.99), (0.1, 0.9)):
        found = sum(climbed(hill(n), better, noise, Random(n)).value == 512 for n in range(RUNS))
        assert found >= least * RUNS


@given(st.integers(1, 4096), st.floats(0, 0.5), st.integers(0, 2**32))
def test_it_ends_within_its_range_and_its_number_of_pairs(start: int, noise: float, seed: int) -> None:
    chance = Random(seed)
    slope = chance.uniform(-0.5, 0.5)
    costs = {value: slope * math.log(value) for value in range(1, 4097)}
    top = climbed(hill(seed, start=start), costs, noise, chance)
    assert 1 <= top.value <= 4096 and len(top.comparisons) <= COMPARISONS
    assert sum(one.pairs for one in top.comparisons) <= COMPARISONS * PAIRS
    assert (top.value != start) == any(one.won for one in top.comparisons)
