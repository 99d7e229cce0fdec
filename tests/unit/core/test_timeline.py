"""Where a ticket's time went, on examples that can be added up by hand. Touches nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from harness.core import events as e
from harness.core.timeline import PHASES, Phase, overhead_s, phases

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def wait(opened_s: float, closed_s: float) -> e.Wait:
    return e.Wait(kind="check", what="tests", opened_at=at(opened_s), closed_at=at(closed_s))


def story(*steps: tuple[float, type[Any]], **waits: tuple[e.Wait, ...]) -> list[tuple[datetime, e.Event]]:
    """Events at seconds after noon; ``waits`` by the kind of event that names them."""
    fields: dict[str, Any] = {"attempt": 1, "token": 1}
    return [(at(s), kind.model_construct(**fields, waits=waits.get(kind.__name__, ()))) for s, kind in steps]


STEPS = (
    (6.0, e.TicketFiled), (7.0, e.TicketAdmitted), (7.5, e.AttemptStarted), (13.0, e.ChangeProposed),
    (13.0, e.LockAcquired), (21.0, e.ChecksPassed), (33.0, e.CanaryPassed), (40.0, e.ReleaseDeployed),
    (51.0, e.CriteriaMet),
)  # fmt: skip


def by_name(told: list[Phase]) -> dict[str, tuple[float, float]]:
    return {phase.name: (phase.seconds, phase.waiting_s) for phase in told}


def test_phases_follow_the_states_and_sum_to_the_whole() -> None:
    told = phases(story(*STEPS), began_at=NOON, signal_waits=[])
    assert [phase.name for phase in told] == list(PHASES)
    assert [phase.seconds for phase in told] == [6.0, 1.0, 6.0, 8.0, 12.0, 7.0, 11.0]
    assert overhead_s(told) == 51.0


def test_waits_that_overlap_count_once_and_only_within_their_phase() -> None:
    waits = {"ChecksPassed": (wait(12, 18), wait(15, 20)), "CanaryPassed": (wait(22, 32),)}
    told = by_name(phases(story(*STEPS, **waits), began_at=NOON, signal_waits=[wait(-12, 5)]))
    assert told["detect"] == (6.0, 5.0)
    assert told["work"] == (6.0, 1.0)  # the checks' environment was built beside it
    assert told["test"] == (8.0, 7.0)
    assert told["canary"] == (12.0, 10.0)


def test_time_with_a_person_is_no_phase_and_a_second_attempt_adds_to_the_first() -> None:
    told = by_name(
        phases(
            story(
                (1, e.TicketFiled), (2, e.TicketAdmitted), (5, e.AttemptStarted), (6, e.HelpRequested),
                (600, e.AnswerGiven), (603, e.ChangeProposed), (604, e.ChecksFailed), (607, e.ChangeProposed),
                (610, e.TicketCancelled),
            ),
            began_at=NOON,
            signal_waits=[],
        )
    )  # fmt: skip
    assert told["work"] == (4.0 + 3.0 + 3.0, 0.0)
    assert told["test"] == (1.0 + 3.0, 0.0)
