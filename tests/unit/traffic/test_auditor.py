"""Whom the auditor asks: every arm in turn, a rested key, more than it was promised. Pure, no clock."""

from __future__ import annotations

import random
from collections import Counter

from traffic.auditor import BEYOND, Auditor
from traffic.contract import GcraLimit
from traffic.oracle import Follower, Verdict
from traffic.schedule import ABUSIVE_KEYS, AUDITED_PER_100, asks

KEYS, BURST, S = 4000, 10, 10**9


def fleet(canary: float) -> list[str | None]:
    """Which arm answers which key."""
    chance = random.Random(1)
    return ["canary" if chance.random() < canary else "stable" for _ in range(KEYS)]


def test_each_arm_is_asked_as_often_whatever_its_share() -> None:
    arms = fleet(0.1)
    auditor = Auditor(arms, burst=BURST, shuffle=random.Random(2))
    asked = [auditor.next(["stable", "canary"]) for _ in range(20 * (BURST + BEYOND))]
    by_arm = Counter(arms[key] for key in asked if key is not None)
    assert by_arm == {"stable": 160, "canary": 160}
    assert min(key for key in asked if key is not None) >= ABUSIVE_KEYS


def test_one_key_is_asked_its_burst_and_more_in_a_row() -> None:
    auditor = Auditor(fleet(0.5), burst=BURST, shuffle=random.Random(3))
    one, other = ([auditor.next(["stable"]) for _ in range(BURST + BEYOND)] for _ in range(2))
    assert len(set(one)) == len(set(other)) == 1


def test_a_key_that_failed_is_asked_no_more() -> None:
    auditor = Auditor(fleet(0.5), burst=BURST, shuffle=random.Random(3))
    failed = auditor.next(["stable"])
    assert failed is not None
    auditor.drop(failed)
    others = [auditor.next(["stable"]) for _ in range(BURST + BEYOND)]
    assert failed not in others and len(set(others)) == 1


def test_an_arm_of_which_no_key_is_known_is_passed_over() -> None:
    auditor = Auditor(fleet(0.0), burst=BURST, shuffle=random.Random(4))
    assert auditor.next(["canary"]) is None
    assert auditor.next([]) is None
    assert auditor.next(["canary", "stable"]) is not None


def test_eight_of_each_hundred_requests_are_the_auditors() -> None:
    schedule = asks(KEYS, shuffle=random.Random(5))
    taken = [next(schedule) for _ in range(10_000)]
    assert abs(taken.count(None) - 100 * AUDITED_PER_100) <= 1
    abusive = sum(key is not None and key < ABUSIVE_KEYS for key in taken)
    assert abusive == 1_100


def test_a_rested_key_that_moved_is_owed_nothing() -> None:
    # given a key that was asked once, long ago, by a node that it has left
    limit = GcraLimit(name="api", count=44, period_ns=60 * S, burst=BURST)
    follower = Follower(limit, keys=1)

    def admit(at_ns: int, node: str) -> Verdict:
        follower.sent(0, now_ns=at_ns)
        return follower.answered(0, sent_ns=at_ns, now_ns=at_ns, admitted=True, source=node)

    assert admit(0, "n1") is Verdict.RIGHT
    # when the other node admits all that the auditor asks
    said = [admit(60 * S + number, "n2") for number in range(BURST + BEYOND)]
    # then no move explains what is beyond its burst
    assert said == [Verdict.RIGHT] * BURST + [Verdict.OVER_ADMISSION] * BEYOND
