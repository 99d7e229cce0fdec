"""The limiter against the serial specification: ties, mixed costs, hot keys, boundary times, eviction. All exact."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ratelimiter.gcra import NEVER, Decision, Quota, divide_up
from ratelimiter.limiter import Limiter
from ratelimiter.limits import UNIT_NS, Limit, LimitsFile, read_limits
from ratelimiter.problems import KeyspaceFull
from serial_spec import Bucket, Verdict

TREE = Path(__file__).parents[2]
# The same examples on every run, and no database of failures written into the tree.
repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=150)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def limiter(quota: Quota, clock: Clock, max_keys: int = 1_000) -> Limiter:
    return Limiter(LimitsFile("test", (Limit("a", "", quota),)), clock_ns=clock, max_keys=max_keys)


def verdict(decision: Decision) -> Verdict:
    retry_after_ns = decision.retry_after_ns
    retry_after_ms = NEVER if retry_after_ns == NEVER else divide_up(retry_after_ns, 10**6)
    return Verdict(decision.allowed, decision.remaining, retry_after_ms, divide_up(decision.reset_after_ns, 10**6))


quotas = st.builds(
    Quota,
    count=st.integers(1, 100),
    period_ns=st.sampled_from([1, 7, *UNIT_NS.values()]),
    burst=st.integers(1, 20),
)
# Steps of time in tokens and nanoseconds, so that the moments around a token's return are hit often.
steps = st.tuples(st.integers(0, 3), st.integers(-2, 2))
checks = st.lists(st.tuples(st.sampled_from("aab"), st.integers(0, 25), steps), max_size=40)


def step_ns(quota: Quota, step: tuple[int, int]) -> int:
    tokens, offset_ns = step
    return max(0, divide_up(tokens * quota.ticks_per_token, quota.ticks_per_ns) + offset_ns)


@repeatable
@given(quotas, checks)
@example(Quota(44, 60 * 10**9, 10), [("a", 10, (0, 0)), ("a", 1, (1, -1)), ("a", 1, (0, 1))])
def test_every_decision_is_the_one_of_the_specification(
    quota: Quota, asked: list[tuple[str, int, tuple[int, int]]]
) -> None:
    clock = Clock()
    real = limiter(quota, clock)
    spec: defaultdict[str, Bucket] = defaultdict(lambda: Bucket(quota.count, quota.period_ns, quota.burst))
    for key, cost, step in asked:
        clock.now_ns += step_ns(quota, step)
        assert verdict(real.check("a", key, cost)) == spec[key].check(cost, clock.now_ns)
        assert verdict(real.peek("a", key)) == spec[key].check(0, clock.now_ns)


@repeatable
@given(quotas, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12), steps), max_size=60))
def test_eviction_changes_no_decision_and_refuses_only_when_every_key_is_in_debt(
    quota: Quota, asked: list[tuple[int, int, tuple[int, int]]]
) -> None:
    clock = Clock()
    real = limiter(quota, clock, max_keys=3)
    spec: defaultdict[str, Bucket] = defaultdict(lambda: Bucket(quota.count, quota.period_ns, quota.burst))
    for number, cost, step in asked:
        key = str(number)
        clock.now_ns += step_ns(quota, step)
        try:
            decision = real.check("a", key, cost)
        except KeyspaceFull:
            in_debt = [key for key, bucket in spec.items() if bucket.check(0, clock.now_ns).reset_after_ms]
            assert len(in_debt) >= 3
            assert key not in in_debt
        else:
            assert verdict(decision) == spec[key].check(cost, clock.now_ns)
        assert real.keys_held("a") <= 3


@repeatable
@given(quotas, st.integers(1, 20), st.integers(1, 20))
def test_a_client_that_waits_as_told_is_let_in(quota: Quota, spent: int, cost: int) -> None:
    clock = Clock()
    real = limiter(quota, clock)
    real.check("a", "k", min(spent, quota.burst))
    decision = real.check("a", "k", min(cost, quota.burst))
    if not decision.allowed:
        clock.now_ns += decision.retry_after_ns
        assert real.check("a", "k", min(cost, quota.burst)).allowed


def test_a_clock_that_runs_backwards_gives_no_token_back_and_takes_none() -> None:
    clock = Clock()
    real = limiter(Quota(1, 10**9, 2), clock)
    clock.now_ns = 5 * 10**9
    real.check("a", "k", 2)
    clock.now_ns = 0
    assert real.check("a", "k", 1).retry_after_ns == 10**9


def test_forgotten_keys_leave_memory_even_when_there_is_room() -> None:
    clock = Clock()
    real = limiter(Quota(1, 1, 1), clock)
    for number in range(1_000):
        clock.now_ns += 1
        real.check("a", str(number), 1)
    assert real.keys_held("a") <= 2


def test_the_live_limits_are_valid() -> None:
    assert read_limits(TREE / "limits.yaml").limits
