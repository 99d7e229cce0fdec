"""Every constraint that can be said is written as text that says the same, and hours are those of a zone's clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from harness.core.constraint import (
    DAYS,
    ClosedHours,
    Constraint,
    Deadline,
    DuringPeakHours,
    ErrorBudgetSpend,
    Hours,
    NodesAtOnce,
    NoNewDependencies,
    OnlyUnder,
    RequiresApproval,
    check_time,
    closed_until,
)
from harness.core.criteria import Condition, Duration
from harness.core.errors import Invalid

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata",
         "Africa/Casablanca", "Pacific/Apia"]  # fmt: skip
"""With hours that are skipped and that come twice: whole ones, half ones, at midnight; and one that skipped a day."""

minutes = st.integers(min_value=0, max_value=24 * 60 - 1).map(lambda n: f"{n // 60:02d}:{n % 60:02d}")
spans = st.tuples(minutes, minutes).filter(lambda ends: ends[0] != ends[1]).map("-".join)
days = st.one_of(st.sampled_from(DAYS), st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS)).map("-".join))
hours = st.builds(Hours.parse, spans | st.just("00:00-24:00"), days, st.sampled_from(ZONES))
moments = st.datetimes(datetime(2007, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))
paths = st.from_regex(r"[a-z0-9_]{1,8}(/[a-z0-9_]{1,8}){0,3}/?", fullmatch=True)
deadlines = moments.map(lambda at: Deadline(at.isoformat())) | moments.map(lambda at: Deadline(f"{at:%Y-%m-%dT%H:%M}Z"))
constraints: st.SearchStrategy[Constraint] = st.one_of(
    st.sampled_from([RequiresApproval(), DuringPeakHours(), NoNewDependencies()]),
    st.builds(OnlyUnder, paths),
    st.builds(ClosedHours, hours),
    st.builds(NodesAtOnce, st.integers(min_value=1, max_value=999_999_999)),
    deadlines,
    st.builds(ErrorBudgetSpend, st.from_regex(r"[1-9][0-9]?(\.[0-9]{1,6})?|0\.[0-9]{0,5}[1-9]|100", fullmatch=True)),
)


@given(constraints)
def test_a_constraint_survives_its_text(constraint: Constraint) -> None:
    assert Constraint.parse(constraint.text) == constraint


@given(constraints, st.data())
def test_a_slip_of_the_pen_is_refused_or_says_something_else_and_never_breaks_the_parser(
    constraint: Constraint, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(constraint.text) - 1))
    slip = constraint.text[:at] + data.draw(st.text(max_size=2)) + constraint.text[at + 1 :]
    try:
        read = Constraint.parse(slip)
    except Invalid as refused:
        assert Constraint.parse(nearest(refused))
    else:
        assert Constraint.parse(read.text) == read


@given(st.text())
@example("under 1,5 s")
@example("< 5 msec")
def test_whatever_is_refused_the_form_that_is_named_instead_can_be_written(text: str) -> None:
    for parse in (Condition.parse, Duration.parse, Constraint.parse):
        try:
            parse(text)
        except Invalid as refused:
            assert parse(nearest(refused))


def nearest(refused: Invalid) -> str:
    (form,) = re.findall(r"; nearest form: `([^`]+)`$", str(refused))
    return str(form)


@given(hours, moments)
@example(Hours.parse("02:30-04:00", "Sun", "Europe/Berlin"), datetime(2026, 3, 29, 1, 10, tzinfo=UTC))
@example(Hours.parse("00:00-02:30", "Sun", "Europe/Berlin"), datetime(2026, 10, 25, 1, 10, tzinfo=UTC))
def test_hours_hold_whenever_the_clock_of_their_zone_shows_them(span: Hours, now: datetime) -> None:
    if shown(span, now):
        end = span.ends_at(now)
        assert end is not None and now < end <= now + timedelta(hours=26)


@given(hours, moments)
def test_hours_hold_at_no_other_time_but_between_two_showings_of_one_minute(span: Hours, now: datetime) -> None:
    end = span.ends_at(now)
    around = [now.astimezone(ZoneInfo(span.zone)) + timedelta(hours=n) for n in (-2, 2)]
    if end is not None and around[0].utcoffset() == around[1].utcoffset():
        assert shown(span, now)


@given(hours, moments)
def test_when_hours_are_over_they_are_over_unless_the_next_ones_begin(span: Hours, now: datetime) -> None:
    end = span.ends_at(now)
    if end is None or (again := span.ends_at(end)) is None:
        return
    assert again > end
    wall = end.astimezone(ZoneInfo(span.zone))
    assert wall.time() == span.opens or wall.utcoffset() != (wall - timedelta(hours=3)).utcoffset()


def shown(span: Hours, now: datetime) -> bool:
    """The plain reading: what clock and calendar on a wall in the zone say."""
    wall = now.astimezone(ZoneInfo(span.zone))
    at, today, yesterday = wall.time(), wall.weekday() in span.days, (wall.weekday() - 1) % 7 in span.days
    if span.opens < span.closes:
        return today and span.opens <= at < span.closes
    return (today and at >= span.opens) or (yesterday and at < span.closes)


@given(st.lists(hours, min_size=1, max_size=3), moments)
def test_when_a_ticket_may_go_on_none_of_its_hours_forbid_it_or_it_is_refused_when_it_is_filed(
    several: list[Hours], now: datetime
) -> None:
    limits = [ClosedHours(one) for one in several]
    try:
        check_time(limits, None, now)
    except Invalid as refused:
        assert "leaves no hour of any week" in str(refused)
        return
    closed = closed_until(limits, None, now)
    opens = closed[1] if closed else now
    assert all(one.ends_at(opens) is None for one in several)
    assert closed is None or closed[0] in limits
