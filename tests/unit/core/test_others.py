"""What is left to another ticket, and when that got worse. Values only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.criteria import Condition
from harness.core.events import Measurement
from harness.core.others import Claim, left_to_others, no_worse, worst

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SLOW = Claim("INF-2", "slow_share", "< 10%")
shares = st.floats(0, 1)


def measured(value: float | None, samples: int | None = 800, metric: str = "slow_share") -> Measurement:
    return Measurement(
        metric=metric, query="q", window_from=NOON, window_to=NOON + timedelta(seconds=2), value=value, samples=samples
    )


def test_what_was_broken_before_and_has_a_ticket_of_its_own_is_left_to_that() -> None:
    assert left_to_others([SLOW], own=set(), start=[measured(0.95)]) == {
        ("slow_share", "< 10%"): ("INF-2", measured(0.95))
    }


@pytest.mark.parametrize(
    ("own", "start"),
    [
        ({("slow_share", "< 10%")}, [measured(0.95)]),
        (set(), [measured(0.05)]),
        (set(), [measured(None)]),
        (set(), [measured(0.95, metric="error_share")]),
        (set(), []),
    ],
    ids=["its own aim", "it held", "nobody knows", "another metric", "never looked at"],
)
def test_all_else_is_asked_for_in_full(own: set[tuple[str, str]], start: list[Measurement]) -> None:
    assert left_to_others([SLOW], own=own, start=start) == {}


@given(shares, st.sampled_from(["INF-2", "INF-3"]))
def test_whatever_held_before_a_ticket_touched_anything_is_never_left_to_anybody(value: float, ticket: str) -> None:
    left = left_to_others([Claim(ticket, "slow_share", "< 10%")], own=set(), start=[measured(value)])
    assert bool(left) == (Condition.parse("< 10%").holds(value) is False)


@given(shares, shares, st.integers(1, 5_000), st.integers(1, 5_000), st.floats(1, 10))
def test_a_share_that_fell_is_never_called_worse(
    one: float, other: float, before: int, now: int, effect: float
) -> None:
    low, high = sorted((one, other))
    assert no_worse(measured(high, before), measured(low, now), "lower", effect) is not False or (
        # the same share of another number of requests is rounded to whole ones
        round(low * now) / now > round(high * before) / before
    )


@pytest.mark.parametrize(
    ("before", "now", "effect", "expected"),
    [
        (0.95, 0.955, 3.0, True),
        (0.95, 0.99, 3.0, False),
        (0.30, 0.40, 3.0, False),
        (0.03, 0.04, 8.0, True),
        (0.03, 0.09, 8.0, False),
    ],
)
def test_a_share_is_worse_when_more_than_chance_says_so(
    before: float, now: float, effect: float, expected: bool
) -> None:
    assert no_worse(measured(before), measured(now, 4_000), "lower", effect) is expected


@pytest.mark.parametrize(("now", "expected"), [(0.17, True), (0.159, True), (0.15, False), (0.4, True), (None, None)])
def test_what_has_no_samples_is_worse_by_the_margin_of_no_regression(now: float | None, expected: bool | None) -> None:
    assert no_worse(measured(0.167, None), measured(now, None), "higher", 1.0) is expected


@pytest.mark.parametrize(("now", "expected"), [(0.142, True), (0.13, True), (0.12, False), (-0.67, False)])
def test_of_a_free_share_the_margin_is_one_of_what_is_used(now: float, expected: bool) -> None:
    """A backlog that is worked off looked like less room on the live stack: 14.2 % free after 16.5 %."""
    assert no_worse(measured(0.165, None), measured(now, None), "higher", 1.0, free_share=True) is expected


@pytest.mark.parametrize(("before", "now"), [(None, 0.5), (0.5, None)])
def test_what_was_not_measured_is_not_known_to_be_no_worse(before: float | None, now: float | None) -> None:
    assert no_worse(measured(before), measured(now), "lower", 1.0) is None


def test_the_start_is_the_worst_of_what_was_seen_for_users() -> None:
    readings = [measured(0.2), measured(None), measured(0.9), measured(0.5)]
    assert worst(readings, "lower") == readings[2] and worst(readings, "higher") == readings[0]
    assert worst([measured(None)], "lower") is None
