"""The follower against simulated limiters: never unjust to a correct one, never blind to a tighter or looser one."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum

from hypothesis import given, settings
from hypothesis import strategies as st

from traffic.contract import GcraLimit
from traffic.oracle import Follower, Verdict

LINGER_NS = 60


class Limiter:
    """One instance of a limiter: GCRA in integers, serial, exact; a fresh one knows nothing of the key."""

    def __init__(self, *, interval_ns: int, burst: int) -> None:
        self._interval_ns = interval_ns
        self._burst = burst
        self._tat_ns = 0

    def admits(self, now_ns: int) -> bool:
        start_ns = max(self._tat_ns, now_ns)
        if start_ns - now_ns > (self._burst - 1) * self._interval_ns:
            return False
        self._tat_ns = start_ns + self._interval_ns
        return True


@dataclass(frozen=True)
class Ask:
    """A check: sent ``gap_ns`` after the one before, on its way for so long, and heard of or not."""

    gap_ns: int
    to_limiter_ns: int
    to_user_ns: int
    lost: bool  # the user gives up halfway, the limiter decides all the same
    decided: bool  # False: never reaches the limiter, and is lost


class Step(IntEnum):
    SEND = 0
    DECIDE = 1
    HEAR = 2


ASKS = st.lists(
    st.builds(
        Ask,
        gap_ns=st.integers(0, 40),
        to_limiter_ns=st.integers(0, 50),
        to_user_ns=st.integers(0, 50),
        lost=st.sampled_from([False] * 7 + [True]),
        decided=st.sampled_from([True] * 9 + [False]),
    ),
    min_size=1,
    max_size=40,
)
LIMITS = st.builds(
    GcraLimit, name=st.just("api"), count=st.integers(1, 7), period_ns=st.integers(20, 120), burst=st.integers(1, 4)
)
MOVES = st.lists(st.tuples(st.integers(0, 800), st.integers(0, 3)), max_size=4).map(sorted)


def play(
    follower: Follower, limiters: list[Limiter], moves: list[tuple[int, int]], asks: list[Ask]
) -> Counter[Verdict]:
    """Run the asks through the limiters, ``moves`` (from when, which) saying who decides; what the follower said."""
    events: list[tuple[int, Step, int]] = []
    sent_ns, said = [], Counter[Verdict]()
    now_ns = 0
    for number, ask in enumerate(asks):
        now_ns += ask.gap_ns
        sent_ns.append(now_ns)
        heapq.heappush(events, (now_ns, Step.SEND, number))
    outcome: dict[int, tuple[bool, int]] = {}
    while events:
        now_ns, step, number = heapq.heappop(events)
        ask = asks[number]
        lost = ask.lost or not ask.decided
        if step is Step.SEND:
            follower.sent(0, now_ns=now_ns)
            if ask.decided:
                heapq.heappush(events, (now_ns + ask.to_limiter_ns, Step.DECIDE, number))
            if lost:
                heapq.heappush(events, (now_ns + ask.to_user_ns, Step.HEAR, number))
        elif step is Step.DECIDE:
            who = next((limiter for since_ns, limiter in reversed(moves) if since_ns <= now_ns), 0)
            outcome[number] = limiters[who].admits(now_ns), who
            if not lost:
                heapq.heappush(events, (now_ns + ask.to_user_ns, Step.HEAR, number))
        elif lost:
            follower.lost(0, sent_ns=sent_ns[number], now_ns=now_ns)
        else:
            admitted, who = outcome[number]
            said[follower.answered(0, sent_ns=sent_ns[number], now_ns=now_ns, admitted=admitted, source=who)] += 1
    return said


@settings(max_examples=400, deadline=None)
@given(limit=LIMITS, rounded_up=st.booleans(), moves=MOVES, asks=ASKS)
def test_a_correct_limiter_is_never_called_wrong(
    limit: GcraLimit, rounded_up: bool, moves: list[tuple[int, int]], asks: list[Ask]
) -> None:
    # given correct limiters of which each knows only what it decided itself, any delays, losses and moves
    interval_ns = limit.interval_ceil_ns if rounded_up else limit.interval_floor_ns
    limiters = [Limiter(interval_ns=interval_ns, burst=limit.burst) for _ in range(4)]
    # when the follower hears their answers
    said = play(Follower(limit, keys=1, linger_ns=LINGER_NS), limiters, moves, asks)
    # then no denial is called wrong, and moves explain every admission
    assert said[Verdict.WRONG_DENIAL] == 0
    assert said[Verdict.OVER_ADMISSION] == 0


@settings(max_examples=200, deadline=None)
@given(limit=LIMITS, asks=ASKS)
def test_without_a_move_a_correct_limiter_needs_no_allowance(limit: GcraLimit, asks: list[Ask]) -> None:
    limiters = [Limiter(interval_ns=limit.interval_ceil_ns, burst=limit.burst)]
    said = play(Follower(limit, keys=1, linger_ns=LINGER_NS), limiters, [], asks)
    assert set(said) <= {Verdict.RIGHT}


@settings(max_examples=100, deadline=None)
@given(burst=st.integers(2, 12), data=st.data())
def test_a_lowered_burst_is_found(burst: int, data: st.DataObject) -> None:
    # given a limiter with a burst below the contract's, and a user who asks one check after the other
    limit = GcraLimit(name="api", count=44, period_ns=60 * 10**9, burst=burst)
    lowered = data.draw(st.integers(1, burst - 1))
    answer_ns = data.draw(st.integers(0, 10**8))
    asks = [Ask(gap_ns=answer_ns, to_limiter_ns=answer_ns // 2, to_user_ns=answer_ns // 2, lost=False, decided=True)]
    # when the user spends one whole contracted burst
    said = play(Follower(limit, keys=1), [Limiter(interval_ns=limit.interval_ceil_ns, burst=lowered)], [], asks * burst)
    # then at least one denial is called wrong: refill pays for some, never for all of a burst spent within a second
    assert said[Verdict.WRONG_DENIAL] >= 1


@settings(max_examples=50, deadline=None)
@given(slower=st.integers(2, 20))
def test_a_lowered_rate_is_found_once_the_bucket_has_drained(slower: int) -> None:
    # given a limiter with the contracted burst of 10 but a fraction of its rate, and a user at the contracted rate
    limit = GcraLimit(name="api", count=44, period_ns=60 * 10**9, burst=10)
    limiter = Limiter(interval_ns=slower * limit.interval_ceil_ns, burst=10)
    asks = [Ask(limit.interval_ceil_ns, to_limiter_ns=10**6, to_user_ns=10**6, lost=False, decided=True)] * 30
    # then denials of what the contract refills are called wrong
    assert play(Follower(limit, keys=1), [limiter], [], asks)[Verdict.WRONG_DENIAL] >= 1


@settings(max_examples=50, deadline=None)
@given(asks=st.integers(11, 60))
def test_a_limiter_that_admits_everything_is_counted(asks: int) -> None:
    # given no limit at all, and a user who asks without pause
    limit = GcraLimit(name="api", count=44, period_ns=60 * 10**9, burst=10)
    everything = Limiter(interval_ns=0, burst=1)
    said = play(Follower(limit, keys=1), [everything], [], [Ask(1, 0, 0, lost=False, decided=True)] * asks)
    # then all beyond the burst are over-admissions
    assert said[Verdict.OVER_ADMISSION] == asks - 10
