"""When data count as away, and as back. Pure values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from harness.core.sight import Sight, is_away, look

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_data_are_away_once_nothing_was_seen_for_long_whatever_the_reason_was() -> None:
    gone = look(look(None, "no such series", NOON), "no answer", after(30))

    assert gone == Sight(blind="no answer", since=NOON)
    assert is_away(gone, after(59), 60) is None
    assert is_away(gone, after(60), 60) is True


def test_data_are_back_once_they_were_seen_for_as_long() -> None:
    back = look(Sight(blind="no answer", since=NOON), None, after(90))

    assert is_away(back, after(149), 60) is None
    assert is_away(back, after(150), 60) is False


def test_one_look_that_sees_nothing_begins_the_time_anew() -> None:
    flickering = look(look(Sight(blind="no answer", since=NOON), None, after(50)), "no answer", after(51))

    assert is_away(flickering, after(100), 60) is None
