"""Incidents in which answers are wrong, not slow: errors and wrong denials, on a modelled world in virtual time."""

from __future__ import annotations

import pytest

from harness.core import events as e
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.service import Behaviour, Change
from tests.simulation.operations import MANIFEST, Operations, days_work, incident, innocent

ERRORS = Behaviour(error_share=0.15)
DENIALS = Behaviour(wrong_denial_share=0.4)
CONFIGURATION = MANIFEST.configuration[0]
OFF = {"canary": 0.0, "baseline": 0.0}


async def settled(changes: list[Change], *, seed: int) -> Operations:
    """The end of an incident that these changes bring."""
    operations = await incident([], seed=seed)
    operations.world.release(changes)
    await operations.settle()
    return operations


def metrics(operations: Operations) -> list[str]:
    admitted = operations.ticket("INF-1").admitted
    assert admitted is not None
    return [criterion.metric for criterion in admitted.criteria]


@pytest.mark.parametrize(
    ("behaviour", "metric", "place", "seed"),
    [(ERRORS, "error_share", 0, 1), (ERRORS, "error_share", 5, 2), (ERRORS, "error_share", 9, 3),
     (DENIALS, "wrong_denial_share", 1, 4), (DENIALS, "wrong_denial_share", 8, 5)],
)  # fmt: skip
def test_wrong_answers_are_found_taken_back_and_verified_wherever_the_bad_commit_is(
    behaviour: Behaviour, metric: str, place: int, seed: int
) -> None:
    async def story() -> None:
        # given a day's work with one bad commit in it
        operations = await settled(days_work(place, behaviour), seed=seed)
        # then the ticket is about the metric that burnt, although its objective has two
        assert operations.ticket("INF-1").filed.signal == "slo:availability"
        assert metrics(operations)[0] == metric
        # and exactly that commit was taken back, which had to win by that metric
        ticket = operations.ticket("INF-1")
        assert ticket.state is State.RESOLVED and len(ticket.attempts) == 1
        main = operations.world.repository.main()
        assert operations.world.repository.diff(main + "^", main) == f"-change-{place}\n"
        won = {one.metric: one.verdict for one in operations.last("INF-1", e.CanaryPassed).verdicts}
        assert won[metric] == "LOW"
        assert operations.runs_everywhere(main) and operations.world.router.shares == OFF

    run(story())


def a_release_with_one_change_of_configuration(its: Behaviour, of_another: Behaviour) -> list[Change]:
    """What is seen of both is the same until one of them is taken back."""
    both = [Change(CONFIGURATION, its), innocent(4), Change("change-5", of_another)]
    return [innocent(1), innocent(2), *both, innocent(6)]


def test_when_the_one_change_of_configuration_is_to_blame_it_is_taken_back_unmeasured() -> None:
    async def story() -> None:
        operations = await settled(a_release_with_one_change_of_configuration(DENIALS, Behaviour()), seed=1)
        (attempt,) = operations.ticket("INF-1").attempts
        assert operations.reached(State.RESOLVED) and attempt.change is not None and attempt.change.kind == "config"
        assert [step.tool for step in attempt.steps if isinstance(step, e.ActionTaken)].count("measure") == 0

    run(story())


@pytest.mark.parametrize("seed", range(1, 6))
def test_when_it_is_not_the_canary_stops_that_and_the_second_attempt_finds_the_other(seed: int) -> None:
    async def story() -> None:
        # given the same evidence, of another cause
        operations = await incident([], seed=seed)
        sick = operations.world.release(a_release_with_one_change_of_configuration(Behaviour(), DENIALS))[-1]
        # when the first change is on trial
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        # then it was shown to be no better, and all traffic was counted on stable before anything else was done
        failed = operations.last("INF-1", e.CanaryFailed)
        assert failed.reason == "not_superior: wrong_denial_share" and failed.stable_share == 1.0
        assert operations.world.router.shares == OFF and operations.runs_everywhere(sick)
        # and the second attempt did not try that again
        await operations.settle()
        first, second = operations.ticket("INF-1").attempts
        assert operations.reached(State.RESOLVED)
        assert first.change is not None and first.change.kind == "config"
        assert second.change is not None and second.change.kind == "code"
        main = operations.world.repository.main()
        assert operations.world.repository.diff(sick, main) == "-change-5\n"

    run(story())


def test_two_bad_commits_go_with_the_release_when_taking_one_back_did_not_help() -> None:
    async def story() -> None:
        operations = await settled(
            [innocent(1), Change("change-2", ERRORS), innocent(3), Change("change-4", ERRORS), innocent(5)], seed=2
        )
        assert operations.reached(State.RESOLVED) and len(operations.ticket("INF-1").attempts) == 2
        assert operations.last("INF-1", e.CriteriaMet).attempt == 2

    run(story())


def test_when_nothing_helps_a_person_is_told_what_was_tried() -> None:
    async def story() -> None:
        # given a release, and trouble from outside that came with it
        operations = await incident([])
        released = operations.world.release([innocent(number) for number in range(5)])
        operations.world.disturb(ERRORS)
        await operations.settle()
        # then all that could be taken back was, in vain, and a person is asked
        ticket = operations.ticket("INF-1")
        assert ticket.state is State.ESCALATED and len(ticket.attempts) == 2
        assert "Attempt 1 took back" in operations.question() and "not_superior: error_share" in operations.question()
        assert operations.question().endswith("who may decide on what stood in the way?")
        # and the service is what it was
        assert operations.runs_everywhere(released[-1]) and ticket.life.token is None

    run(story())
