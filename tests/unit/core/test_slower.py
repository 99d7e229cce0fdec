"""Whether a check became slower: planted shifts are found, noise is left alone, the machine is told from the tree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from random import Random

import pytest

from harness.core.errors import Invalid
from harness.core.policy import Slower
from harness.core.slower import Ran, outlook_of, p_later_is_more, shift_of, why_not_slower

POLICY = Slower.parse({"runs": 24, "by": "25%"}, "opportunities.yaml")
NOISE = 0.15
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def runs(seconds: Sequence[float], tests: Sequence[int] | None = None) -> list[Ran]:
    return [
        Ran(f"{n + 1:012x}{0:028x}", f"INF-{n}", NOW + timedelta(hours=n), one, tests[n] if tests else None)
        for n, one in enumerate(seconds)
    ]


def noisy(seed: int, since: int = 24, by: float = 0.0, alike: float = 0.0) -> list[float]:
    """Four seconds give or take 15 %, now and then thrice as long, and by this part longer since then."""
    chance, at, values = Random(seed), 0.0, []
    for number in range(24):
        at = alike * at + chance.gauss(0, 1) * (1 - alike * alike) ** 0.5
        values.append(4 * (1 + by * (number >= since)) * 2.72 ** (NOISE * at) * (3 if chance.random() < 0.03 else 1))
    return values


@pytest.mark.parametrize("place", [1, 2, 3, 4, 5])
def test_the_exact_test_says_how_many_orders_are_as_far_out(place: int) -> None:
    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    earlier, later = values[:place], values[place:]

    def more(one: Sequence[float], other: Sequence[float]) -> int:
        return sum(after > before for after in other for before in one)

    orders = list(permutations(values))
    as_far = sum(more(order[:place], order[place:]) >= more(earlier, later) for order in orders)
    assert p_later_is_more(earlier, later) == pytest.approx(as_far / len(orders))


def test_of_1000_records_without_a_shift_nearly_all_are_left_alone() -> None:
    # one in 100 is what is declared; the level is shared out over places that have much to do with each other
    assert sum(shift_of("tests", runs(noisy(seed)), POLICY) is not None for seed in range(1_000)) <= 10


def test_a_planted_shift_is_found_with_where_it_began() -> None:
    found = [shift_of("tests", runs(noisy(seed, since=15, by=0.6)), POLICY) for seed in range(100)]
    near = [one for one in found if one is not None and abs(len(one.before) - 15) <= 2]
    assert len([one for one in found if one is not None]) >= 90 and len(near) >= 85
    assert all(one.reference.seconds <= one.was_s for one in near)


def test_it_is_told_with_both_ends_and_asks_half_of_what_was_lost() -> None:
    shift = shift_of("tests", runs([4.0 + n / 1000 for n in range(14)] + [6.0 + n / 1000 for n in range(10)]), POLICY)
    assert shift is not None
    one = outlook_of(shift)
    assert (one.name, one.metric, one.condition) == (
        "slower:tests", "check_seconds(tests)", "at least 17% better",
    )  # fmt: skip
    assert "between 00000000000e (INF-13) and 00000000000f (INF-14, 2026-06-01)" in one.reason
    assert one.reason.startswith("tests took 4.01s in the middle of 14 runs and takes 6s in the middle of the 10 since")


def test_what_lasts_too_short_or_is_too_little_or_faster_or_known_of_too_few_is_none() -> None:
    flat = [4.0 + n * 7 % 24 / 1000 for n in range(24)]
    assert shift_of("tests", runs(flat), POLICY) is None
    assert shift_of("tests", runs([*flat[:18], 9.0, 9.1, 9.2, 9.3, 9.4, 9.5]), POLICY) is not None
    assert shift_of("tests", runs([*flat[:20], 9.0, 9.1, 9.2, 9.3]), POLICY) is None
    assert shift_of("tests", runs([*flat[:12], *(one * 1.2 for one in flat[12:])]), POLICY) is None
    assert shift_of("tests", runs([*(one * 2 for one in flat[:12]), *flat[12:]]), POLICY) is None
    assert shift_of("tests", runs([*flat[:8], *(one * 2 for one in flat[8:])])[1:], POLICY) is None
    assert shift_of("tests", runs([4.0] * 24), POLICY) is None


def test_more_tests_that_take_as_long_each_are_no_slower_check_and_one_that_takes_long_is() -> None:
    seconds = [4.0 + n / 1000 for n in range(12)] + [8.0 + n / 1000 for n in range(12)]
    assert shift_of("tests", runs(seconds, [40] * 12 + [80] * 12), POLICY) is None
    assert shift_of("tests", runs(seconds, [40] * 12 + [41] * 12), POLICY) is not None


def test_pairs_tell_a_slower_tree_from_a_machine_that_was_slower() -> None:
    def shown(by: float) -> int:
        chance = Random(7)
        pairs = [
            [(chance.lognormvariate(0, NOISE), (1 + by) * chance.lognormvariate(0, NOISE)) for _ in range(6)]
            for _ in range(400)
        ]
        return sum(why_not_slower(one, POLICY) is None for one in pairs)

    # 5 % of trees that are no slower is what is declared, and all of those that take twice as long
    assert shown(0.0) <= 20 and shown(1.0) >= 396
    assert "the machine did" in str(why_not_slower([(4.0, 4.1)] * 6, POLICY))
    assert "may be chance" in str(why_not_slower([(4.0, 8.0)] * 4 + [(4.0, 1.0)] * 2, POLICY))


def test_policy_asks_for_nothing_that_half_of_the_loss_cannot_give() -> None:
    with pytest.raises(Invalid, match=r"by: 10\.0+% is not allowed"):
        Slower.parse({"runs": 24, "by": "10%"}, "opportunities.yaml")
