"""The follower's verdicts, one situation at a time: what it must call wrong, what it must let pass. Pure, no clock."""

from __future__ import annotations

import pytest

from traffic.contract import GcraLimit
from traffic.oracle import Follower, Verdict

S = 10**9
INTERVAL_NS = 10 * S
LIMIT = GcraLimit(name="api", count=6, period_ns=60 * S, burst=3)


class Talk:
    """Asks and answers on key 0, so that a test reads as a story: times in seconds, one answer per ask."""

    def __init__(self, *, linger_s: int = 30) -> None:
        self.follower = Follower(LIMIT, keys=1, linger_ns=linger_s * S)

    def ask(self, at_s: float) -> int:
        sent_ns = int(at_s * S)
        self.follower.sent(0, now_ns=sent_ns)
        return sent_ns

    def answer(self, sent_ns: int, at_s: float, *, admitted: bool, node: str = "n1") -> Verdict:
        return self.follower.answered(0, sent_ns=sent_ns, now_ns=int(at_s * S), admitted=admitted, source=node)

    def admit(self, at_s: float, *, node: str = "n1") -> Verdict:
        return self.answer(self.ask(at_s), at_s, admitted=True, node=node)

    def deny(self, at_s: float, *, node: str = "n1") -> Verdict:
        return self.answer(self.ask(at_s), at_s, admitted=False, node=node)

    def lose(self, sent_ns: int, at_s: float) -> None:
        self.follower.lost(0, sent_ns=sent_ns, now_ns=int(at_s * S))


def test_a_denial_of_a_fresh_key_is_wrong() -> None:
    assert Talk().deny(5) is Verdict.WRONG_DENIAL


def test_a_denial_after_the_burst_is_right_and_wrong_again_once_a_unit_has_come_back() -> None:
    # given a key that used its burst of 3 at once
    talk = Talk()
    assert [talk.admit(0) for _ in range(3)] == [Verdict.RIGHT] * 3
    # then it may be denied until, 10 s later, one unit is back, to the nanosecond
    assert talk.deny(0) is Verdict.RIGHT
    assert talk.deny(10 - 1e-9) is Verdict.RIGHT
    assert talk.deny(10) is Verdict.WRONG_DENIAL


def test_an_admission_counts_from_its_receipt_when_a_denial_is_judged() -> None:
    # given admissions that took 2 s to be heard of: they may have been decided at 2 s
    talk = Talk()
    for sent_ns in [talk.ask(0) for _ in range(3)]:
        talk.answer(sent_ns, 2, admitted=True)
    # then the denial at 11 s may be right, the one at 12 s is not
    assert talk.deny(11) is Verdict.RIGHT
    assert talk.deny(12) is Verdict.WRONG_DENIAL


def test_a_denial_counts_from_its_send() -> None:
    # given an empty bucket and a check sent before, answered long after a unit came back
    talk = Talk()
    for _ in range(3):
        talk.admit(0)
    early = talk.ask(9)
    # then the limiter may have decided at once, and been right
    assert talk.answer(early, 15, admitted=False) is Verdict.RIGHT


def test_requests_in_flight_may_have_taken_the_units() -> None:
    # given a full bucket of 3 and three more checks in flight
    talk = Talk()
    others = [talk.ask(0) for _ in range(3)]
    # then a denial may be right, but not once one of the others is known to be denied as well
    assert talk.deny(0) is Verdict.RIGHT
    assert talk.answer(others[0], 1, admitted=False) is Verdict.WRONG_DENIAL


def test_a_lost_request_may_be_granted_until_it_has_lingered_out() -> None:
    # given a full bucket of 3, of which three requests without outcome may have taken all
    talk = Talk(linger_s=30)
    for sent_ns in [talk.ask(0) for _ in range(3)]:
        talk.lose(sent_ns, 2)
    # then denials may be right up to one interval after the last moment of a grant
    assert talk.deny(31) is Verdict.RIGHT
    assert talk.deny(41) is Verdict.RIGHT
    assert talk.deny(42) is Verdict.WRONG_DENIAL


