"""The life of a ticket: one table (state, event) → state. Decides; touches nothing.

The diagram in ``docs/lifecycle.md`` is generated from ``TABLE``; the workflow asks ``STAGE`` what comes next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from harness.core import events as e
from harness.core.errors import Forbidden


class State(StrEnum):
    """Where a ticket is."""

    FILED = "filed"
    ADMITTED = "admitted"
    WAITING = "waiting"
    WORKING = "working"
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    TESTING = "testing"
    CANARYING = "canarying"
    DEPLOYING = "deploying"
    VERIFYING = "verifying"
    ESCALATED = "escalated"
    PAUSED = "paused"
    RESOLVED = "resolved"
    REJECTED = "rejected"
    MERGED = "merged"
    CANCELLED = "cancelled"
    REVERTED = "reverted"


S = State
ENDS: Final = frozenset({S.RESOLVED, S.REJECTED, S.MERGED, S.CANCELLED, S.REVERTED})
"""States that a ticket leaves no more, but for ``resolved`` → ``reverted``."""
LIVE: Final = frozenset(S) - ENDS
WITH_PEOPLE: Final = frozenset({S.ESCALATED, S.AWAITING_APPROVAL, S.PAUSED})
"""States that only a person's word leaves."""
GATED: Final = frozenset({S.FILED, S.WORKING, S.TESTING, S.CANARYING, S.DEPLOYING})
"""Steps that policy may hold for an approval."""

BACK: Final = "where it was"
"""Target of the events that return to the state remembered when the ticket was paused or held for approval."""

TABLE: Final[dict[tuple[State, type[e.Event]], State | str]] = {
    (S.FILED, e.TicketAdmitted): S.ADMITTED,
    (S.FILED, e.TicketRejected): S.REJECTED,
    (S.FILED, e.TicketMerged): S.MERGED,
    (S.ADMITTED, e.WindowAwaited): S.WAITING,
    (S.ADMITTED, e.AttemptStarted): S.WORKING,
    (S.ADMITTED, e.TicketSplit): S.WAITING,
    (S.WAITING, e.WindowAwaited): S.WAITING,
    (S.WAITING, e.WindowOpened): S.WORKING,
    (S.WAITING, e.TicketSplit): S.WAITING,
    (S.WAITING, e.ChildrenEnded): S.WORKING,
    (S.WORKING, e.AttemptStarted): S.WORKING,
    (S.WORKING, e.ChangeProposed): S.TESTING,
    (S.WORKING, e.NothingToChange): S.VERIFYING,
    (S.WORKING, e.TicketSplit): S.WAITING,
    (S.TESTING, e.DeliveryQueued): S.QUEUED,
    (S.TESTING, e.DeliveryBlocked): S.QUEUED,
    (S.QUEUED, e.DeliveryBlocked): S.QUEUED,
    (S.QUEUED, e.LockAcquired): S.TESTING,
    (S.TESTING, e.ChecksPassed): S.CANARYING,
    (S.TESTING, e.ChecksFailed): S.WORKING,
    (S.CANARYING, e.CanaryPassed): S.DEPLOYING,
    (S.CANARYING, e.CanaryFailed): S.WORKING,
    (S.DEPLOYING, e.ReleaseDeployed): S.VERIFYING,
    (S.DEPLOYING, e.DeployFailed): S.WORKING,
    (S.DEPLOYING, e.RollbackFailed): S.ESCALATED,
    (S.VERIFYING, e.CriteriaMet): S.RESOLVED,
    (S.VERIFYING, e.CriteriaNotMet): S.WORKING,
    (S.VERIFYING, e.RollbackFailed): S.ESCALATED,
    (S.VERIFYING, e.VerificationInterrupted): S.QUEUED,
    (S.CANARYING, e.RollbackFailed): S.ESCALATED,
    (S.ESCALATED, e.AnswerGiven): S.WORKING,
    (S.ESCALATED, e.TakenOver): S.WORKING,
    (S.ESCALATED, e.TicketSplit): S.WAITING,
    (S.AWAITING_APPROVAL, e.ApprovalGranted): BACK,
    (S.AWAITING_APPROVAL, e.ApprovalDenied): S.WORKING,
    (S.PAUSED, e.TicketResumed): BACK,
    (S.RESOLVED, e.ChangeReverted): S.REVERTED,
    **{(state, e.HelpRequested): S.ESCALATED for state in LIVE - {S.ESCALATED, S.PAUSED}},
    **{(state, e.ApprovalRequested): S.AWAITING_APPROVAL for state in GATED},
    **{(state, e.TicketPaused): S.PAUSED for state in LIVE - {S.PAUSED}},
    **{(state, e.TicketCancelled): S.CANCELLED for state in LIVE},
}

