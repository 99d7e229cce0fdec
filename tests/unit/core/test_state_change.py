"""Which changes of state are told, and how many of what flaps. Pure values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import pytest

from harness.core.events import ToldState
from harness.core.state_change import MOST, WITHIN_S, Told, after_telling, look

State = ToldState | Literal["pending"]
DAY_S = 86_400


def told_of(states: Iterable[State], every_s: float = 1.0) -> list[tuple[float, ToldState | None, ToldState]]:
    """What is told of states that are seen one after the other: when, before and after."""
    told: Told | None = None
    tellings = []
    for number, state in enumerate(states):
        before = told.state if told else None
        told, tells = look(told, state, number * every_s)
        if tells:
            assert told is not None
            tellings.append((number * every_s, before, told.seen))
            told = after_telling(told, before, number * every_s)
    return tellings


def test_a_change_is_told_in_the_tick_that_sees_it_and_nothing_while_nothing_changes() -> None:
    states: list[State] = ["ok"] * 5 + ["burning"] * 5 + ["ok"] * 5

    assert told_of(states) == [(0, None, "ok"), (5, "ok", "burning"), (10, "burning", "ok")]


def test_an_invariant_that_fails_for_less_than_it_may_is_in_no_other_state_yet() -> None:
    assert told_of(["pending", "ok", "pending", "ok", "pending", "violated"]) == [
        (1, None, "ok"), (5, "ok", "violated"),
    ]  # fmt: skip


def test_what_flaps_all_day_is_told_so_many_times_an_hour_and_no_more() -> None:
    flapping: list[State] = ["ok", "no_data"] * (DAY_S // 2)

    assert len(told_of(flapping)) <= MOST * (DAY_S / WITHIN_S + 1)


def test_noise_does_not_keep_a_violation_from_being_told_at_once() -> None:
    noise: list[State] = ["ok", "no_data"] * 100

    assert told_of([*noise, "ok", "violated"])[-1] == (201, "no_data", "violated")


def test_a_state_that_there_was_no_room_to_tell_is_told_once_there_is() -> None:
    # given a state that has changed as often as is told within an hour, and once more
    states: list[State] = ["ok", "no_data"] * (MOST // 2) + ["ok"] * 5_000
    # then that is told when the first of the hour is an hour old
    assert told_of(states)[-1] == (WITHIN_S, "no_data", "ok")


@pytest.mark.parametrize("times", [1, 4])
def test_what_was_not_told_is_counted(times: int) -> None:
    told: Told | None = None
    for number in range(MOST):
        before = told.state if told else None
        told, tells = look(told, ("ok", "no_data")[number % 2], float(number))  # type: ignore[arg-type]
        assert told is not None and tells
        told = after_telling(told, before, float(number))
    for number in range(2 * times):
        told, tells = look(told, ("ok", "no_data")[number % 2], 10.0 + number)  # type: ignore[arg-type]
        assert told is not None and not tells
    told, tells = look(told, "burning", 100.0)
    assert told is not None and tells and told.untold == 2 * times + 1
