"""Whose turn it is at the lock, and who may interrupt a verification. Values only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import events as e
from harness.core.lifecycle import Life, State
from harness.core.projections.queue import Backlog, backlog
from harness.core.ticket import Attempt, Ticket
from harness.core.turn import TURN_S, ahead_of, in_turn, may_interrupt, open_waits, turn

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BLOB = "sha256:" + "0" * 64
AGING_S = 60.0
PRIORITIES = ("P0", "P1", "P2", "P3")


def wait(number: int, priority: str = "P2", budget_left: float | None = None) -> e.DeliveryWaits:
    filed_at = NOON + timedelta(seconds=number)
    return e.DeliveryWaits.model_validate(
        {"ticket_id": f"INF-{number}", "attempt": 1, "priority": priority, "filed_at": filed_at, "since": filed_at,
         "budget_left": budget_left}
    )  # fmt: skip


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
        assert ahead_of(one, waits, NOON, AGING_S) == ranked[:place]


def test_of_two_as_urgent_the_one_with_the_least_error_budget_comes_first_and_one_without_any_last() -> None:
    plenty, none_known, overspent = wait(1, "P1", 0.9), wait(2, "P1"), wait(3, "P1", -0.5)
    incident = wait(4, "P0")
    waits = [plenty, none_known, overspent, incident]
    assert ahead_of(none_known, waits, NOON, AGING_S) == [incident, overspent, plenty]


def test_who_waits_long_enough_goes_before_any_newcomer() -> None:
    old = wait(0, "P3")
    for times, ahead in ((2, True), (4, False)):
        came_at = NOON + timedelta(seconds=times * AGING_S)
        newcomer = wait(0, "P0", 0.0).model_copy(update={"ticket_id": "INF-9", "since": came_at})
        assert (newcomer in ahead_of(old, [old, newcomer], came_at, AGING_S)) is ahead


def test_hours_that_are_still_closed_make_nobody_more_urgent() -> None:
    closed = wait(0, "P3").model_copy(update={"since": NOON + timedelta(days=3)})
    assert turn(closed, NOON + timedelta(days=3), AGING_S)[0] == turn(closed, NOON, AGING_S)[0] == 3


def test_a_wait_of_an_earlier_version_ages_since_its_ticket_was_filed() -> None:
    one = wait(0, "P3").model_copy(update={"since": None})
    assert turn(one, NOON + timedelta(seconds=AGING_S), AGING_S)[0] == 2


arrivals = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(PRIORITIES), st.none() | st.floats(-2, 1)), min_size=1, max_size=60
)


@given(arrivals=arrivals, delivery_s=st.integers(1, 600))
def test_nobody_waits_longer_than_for_those_before_it_and_those_of_the_time_in_which_it_ages(
    arrivals: list[tuple[int, str, float | None]], delivery_s: int
) -> None:
    # given deliveries that come as they like, to a lock that is never free while one waits
    came_s, waiting, number = 0, [], 0
    for gap_s, priority, left in arrivals:
        came_s, number = came_s + gap_s, number + 1
        waiting.append(wait(number, priority, left).model_copy(update={"since": NOON + timedelta(seconds=came_s)}))
    all_of_them, free_at, served = list(waiting), NOON, {}
    while waiting:
        there = [one for one in waiting if at(one) <= free_at] or [min(waiting, key=at)]
        free_at = max(free_at, at(there[0]))
        first = min(there, key=lambda one: turn(one, free_at, AGING_S))
        waiting.remove(first)
        served[first.ticket_id] = free_at
        free_at += timedelta(seconds=delivery_s)
    # then whoever was served before one that had come earlier came within the time in which that one ages
    for one in all_of_them:
        level = int(one.priority[1])
        before = [other for other in all_of_them if served[other.ticket_id] < served[one.ticket_id]]
        overtook = [other for other in before if at(other) > at(one)]
        assert all(at(other) - at(one) <= timedelta(seconds=(level + 1) * AGING_S) for other in overtook)
        # and it waits for those alone, and for what was delivered when it came
        assert served[one.ticket_id] - at(one) <= timedelta(seconds=(len(before) + 1) * delivery_s)


def at(one: e.DeliveryWaits) -> datetime:
    assert one.since is not None
    return one.since


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


def test_the_backlog_counts_by_priority_who_waits_and_may_and_how_long_the_first_has() -> None:
    def queued(ticket_id: str, priority: str, since: datetime | None, **more: Any) -> tuple[str, dict[str, Any]]:
        document = {"priority": priority, "attempt": 1, "delivers": False, "since": NOON.isoformat(),
                    "waits_since": since and since.isoformat(), **more}  # fmt: skip
        return ticket_id, document

    now, ticket = NOON + timedelta(seconds=90), {"life": {"state": "queued", "attempt": 1}}
    deliveries = dict([
        queued("INF-1", "P1", NOON + timedelta(seconds=30)), queued("INF-2", "P1", NOON),
        queued("INF-3", "P3", None),  # of an earlier version
        queued("INF-4", "P2", now + timedelta(hours=1)),  # its hours are closed
        queued("INF-5", "P2", NOON, delivers=True), queued("INF-6", "P2", NOON), queued("INF-7", "P2", NOON),
    ])  # fmt: skip
    tickets = {f"INF-{n}": ticket for n in range(1, 6)}
    tickets["INF-6"] = {"life": {"state": "paused", "attempt": 1}}
    tickets["INF-7"] = {"life": {"state": "queued", "attempt": 2}}
    none = Backlog(0, 0.0)
    assert backlog(deliveries, tickets, now) == {
        "P0": none, "P1": Backlog(2, 90.0), "P2": none, "P3": Backlog(1, 90.0),
    }  # fmt: skip