NOTES: Final[dict[type[e.Event], frozenset[State]]] = {
    e.TicketFiled: frozenset({S.FILED}),
    e.ParentNamed: frozenset({S.FILED}),
    e.ActionTaken: frozenset({S.WORKING}),
    # the observation of the call that ended a session follows the event that ended it
    e.ObservationRecorded: frozenset({S.WORKING, S.WAITING, S.TESTING, S.VERIFYING, S.ESCALATED}),
    # a person's word on a change whose verification was interrupted: it is taken back under the lock
    e.LockAcquired: frozenset({S.TESTING, S.ESCALATED, S.PAUSED}),
    e.LockReleased: frozenset({S.WORKING, S.WAITING, S.VERIFYING, S.RESOLVED, S.REJECTED, S.CANCELLED}),
    # one that changes nothing measures it when it verifies
    e.StartMeasured: frozenset({S.CANARYING, S.VERIFYING}),
    e.GateJudged: frozenset({S.CANARYING, S.DEPLOYING, S.VERIFYING, S.ESCALATED, S.PAUSED}),
    e.BudgetSpendJudged: frozenset({S.CANARYING, S.DEPLOYING, S.VERIFYING, S.ESCALATED, S.PAUSED}),
    e.CanaryStarted: frozenset({S.CANARYING}),
    e.CanaryStepped: frozenset({S.CANARYING}),
    e.CanaryLooked: frozenset({S.CANARYING}),
    # a person's word may find a delivery half done: it is taken back first, whatever the ticket waits for
    e.OperationStepped: frozenset({S.CANARYING, S.DEPLOYING, S.VERIFYING, S.ESCALATED, S.PAUSED}),
    e.MainMoved: frozenset({S.DEPLOYING, S.VERIFYING, S.ESCALATED, S.PAUSED}),
    e.NodeSwapped: frozenset({S.DEPLOYING}),
    e.WayBackBegun: frozenset({S.VERIFYING, S.ESCALATED, S.PAUSED}),
    e.RolledBack: frozenset({S.CANARYING, S.DEPLOYING, S.VERIFYING, S.ESCALATED, S.PAUSED}),
    e.RollbackFailed: frozenset({S.ESCALATED, S.PAUSED}),
    # not under a delivery: what it was let in by has been looked at
    e.ConstraintsChanged: LIVE - {S.CANARYING, S.DEPLOYING, S.VERIFYING},
    e.StageStalled: frozenset({S.TESTING, S.CANARYING, S.DEPLOYING, S.VERIFYING}),
}
"""Events that tell what happened within a state and don't leave it, with the states they may occur in."""

READ: Final = frozenset({e.AttemptStarted, e.LockAcquired, e.ApprovalDenied})
"""Events of which ``evolve`` reads a field. Of all others it asks the type alone."""

STAGE: Final[dict[State, str]] = {
    S.FILED: "admit",
    S.ADMITTED: "work",
    S.WORKING: "work",
    S.TESTING: "test",
    S.QUEUED: "test",
    S.CANARYING: "canary",
    S.DEPLOYING: "deploy",
    S.VERIFYING: "verify",
}
"""The stage that acts on a ticket in this state. A state without one waits for a person, a window, or is an end."""
TIMED: Final = frozenset({S.WAITING, S.AWAITING_APPROVAL})
"""Where time moves a ticket that no stage acts on: its hours or its deadline are over, its parts have ended."""


@dataclass(frozen=True, slots=True)
class Life:
    """The state of a ticket and what its next step depends on."""

    state: State = State.FILED
    held: tuple[State, ...] = ()
    """Where a paused or held ticket goes back to, last first out: a pause must not skip an approval."""
    attempt: int = 0
    token: int | None = None
    """The fencing token of the service's lock while this ticket holds it."""
    admitted: bool = False
    """Whether admission let it in: one that broke before that goes back there when it is answered."""
    interrupted: bool = False
    """Whether its change is served and unverified, without the lock: once it has that again, it verifies anew."""


def evolve(life: Life, event: e.Event) -> Life:
    """The life after the event.

    Raises:
        Forbidden: the event cannot happen in this state (names both, and what could happen).
    """
    kind = type(event)
    target = TABLE.get((life.state, kind))
    moves = target is not None
    if target is None:
        if life.state not in NOTES.get(kind, frozenset()):
            raise Forbidden(_refusal(life.state, kind))
        target = life.state
    held = life.held
    if kind in (e.ApprovalRequested, e.TicketPaused):
        held = (*held, life.state)
    elif moves and life.state in (S.AWAITING_APPROVAL, S.PAUSED):
        held = held[:-1]
    return Life(
        state=_target(life, event, target),
        held=held,
        attempt=event.attempt if isinstance(event, e.AttemptStarted) else life.attempt,
        token=_token(life, event),
        admitted=life.admitted or isinstance(event, e.TicketAdmitted),
        interrupted=_interrupted(life, event),
    )


def _target(life: Life, event: e.Event, target: State | str) -> State:
    if isinstance(event, e.ApprovalDenied) and (event.final or life.held[-1] is S.FILED):
        return S.REJECTED  # one that was not worked yet has no work to go back to
    if isinstance(event, e.AnswerGiven | e.TakenOver) and not life.admitted:
        return S.FILED
    if isinstance(event, e.LockAcquired) and life.state is S.QUEUED and life.interrupted:
        return S.VERIFYING
    return life.held[-1] if target is BACK else State(target)


def _interrupted(life: Life, event: e.Event) -> bool:
    match event:
        case e.VerificationInterrupted():
            return True
        case e.LockAcquired() | e.AttemptStarted():
            return False
    return life.interrupted


def _token(life: Life, event: e.Event) -> int | None:
    match event:
        case e.LockAcquired(token=token):
            return token
        case e.LockReleased() | e.VerificationInterrupted():
            return None
    return life.token


def _refusal(state: State, kind: type[e.Event]) -> str:
    return (
        f"{kind.__name__} cannot happen to a ticket that is {state}; "
        f"possible: {', '.join(possible(state)) or 'nothing any more'}"
    )


def possible(state: State) -> list[str]:
    """Names of the events that can happen in this state, sorted."""
    moves = {kind.__name__ for at, kind in TABLE if at is state}
    notes = {kind.__name__ for kind, states in NOTES.items() if state in states}
    return sorted(moves | notes)


def left_since(told: Iterable[tuple[datetime, e.Event]]) -> datetime | None:
    """Since when only people can move the ticket of this stream; None while the harness can."""
    life = Life()
    since: datetime | None = None
    for at, event in told:
        life = evolve(life, event)
        if life.state not in WITH_PEOPLE:
            since = None
        elif since is None:
            since = at
    return since
