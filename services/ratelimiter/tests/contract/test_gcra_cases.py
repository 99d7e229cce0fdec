"""Exact cases of the decision, worked out by hand. Calls the pure function only."""

from __future__ import annotations

import pytest

from ratelimiter.gcra import NEVER, Decision, Quota, decide

SECOND_NS = 10**9
TEN_A_MINUTE = Quota(count=10, period_ns=60 * SECOND_NS, burst=10)
NOW_NS = 1_000 * SECOND_NS


def test_a_new_key_spends_from_a_full_bucket() -> None:
    decision, tat = decide(TEN_A_MINUTE, 0, 1, NOW_NS)
    assert decision == Decision(True, 9, 0, 6 * SECOND_NS, 6 * SECOND_NS)
    assert tat == NOW_NS + 6 * SECOND_NS


def test_the_whole_burst_can_be_spent_at_one_moment_and_no_token_more() -> None:
    tat, allowed = 0, 0
    for _ in range(12):
        decision, tat = decide(TEN_A_MINUTE, tat, 1, NOW_NS)
        allowed += decision.allowed
    assert allowed == 10
    assert decision == Decision(False, 0, 6 * SECOND_NS, 6 * SECOND_NS, 60 * SECOND_NS)


@pytest.mark.parametrize(("early_ns", "allowed"), [(1, False), (0, True)])
def test_a_token_is_back_at_its_nanosecond_and_not_before(early_ns: int, allowed: bool) -> None:
    _, tat = decide(TEN_A_MINUTE, 0, 10, NOW_NS)
    decision, _ = decide(TEN_A_MINUTE, tat, 1, NOW_NS + 6 * SECOND_NS - early_ns)
    assert decision.allowed is allowed
    assert decision.retry_after_ns == early_ns


def test_a_denial_changes_nothing() -> None:
    _, tat = decide(TEN_A_MINUTE, 0, 8, NOW_NS)
    denied, unchanged = decide(TEN_A_MINUTE, tat, 3, NOW_NS)
    assert denied == Decision(False, 2, 6 * SECOND_NS, 6 * SECOND_NS, 48 * SECOND_NS)
    assert unchanged == tat


def test_cost_0_is_a_peek_that_is_always_allowed() -> None:
    _, tat = decide(TEN_A_MINUTE, 0, 10, NOW_NS)
    decision, unchanged = decide(TEN_A_MINUTE, tat, 0, NOW_NS)
    assert decision == Decision(True, 0, 0, 6 * SECOND_NS, 60 * SECOND_NS)
    assert unchanged == tat


def test_a_peek_at_a_full_bucket_says_that_nothing_more_will_come() -> None:
    assert decide(TEN_A_MINUTE, 0, 0, NOW_NS) == (Decision(True, 10, 0, 0, 0), 0)


@pytest.mark.parametrize("cost", [11, 2**53 - 1])
def test_a_cost_above_the_burst_is_never_let_in(cost: int) -> None:
    decision, tat = decide(TEN_A_MINUTE, 0, cost, NOW_NS)
    assert decision == Decision(False, 10, NEVER, 0, 0)
    assert tat == 0


def test_a_rate_that_does_not_divide_its_period_does_not_drift() -> None:
    # given 44 per minute, 1,363,636,363.63… ns per token
    quota = Quota(count=44, period_ns=60 * SECOND_NS, burst=10)
    now_ticks, tat = 0, 0
    # when a client empties the bucket and then spends every token at the first whole nanosecond it can, for an hour
    _, tat = decide(quota, tat, 10, now_ticks)
    for token in range(1, 44 * 60 + 1):
        ready_ns = -(-token * 60 * SECOND_NS // 44)
        assert not decide(quota, tat, 1, (ready_ns - 1) * quota.ticks_per_ns)[0].allowed
        decision, tat = decide(quota, tat, 1, ready_ns * quota.ticks_per_ns)
        # then exactly that nanosecond is let in
        assert decision.allowed
    assert ready_ns == 3_600 * SECOND_NS
