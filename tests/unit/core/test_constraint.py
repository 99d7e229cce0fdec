"""What a ticket must not do: text that is understood or refused, and hours in time zones. Touches nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from harness.core.constraint import Constraint, OnlyUnder, check_fit, closed_until
from harness.core.errors import Invalid
from harness.core.manifest import PeakHours

PEAK = PeakHours(hours="09:00-17:00", days="Mon-Fri", zone="Europe/Berlin")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "text",
    ["requires approval", "only files under src/ratelimiter", "no changes during peak hours",
     "no changes 22:00-06:00 Fri-Mon America/New_York", "no changes 09:00-17:00 Sat UTC"],
)  # fmt: skip
def test_what_is_understood_reads_as_it_was_written(text: str) -> None:
    assert Constraint.parse(f"  {text} ").text == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("please be careful", "is not understood; write one of `requires approval`"),
        ("no new dependencies", "is understood, but nothing enforces it yet"),
        ("at most 1 node at once", "nothing enforces it yet"),
        ("deadline 2026-12-01T00:00Z", "nothing enforces it yet"),
        ("max error budget spend 5%", "nothing enforces it yet"),
        ("no changes 09:00-17:00 Mon-Fri Europe/Berlon", "'Europe/Berlon' is no time zone"),
        ("no changes 09:00-17:00 Mon-Xyz UTC", "days are Mon, Tue"),
        ("no changes 25:00-17:00 Mon UTC", "hours are like 09:00-17:00"),
        ("no changes 09:00-09:00 Mon UTC", "begin and end at the same minute"),
        ("only files under ../elsewhere", "relative to the root"),
        ("only files under /etc", "relative to the root"),
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


def test_peak_hours_that_a_service_does_not_declare_forbid_nothing_and_so_are_refused() -> None:
    with pytest.raises(Invalid, match="tiny declares no peak_hours"):
        check_fit(Constraint.parse("no changes during peak hours"), None, "tiny")


def test_a_path_covers_what_lies_below_it_and_nothing_that_only_begins_like_it() -> None:
    only = OnlyUnder("src/lim")
    assert only.outside(["src/lim/a.py", "src/lim", "src/limits.py", "README.md"]) == ["README.md", "src/limits.py"]
