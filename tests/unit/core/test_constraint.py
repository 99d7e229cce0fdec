"""What a ticket must not do: text that is understood or refused, and hours in time zones. Touches nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from harness.core.constraint import Constraint, OnlyUnder, check_fit, check_time, closed_until
from harness.core.errors import Invalid
from harness.core.manifest import PeakHours

PEAK = PeakHours(hours="09:00-17:00", days="Mon-Fri", zone="Europe/Berlin")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "text",
    ["requires approval", "only files under src/ratelimiter", "no changes during peak hours",
     "no changes 22:00-06:00 Fri-Mon America/New_York", "no changes 09:00-17:00 Sat UTC",
     "no changes 00:00-24:00 Sat-Sun UTC", "no new dependencies", "at most 1 node at once", "at most 3 nodes at once",
     "max error budget spend 5%", "max error budget spend 0.5%",
     "deadline 2026-12-01T00:00Z", "deadline 2026-12-01T01:00:00+01:00"],
)  # fmt: skip
def test_what_is_understood_reads_as_it_was_written(text: str) -> None:
    assert Constraint.parse(f"  {text} ").text == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("please be careful", "is not understood; write one of `requires approval`"),
        ("at most 0 nodes at once", "nearest form: `at most 2 nodes at once`"),
        ("deadline 2026-12-01T00:00", "says no time zone; write it like 2026-12-01T00:00Z"),
        ("deadline soon", "'soon' is no moment"),
        ("deadline 2026-12-01\x1b00:00Z", r"'2026-12-01\\x1b00:00Z' is no moment"),
        ("deadline 20261201T0000Z", "is no moment"),
        ("deadline 2026-12-01T00,00Z", "is no moment"),
        ("max error budget spend 0%", "allowed is above 0% and up to 100%"),
        ("max error budget spend 101%", "allowed is above 0% and up to 100%"),
        ("max error budget spend 5", "nearest form: `max error budget spend 5%`"),
        ("no changes 09:00-17:00 Mon-Fri Europe/Berlon", "'Europe/Berlon' is no time zone; nearest: Europe/Berlin"),
        ("no changes 09:00-17:00 Mon-Fri localtime", "'localtime' is no time zone"),
        ("no changes 09:00-17:00 Mon-Fri right/Europe/Berlin", "is no time zone; nearest: Europe/Berlin"),
        ("no changes 9:00-17:00 Mon-Fri Asia/Tokyo", "nearest form: `no changes 09:00-17:00 Mon-Fri Asia/Tokyo`"),
        ("no chages in peek hours", "nearest form: `no changes during peak hours`"),
        ("no changes 09:00-17:00 Mon-Xyz UTC", "days are Mon, Tue"),
        ("no changes 25:00-17:00 Mon UTC", "hours are like 09:00-17:00"),
        ("no changes 09:00-09:00 Mon UTC", "begin and end at the same minute"),
        ("only files under ../elsewhere", "relative to the root"),
        ("only files under /etc", "relative to the root"),
        ("only files under .", "no file of a change is named like this; write the path of a file or a folder"),
        ("only files under ./src", "no file of a change is named like this"),
        ("only files under src//app", "no file of a change is named like this"),
        ("only files under src/*", "no file of a change is named like this"),
    ],
)
def test_what_is_not_understood_or_not_enforced_is_refused(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said.replace("(", r"\(")):
        Constraint.parse(text)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        (datetime(2026, 3, 2, 8, 59, tzinfo=BERLIN), None),
        (datetime(2026, 3, 2, 9, 0, tzinfo=BERLIN), datetime(2026, 3, 2, 17, tzinfo=BERLIN)),
        (datetime(2026, 3, 2, 16, 59, tzinfo=BERLIN), datetime(2026, 3, 2, 17, tzinfo=BERLIN)),
        (datetime(2026, 3, 2, 17, 0, tzinfo=BERLIN), None),
        (datetime(2026, 3, 1, 12, 0, tzinfo=BERLIN), None),
        # the day after the clocks went forward: the same hour in Berlin is another one in UTC
        (datetime(2026, 3, 30, 7, 30, tzinfo=UTC), datetime(2026, 3, 30, 15, tzinfo=UTC)),
        (datetime(2026, 3, 27, 7, 30, tzinfo=UTC), None),
    ],
)
def test_peak_hours_are_those_of_the_services_time_zone(now: datetime, until: datetime | None) -> None:
    closed = closed_until([Constraint.parse("no changes during peak hours")], PEAK, now)
    assert (closed[1] if closed else None) == until


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin() -> None:
    night = [Constraint.parse("no changes 22:00-06:00 Fri UTC")]
    assert closed_until(night, None, datetime(2026, 3, 6, 23, tzinfo=UTC)) is not None
    closed = closed_until(night, None, datetime(2026, 3, 7, 5, tzinfo=UTC))
    assert closed is not None and closed[1] == datetime(2026, 3, 7, 6, tzinfo=UTC)
    assert closed_until(night, None, datetime(2026, 3, 6, 5, tzinfo=UTC)) is None
    assert closed_until(night, None, datetime(2026, 3, 7, 23, tzinfo=UTC)) is None


def test_of_several_hours_the_one_that_lasts_longest_counts() -> None:
    both = [Constraint.parse("no changes 09:00-12:00 Mon UTC"), Constraint.parse("no changes 10:00-14:00 Mon UTC")]
    closed = closed_until(both, None, datetime(2026, 3, 2, 11, tzinfo=UTC))
    assert closed is not None and closed[0] == both[1]


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        # 2026-03-29, Berlin: after 01:59 comes 03:00. Hours that begin in the hour that is skipped begin after it,
        ("02:30-04:00", "00:59Z", None),
        ("02:30-04:00", "01:00Z", "02:00Z"),
        # and hours that end in it are over when it would begin
        ("00:00-02:30", "00:59Z", "01:00Z"),
        ("00:00-02:30", "01:00Z", None),
        ("01:00-03:30", "01:15Z", "01:30Z"),
    ],
)
def test_when_the_clocks_go_forward_hours_are_what_is_left_of_them(hours: str, now: str, until: str | None) -> None:
    assert closed_on("2026-03-29", hours, now) == until


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        # 2026-10-25, Berlin: after the first 02:59 (00:59Z) comes 02:00 again. Hours begin at the first 02:30
        ("02:30-04:00", "00:29Z", None),
        ("02:30-04:00", "00:30Z", "03:00Z"),
        # and end at the last: between two of them nothing is changed either
        ("00:00-02:30", "00:45Z", "01:30Z"),
        ("00:00-02:30", "01:30Z", None),
        ("02:15-02:45", "01:10Z", "01:45Z"),
        # hours whose last minute comes once are over after it, though 02:00 will be shown once more
        ("00:00-02:00", "00:00Z", None),
        ("02:00-03:00", "00:00Z", "02:00Z"),
    ],
)
def test_when_the_clocks_go_back_hours_are_all_that_is_shown_as_them(hours: str, now: str, until: str | None) -> None:
    assert closed_on("2026-10-25", hours, now) == until


def closed_on(day: str, hours: str, now: str) -> str | None:
    closed = closed_until(
        [Constraint.parse(f"no changes {hours} Sun Europe/Berlin")], None, datetime.fromisoformat(f"{day}T{now}")
    )
    return f"{closed[1].astimezone(UTC):%H:%MZ}" if closed else None


def test_the_end_that_is_told_is_that_of_all_hours_that_follow_upon_each_other() -> None:
    # given a Saturday, and hours that go on where the day's end
    limits = [*map(Constraint.parse, ["no changes 00:00-24:00 Sat-Sun UTC", "no changes 23:00-01:00 Sun UTC"])]
    closed = closed_until(limits, None, datetime(2026, 3, 7, 12, tzinfo=UTC))
    assert closed == (limits[0], datetime(2026, 3, 9, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["no changes 00:00-24:00 Mon-Sun UTC"], "leaves no hour of any week"),
        (["no changes 00:00-12:00 Mon-Sun UTC", "no changes 12:00-24:00 Mon-Sun UTC"], "leaves no hour of any week"),
        (["deadline 2026-03-02T10:00Z"], "the deadline 2026-03-02T10:00+00:00 is over; now it is 2026-03-02T11:00"),
        (["deadline 2026-03-02T15:00Z", "no changes during peak hours"],
         "allows no change before 2026-03-02T17:00+01:00, and the deadline is at 2026-03-02T15:00"),
    ],
)  # fmt: skip
def test_constraints_that_leave_no_time_for_a_change_are_refused(texts: list[str], said: str) -> None:
    with pytest.raises(Invalid, match=re.escape(said)):
        check_time([Constraint.parse(text) for text in texts], PEAK, datetime(2026, 3, 2, 11, tzinfo=UTC))


def test_peak_hours_that_a_service_does_not_declare_forbid_nothing_and_so_are_refused() -> None:
    with pytest.raises(Invalid, match="tiny declares no peak_hours"):
        check_fit(Constraint.parse("no changes during peak hours"), None, "tiny")


def test_a_path_covers_what_lies_below_it_and_nothing_that_only_begins_like_it() -> None:
    only = OnlyUnder("src/lim")
    assert only.outside(["src/lim/a.py", "src/lim", "src/limits.py", "README.md"]) == ["README.md", "src/limits.py"]
