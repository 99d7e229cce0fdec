"""Weeks: as ISO 8601 counts them, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from harness.core.errors import Invalid
from harness.core.week import Week


@pytest.mark.parametrize(
    ("written", "monday"),
    [("2026-W47", (2026, 11, 16)), ("2026-W01", (2025, 12, 29)), ("2026-W53", (2026, 12, 28))],
)
def test_a_week_begins_on_its_monday_and_is_written_as_it_was_read(written: str, monday: tuple[int, int, int]) -> None:
    week = Week.parse(written)

    assert week.start == datetime(*monday, tzinfo=UTC)
    assert week.end - week.start == timedelta(days=7)
    assert week.text == written


@pytest.mark.parametrize(
    "written",
    ["", "2026", "2026-47", "2026-W00", "2026-W54", "2025-W53", "0000-W01", "9999-W53", "2026-W47 ", "²⁰²⁶-W01"],
)
def test_what_is_no_week_is_refused_with_the_form_that_is(written: str) -> None:
    with pytest.raises(Invalid, match="written like 2026-W47"):
        Week.parse(written)


def test_a_moment_lies_in_one_week_whatever_its_zone() -> None:
    sunday_evening_in_new_york = datetime(2026, 11, 22, 20, tzinfo=timezone(timedelta(hours=-5)))

    week = Week.of(sunday_evening_in_new_york)

    assert week == Week.parse("2026-W48") and week.holds(sunday_evening_in_new_york)
    assert not week.before.holds(sunday_evening_in_new_york) and week.before.end == week.start
