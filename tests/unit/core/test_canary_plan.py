"""When a canary looks, when its time is over, and what it is judged by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from harness.core import events as e
from harness.core.canary import StageVerdict
from harness.core.canary_plan import PROMISE_WEIGHT, has_exposed, insufficient, is_late, planned, requests_due
from harness.core.contract import Promise
from harness.core.policy import Canary, CanaryStep

BEGUN = datetime(2026, 11, 27, tzinfo=UTC)
POLICY = Canary(
    steps=(CanaryStep(share=0.05, hold_s=10), CanaryStep(share=0.2, hold_s=20)), planned_per_arm=600,
    first_look_per_arm=100, looks=6, extension_s=5, alpha=0.05, keys_per_arm=10, sick_design_effect={"slow_share": 3},
)  # fmt: skip


def at(after_s: float) -> datetime:
    return BEGUN + timedelta(seconds=after_s)


def stepped(step: int, after_s: float) -> e.CanaryStepped:
    return e.CanaryStepped(attempt=1, step=step, share=0.05, version="v", at=at(after_s))


def test_looks_are_due_evenly_from_the_first_allowed_sample_to_the_planned_one() -> None:
    plan = planned(POLICY, "slow_share", wins=True, guards=(), promises=(), slos=(), no_limit={})
    assert [requests_due(plan, look) for look in (1, 2, 3, 4, 5, 6, 7)] == [100, 200, 300, 400, 500, 600, 600]


def test_a_canary_is_late_once_its_last_step_and_what_may_be_added_are_over() -> None:
    # given one that has taken its last step, and one that has not
    whole, first = (stepped(1, 0), stepped(2, 10)), (stepped(1, 0),)
    assert [is_late(POLICY, whole, at(s), seen=True) for s in (35, 35.1)] == [False, True]
    # then the other is late only when nobody can see it, and no canary is before its first step
    assert (is_late(POLICY, first, at(99), seen=True), is_late(POLICY, first, at(15.1), seen=False)) == (False, True)
    assert not is_late(POLICY, (), at(99), seen=False)


def test_only_a_sample_from_after_the_last_step_tells_of_it() -> None:
    # given a harness that was away, so that the last step was taken late
    taken = (stepped(1, 0), stepped(2, 60))
    assert [has_exposed(POLICY, taken, at(s)) for s in (79.9, 80)] == [False, True]
    assert not has_exposed(POLICY, taken[:1], at(99))


def test_the_tickets_own_metric_wins_or_is_guarded_and_promises_get_a_thin_slice() -> None:
    told = {"metric": "over_admission_share", "bad": "b", "total": "t", "at_most": "1%", "what": "who was denied waits"}
    promises, guards = (Promise.model_validate(told),), ("slow_share", "error_share")
    wins, guarded = (
        planned(POLICY, "slow_share", wins=one, guards=guards, promises=promises, slos=(), no_limit={})
        for one in (True, False)
    )
    assert wins.superiority is not None and wins.superiority.design_effect == 3
    assert {guard.metric: guard.weight for guard in wins.guards} == {
        "error_share": 1.0, "over_admission_share": PROMISE_WEIGHT,
    }  # fmt: skip
    assert guarded.superiority is None and "slow_share" in {guard.metric for guard in guarded.guards}


def test_what_was_missing_is_told_when_the_time_is_over() -> None:
    plan = planned(POLICY, "slow_share", wins=True, guards=(), promises=(), slos=(), no_limit={})
    going_on = StageVerdict("continue", "", (), None)
    assert [insufficient(plan, going_on, have).reason for have in (None, 42, 600)] == [
        "insufficient: nothing measured when the time was over",
        "insufficient: 42 of 600 requests in the smaller arm when the time was over",
        "insufficient: no sample of the whole last step when the time was over",
    ]