def test_admissions_beyond_the_burst_are_over_admissions_when_nothing_moved() -> None:
    talk = Talk()
    verdicts = [talk.admit(0) for _ in range(5)]
    assert verdicts == [Verdict.RIGHT] * 3 + [Verdict.OVER_ADMISSION] * 2


def test_a_move_allows_one_burst_and_no_more() -> None:
    # given a key that used its burst, and moves to a node that does not know
    talk = Talk()
    for _ in range(3):
        talk.admit(0)
    verdicts = [talk.admit(1, node="n2") for _ in range(4)]
    assert verdicts == [Verdict.ALLOWED_BY_MOVE] * 3 + [Verdict.OVER_ADMISSION]


def test_over_admissions_leave_an_empty_bucket_not_a_debt() -> None:
    # given a limiter that admitted far too much
    talk = Talk()
    for _ in range(20):
        talk.admit(0)
    # then one interval later the contract would admit again: a denial is wrong, an admission is right
    assert talk.deny(10) is Verdict.WRONG_DENIAL
    assert talk.admit(10) is Verdict.RIGHT


def test_the_first_answer_of_a_key_is_no_move() -> None:
    talk = Talk()
    verdicts = [talk.admit(0, node="n2") for _ in range(4)]
    assert verdicts[-1] is Verdict.OVER_ADMISSION


def test_keys_are_followed_apart() -> None:
    # given one key with an empty bucket
    follower = Follower(LIMIT, keys=2)
    for _ in range(3):
        follower.sent(0, now_ns=S)
        follower.answered(0, sent_ns=S, now_ns=S, admitted=True, source="n1")
    # then a denial of the other is still wrong
    follower.sent(1, now_ns=S)
    assert follower.answered(1, sent_ns=S, now_ns=S, admitted=False, source="n1") is Verdict.WRONG_DENIAL


@pytest.mark.parametrize("rounded_ns", [1_363_636_363, 1_363_636_364])
def test_a_limiter_may_round_the_interval_either_way(rounded_ns: int) -> None:
    # given 44/1m, whose interval is no whole number of ns, and a limiter that used its burst at once
    follower = Follower(GcraLimit(name="api", count=44, period_ns=60 * S, burst=10), keys=1)
    for _ in range(10):
        follower.sent(0, now_ns=0)
        follower.answered(0, sent_ns=0, now_ns=0, admitted=True, source="n1")
    # then denying until, and admitting from, its own idea of one interval later are both right
    denied_ns, admitted_ns = rounded_ns - 1, rounded_ns
    follower.sent(0, now_ns=denied_ns)
    assert follower.answered(0, sent_ns=denied_ns, now_ns=denied_ns, admitted=False, source="n1") is Verdict.RIGHT
    follower.sent(0, now_ns=admitted_ns)
    assert follower.answered(0, sent_ns=admitted_ns, now_ns=admitted_ns, admitted=True, source="n1") is Verdict.RIGHT


def test_refill_after_a_move_is_not_taken_for_a_second_burst() -> None:
    # given a key that used its burst, and a node without its state that admits every 4 s until its own burst is used
    talk = Talk()
    for _ in range(3):
        talk.admit(0)
    verdicts = [talk.admit(at_s, node="n2") for at_s in (1, 5, 9, 13)]
    # then three are explained by the move and the fourth by what came back meanwhile
    assert verdicts == [Verdict.ALLOWED_BY_MOVE] * 3 + [Verdict.RIGHT]


def test_an_admission_heard_of_late_may_have_been_decided_long_ago() -> None:
    # given a burst decided at 0 s and another at 30 s, when all units were back, of which the second is heard of first
    talk = Talk()
    first = [talk.ask(0) for _ in range(3)]
    second = [talk.ask(30) for _ in range(3)]
    # then none of the six is more than the contract gives
    verdicts = [talk.answer(sent_ns, 30, admitted=True) for sent_ns in second + first]
    assert verdicts == [Verdict.RIGHT] * 6
