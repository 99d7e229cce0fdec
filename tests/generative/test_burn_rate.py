"""Burn rate, budget and time to exhaustion for any counts; what a closed ticket changes, for any past. Pure values."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.burn_rate import WindowReading, budget_left, burn_rate, evaluate, exhausted_in_s
from harness.core.slo import Windows, parse_slos

TOTALS = st.integers(1, 10**12)
BUDGETS = st.floats(1e-6, 0.5)
PER_MINUTE = 1000


TABLE = Windows.parse(
    {"period": "100m", "tiers": [{"severity": "page", "budget": "96%", "long": "12m", "short": "3m"},
                                 {"severity": "ticket", "budget": "90%", "long": "60m", "short": "15m"}]},
    "table",
)  # fmt: skip
"""Factors of 8 and 1.5."""
DECLARED = {"name": "a", "target": "99%", "window": "table", "indicator": {"ratio": {"bad": "b", "total": "t"}}}
(OBJECTIVE,) = parse_slos({"slos": [DECLARED]}, "f", {"table": TABLE})


def burning(errors: Sequence[int], closed: int | None = None) -> bool:
    """Whether it burns after these minutes of errors, the last ticket having been closed before minute ``closed``."""
    readings = {}
    for window_s in OBJECTIVE.windows_s:
        minutes = round(window_s / 60)
        begin = len(errors) - minutes
        is_new = closed is not None and closed > begin
        readings[window_s] = WindowReading(
            sum(errors[begin:]), PER_MINUTE * minutes, window_s, fresh=sum(errors[closed:]) if is_new else None,
            fresh_total=PER_MINUTE * (len(errors) - (closed or 0)) if is_new else None,
        )  # fmt: skip
    return evaluate(OBJECTIVE, readings).burns is True


PASTS = st.lists(st.sampled_from([0, 0, 5, 20, 200, PER_MINUTE]), min_size=75, max_size=150)


@given(TOTALS, st.data(), BUDGETS)
def test_more_errors_burn_faster_leave_less_and_last_shorter(total: int, data: st.DataObject, budget: float) -> None:
    few, many = sorted((data.draw(st.integers(0, total)), data.draw(st.integers(0, total))))

    assert burn_rate(few, total, budget) <= burn_rate(many, total, budget)
    assert budget_left(few, total, budget) >= budget_left(many, total, budget)
    lasts = [
        exhausted_in_s(budget_left(bad, total, budget), burn_rate(bad, total, budget), 86400.0) for bad in (few, many)
    ]
    assert lasts[0] is None or (lasts[1] is not None and lasts[0] >= lasts[1])


@given(TOTALS, st.data(), BUDGETS, st.integers(1, 10**3))
def test_the_amount_of_traffic_does_not_matter(total: int, data: st.DataObject, budget: float, times: int) -> None:
    bad = data.draw(st.integers(0, total))

    assert burn_rate(bad * times, total * times, budget) == pytest.approx(burn_rate(bad, total, budget), rel=1e-12)


@given(TOTALS, BUDGETS, st.floats(1, 1e8))
def test_a_burn_of_one_uses_a_whole_budget_up_in_exactly_its_period(total: int, budget: float, period_s: float) -> None:
    assert exhausted_in_s(1.0, 1.0, period_s) == period_s
    assert exhausted_in_s(0.0, 1.0, period_s) == 0 and exhausted_in_s(1.0, 0.0, period_s) is None
    assert budget_left(0, total, budget) == 1


@given(PASTS, st.data())
def test_nothing_is_raised_of_what_was_before_the_ticket_was_closed(errors: list[int], data: st.DataObject) -> None:
    closed = data.draw(st.integers(0, len(errors)))

    assert not burning(errors[:closed] + [0] * (len(errors) - closed), closed)


@given(PASTS, st.data())
def test_what_would_be_raised_on_a_service_without_that_past_is_raised_with_it(
    errors: list[int], data: st.DataObject
) -> None:
    closed = data.draw(st.integers(0, len(errors)))

    if burning([0] * closed + errors[closed:]):
        assert burning(errors, closed)


@given(PASTS, st.data())
def test_a_closed_ticket_raises_nothing_that_burns_no_window(errors: list[int], data: st.DataObject) -> None:
    closed = data.draw(st.integers(0, len(errors)))

    if burning(errors, closed):
        assert burning(errors)
