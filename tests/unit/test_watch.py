"""When the watch looks next. Touches nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from workflows.watch import EVERY, SETTLES, until_next_sample

SAMPLED = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(("after_s", "wait_s"), [(0.1, 0.96), (1.0, 0.06), (1.06, 1.0), (1.5, 0.56), (600.0, 0.06)])
def test_the_next_look_is_just_after_a_sample(after_s: float, wait_s: float) -> None:
    assert until_next_sample(SAMPLED, SAMPLED + timedelta(seconds=after_s)) == timedelta(seconds=wait_s)


def test_without_a_sample_so_far_it_is_in_a_second() -> None:
    assert until_next_sample(None, SAMPLED) == EVERY


@pytest.mark.parametrize("back_s", [0.5, 30.0, 3600.0])
def test_a_clock_that_was_set_back_does_not_make_the_watch_wait_for_it(back_s: float) -> None:
    assert until_next_sample(SAMPLED, SAMPLED - timedelta(seconds=back_s)) <= EVERY + SETTLES
