"""Whose turn it is at the lock, and who may interrupt a verification. Values only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import events as e
from harness.core.lifecycle import Life, State
from harness.core.ticket import Attempt, Ticket
from harness.core.turn import TURN_S, ahead_of, in_turn, may_interrupt, open_waits

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BLOB = "sha256:" + "0" * 64
PRIORITIES = ("P0", "P1", "P2", "P3")


def wait(number: int, priority: str = "P2") -> e.DeliveryWaits:
    filed_at = NOON + timedelta(seconds=number)
    return e.DeliveryWaits.model_validate(
        {"ticket_id": f"INF-{number}", "attempt": 1, "priority": priority, "filed_at": filed_at}
    )


def holder(priority: str, state: State = State.VERIFYING, token: int | None = 1) -> Ticket:
    filed = e.TicketFiled.model_validate(
        {"ticket_id": "INF-1", "type": "improvement", "service": "s", "priority": priority, "source": "human",
         "spec": BLOB}
    )  # fmt: skip
    attempt = Attempt(1, "runbook", "b", None, NOON)
    return Ticket("INF-1", filed, NOON, life=Life(state=state, attempt=1, token=token), attempts=(attempt,))


@given(st.lists(st.sampled_from(PRIORITIES), min_size=2, max_size=8))
def test_of_those_that_wait_everyone_is_behind_all_that_are_more_urgent_or_older(priorities: list[str]) -> None:
    waits = [wait(number, priority) for number, priority in enumerate(priorities, start=1)]
    ranked = sorted(waits, key=lambda one: (one.priority, one.filed_at))
    for place, one in enumerate(ranked):
        assert ahead_of(one, waits) == ranked[:place]


def test_who_had_the_lock_waits_no_more_until_it_says_so_again() -> None:
    one = wait(1)
    assert open_waits([(5, one)], []) == [one]
    assert open_waits([(5, one)], [(7, ("INF-1", 1))]) == []
    assert open_waits([(5, one), (9, one)], [(7, ("INF-1", 1))]) == [one]


def test_a_turn_that_is_let_pass_goes_to_the_next() -> None:
    first, second = wait(1), wait(2)
    due = {("INF-1", 1): NOON}
    assert in_turn([first, second], due, NOON + timedelta(seconds=TURN_S - 1)) == first
    assert in_turn([first, second], due, NOON + timedelta(seconds=TURN_S)) == second
    due[("INF-2", 1)] = NOON + timedelta(seconds=TURN_S)
    assert in_turn([first, second], due, NOON + timedelta(seconds=2 * TURN_S)) is None


@pytest.mark.parametrize(("own", "other"), list(product(PRIORITIES, PRIORITIES)))
def test_a_p0_or_p1_interrupts_the_verification_of_what_is_less_urgent(own: str, other: str) -> None:
    assert may_interrupt(own, holder(other)) == (own in ("P0", "P1") and own < other)


@pytest.mark.parametrize("state", sorted(set(State) - {State.VERIFYING}))
def test_nothing_but_a_verification_is_interrupted(state: State) -> None:
    assert not may_interrupt("P0", holder("P3", state))


def test_what_does_not_hold_the_lock_or_is_on_its_way_back_is_not_interrupted() -> None:
    assert not may_interrupt("P0", holder("P3", token=None))
    one = holder("P3")
    going = replace(one.attempt, way_back=e.WayBackBegun(attempt=1, reason="r", main="m"))
    assert not may_interrupt("P0", replace(one, attempts=(going,)))
