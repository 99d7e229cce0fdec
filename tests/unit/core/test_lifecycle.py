"""The life of a ticket, step by step. Touches nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.core import events as e
from harness.core.errors import Forbidden
from harness.core.lifecycle import ENDS, GATED, LIVE, STAGE, Life, State, evolve, left_since, possible

S = State
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def happened(kind: type[e.Event], **fields: Any) -> e.Event:
    """An event of this kind; the life of a ticket looks at few of its fields."""
    return kind.model_construct(**{"attempt": 1, "token": 7, "final": False, **fields})


def walk(*kinds: type[e.Event], life: Life | None = None) -> Life:
    life = life or Life()
    for kind in kinds:
        life = evolve(life, happened(kind))
    return life


def test_a_ticket_goes_through_all_four_stages_to_its_end() -> None:
    life = walk(e.TicketAdmitted, e.AttemptStarted, e.ActionTaken, e.ObservationRecorded, e.ChangeProposed)
    assert life.state is S.TESTING
    life = walk(e.LockAcquired, e.ChecksPassed, e.CanaryStarted, e.CanaryLooked, e.CanaryPassed, life=life)
    assert life.state is S.DEPLOYING and life.token == 7
    life = walk(e.MainMoved, e.NodeSwapped, e.ReleaseDeployed, e.CriteriaMet, e.LockReleased, life=life)
    assert life == Life(state=S.RESOLVED, attempt=1, admitted=True)


@pytest.mark.parametrize(
    ("at", "stopped_by"),
    [(S.TESTING, e.ChecksFailed), (S.CANARYING, e.CanaryFailed), (S.DEPLOYING, e.DeployFailed),
     (S.VERIFYING, e.CriteriaNotMet)],
)  # fmt: skip
def test_whatever_stops_a_change_sends_it_back_to_work(at: State, stopped_by: type[e.Event]) -> None:
    assert walk(stopped_by, life=Life(state=at)).state is S.WORKING


def test_it_is_left_to_people_from_the_first_moment_on_at_which_nobody_else_can_move_it() -> None:
    def since(*kinds: type[e.Event]) -> int | None:
        told = [(NOON + timedelta(minutes=number), happened(kind)) for number, kind in enumerate(kinds)]
        at = left_since(told)
        return None if at is None else round((at - NOON) / timedelta(minutes=1))

    begun = (e.TicketAdmitted, e.AttemptStarted)
    assert since(*begun) is None
    assert since(*begun, e.HelpRequested, e.ConstraintsChanged, e.TicketPaused) == 2
    assert since(*begun, e.HelpRequested, e.AnswerGiven, e.ActionTaken) is None
    assert since(*begun, e.HelpRequested, e.AnswerGiven, e.ApprovalRequested) == 4
    assert since(*begun, e.HelpRequested, e.TicketCancelled) is None


def test_what_cannot_happen_is_refused_with_what_can() -> None:
    with pytest.raises(
        Forbidden, match=r"CriteriaMet cannot happen to a ticket that is filed; possible: .*TicketMerged"
    ):
        walk(e.CriteriaMet)
    assert "TicketAdmitted" in possible(S.FILED) and possible(S.FILED) == sorted(possible(S.FILED))


def test_a_verification_that_was_interrupted_starts_anew_under_the_lock_and_skips_nothing_before() -> None:
    life = Life(state=State.VERIFYING, attempt=1, token=3)
    life = evolve(life, e.VerificationInterrupted(attempt=1, by="INF-2", priority="P0", token=3))
    assert (life.state, life.token, life.interrupted) == (State.QUEUED, None, True)
    life = evolve(life, e.LockAcquired(service="s", token=9))
    assert (life.state, life.token, life.interrupted) == (State.VERIFYING, 9, False)
    # and another attempt that waits for the lock is tested, as ever
    life = Life(state=State.QUEUED, attempt=2)
    assert evolve(life, e.LockAcquired(service="s", token=11)).state is State.TESTING


def test_a_pause_does_not_skip_an_approval() -> None:
    held = walk(e.ApprovalRequested, e.TicketPaused, life=Life(state=S.DEPLOYING))
    assert held.state is S.PAUSED
    resumed = walk(e.TicketResumed, life=held)
    assert resumed.state is S.AWAITING_APPROVAL
    assert walk(e.ApprovalGranted, life=resumed) == Life(state=S.DEPLOYING)


def test_what_is_told_of_a_paused_ticket_does_not_make_it_forget_where_it_was() -> None:
    paused = walk(e.TicketPaused, e.MainMoved, e.RolledBack, life=Life(state=S.VERIFYING))
    assert walk(e.TicketResumed, life=paused) == Life(state=S.VERIFYING)


def test_an_answer_sends_a_ticket_back_to_where_it_broke() -> None:
    assert walk(e.HelpRequested, e.AnswerGiven).state is S.FILED
    assert walk(e.TicketAdmitted, e.HelpRequested, e.AnswerGiven).state is S.WORKING


def test_a_denial_is_a_reason_to_work_on_or_the_end() -> None:
    waiting = walk(e.ApprovalRequested, life=Life(state=S.TESTING))
    assert evolve(waiting, happened(e.ApprovalDenied)).state is S.WORKING
    assert evolve(waiting, happened(e.ApprovalDenied, final=True)).state is S.REJECTED
    assert evolve(waiting, happened(e.ApprovalDenied)).held == ()


@pytest.mark.parametrize("state", [S.WORKING, S.RESOLVED, S.REJECTED, S.CANCELLED])
def test_the_lock_can_be_given_back_wherever_a_delivery_can_end(state: State) -> None:
    assert walk(e.LockReleased, life=Life(state=state, token=3)).token is None


def test_every_state_that_waits_for_nobody_has_a_stage() -> None:
    assert set(STAGE) == LIVE - {S.WAITING, S.AWAITING_APPROVAL, S.ESCALATED, S.PAUSED}
    assert set(STAGE) >= GATED and not set(STAGE) & ENDS


def test_an_end_is_left_only_by_a_revert_of_what_was_resolved() -> None:
    assert walk(e.ChangeReverted, life=Life(state=S.RESOLVED)).state is S.REVERTED
    for end in ENDS:
        assert set(possible(end)) <= {"LockReleased", "ChangeReverted"}
