"""Which tunables may be offered, in which order, and how many policy allows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from harness.core.opportunity import Past, Standing, left_this_week, prospects, state_of
from harness.core.policy import Opportunities

NOW = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)
RULE = {"per_week": 2, "priority": "P3", "again_after": "30d", "session": "10m"}
POLICY = Opportunities.parse(RULE, "opportunities.yaml")
A, B = Standing("a", 8), Standing("b", 16)


def past(tunable: str, days: float, left_at: int | None) -> Past:
    return Past(tunable, NOW - timedelta(days=days), f"INF-{tunable}", left_at)


def states(*offers: Past) -> dict[str, str]:
    return {one.standing.tunable: one.state for one in prospects([A, B], offers, POLICY, NOW)}


def test_what_was_never_tried_is_open() -> None:
    assert states() == {"a": "open", "b": "open"}


def test_a_value_that_a_ticket_left_there_is_known_until_it_is_old_or_somebody_changes_it() -> None:
    assert states(past("a", 1, 8)) == {"b": "open", "a": "known"}
    assert states(past("a", 31, 8))["a"] == "open"
    assert states(past("a", 1, 64))["a"] == "open"
    assert states(past("a", 40, 8), past("a", 1, 8))["a"] == "known"


def test_what_a_ticket_is_at_is_under_way() -> None:
    assert states(past("a", 40, None))["a"] == "under_way"


def test_what_lies_ahead_is_offered_once_and_again_when_that_is_old() -> None:
    def state(days: float, ended: bool) -> str:
        offer = Past("trend:a", NOW - timedelta(days=days), "INF-1", None, ended=ended)
        return state_of("trend:a", [offer], POLICY, NOW)[0]

    assert state_of("trend:a", [past("a", 1, 8)], POLICY, NOW)[0] == "open"
    assert (state(1, ended=False), state(40, ended=False)) == ("under_way", "under_way")
    assert (state(1, ended=True), state(30, ended=True)) == ("known", "open")


def test_what_was_not_looked_at_for_longest_comes_first() -> None:
    order = [one.standing.tunable for one in prospects([A, B], [past("a", 40, 8), past("b", 50, 16)], POLICY, NOW)]
    assert order == ["b", "a"]


def test_policy_allows_so_many_in_any_seven_days() -> None:
    assert left_this_week([], POLICY, NOW) == 2
    assert left_this_week([past("a", 1, 8), past("b", 7, 16)], POLICY, NOW) == 1
    assert left_this_week([past("a", 1, 8), past("b", 6.9, 16), past("b", 0, 16)], POLICY, NOW) == 0
