"""Who asks when: shares, cycles and due times of the open model. Pure, no clock."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice, pairwise

import pytest

from traffic.schedule import ABUSIVE_KEYS, due_ns, visits


def test_eleven_of_each_hundred_requests_are_of_abusive_keys_which_take_turns() -> None:
    asked = Counter(islice(visits(4000, shuffle=random.Random(1)), 20_000))
    abusive = [asked[key] for key in range(ABUSIVE_KEYS)]
    assert sum(abusive) == 2_200
    assert max(abusive) - min(abusive) <= 1


def test_each_good_key_is_visited_once_per_cycle_in_a_new_order() -> None:
    # given two cycles of 100 good keys
    good = [key for key in islice(visits(120, shuffle=random.Random(1)), 300) if key >= ABUSIVE_KEYS][:200]
    first, second = good[:100], good[100:]
    # then each holds every good key once, and the orders differ
    assert sorted(first) == sorted(second) == list(range(ABUSIVE_KEYS, 120))
    assert first != second


def test_abusive_requests_are_spread_evenly() -> None:
    numbers = [n for n, key in enumerate(islice(visits(4000, shuffle=random.Random(1)), 1_000)) if key < ABUSIVE_KEYS]
    assert {later - earlier for earlier, later in pairwise(numbers)} == {9, 10}


def test_due_times_do_not_drift() -> None:
    assert due_ns(3, start_ns=5, rate_per_s=400) == 5 + 7_500_000
    assert due_ns(3 * 86_400, start_ns=0, rate_per_s=3) == 86_400 * 10**9


def test_a_play_without_good_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="keys: 20, must be above 20"):
        visits(20, shuffle=random.Random(1))
