"""What is spent of an error budget beyond what would have been, as a rule over counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.overspend import beyond, has_just_begun, share_spent, why_too_much
from harness.core.sequential import Counts

counts = st.integers(1, 10**6).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


def test_spent_is_what_goes_beyond_the_share_of_before() -> None:
    # given 1 % before, and 3 % of 10000 events since
    events = beyond(300, 10_000, 10, 1000)
    # then two thirds of them are the delivery's, which is a fifth of 1 % of the period's 100000 events
    assert events == pytest.approx(200)
    assert share_spent(events, 100_000, 0.01) == pytest.approx(0.2)
    assert why_too_much("latency", 0.2, 0.2) == ""
    assert "20.00% of that of latency, more than 5%" in why_too_much("latency", 0.2, 0.05)


@given(counts, counts)
def test_no_more_is_spent_than_there_were_bad_events_and_never_less_than_nothing(
    since: tuple[int, int], before: tuple[int, int]
) -> None:
    assert 0 <= beyond(*since, *before) <= since[0] + 1e-6
    assert beyond(*before, *before) == 0 == beyond(0, 0, *before)


@pytest.mark.parametrize(
    ("short", "long", "begun"),
    [((19, 1200), (58, 4800), False), ((600, 1200), (640, 4800), True), ((1140, 1200), (4560, 4800), False),
     ((3, 300), (3, 300), True)],
)  # fmt: skip
def test_trouble_has_just_begun_where_chance_does_not_make_the_short_window_worse(
    short: tuple[int, int], long: tuple[int, int], begun: bool
) -> None:
    assert has_just_begun(Counts(*short), Counts(*long)) is begun
