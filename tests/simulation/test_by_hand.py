"""Tickets that people file, and what they carry through: no change needed, a commit, a revert. In virtual time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from temporalio.exceptions import ApplicationError

from harness.core import events as e
from harness.core.errors import Forbidden
from harness.core.lifecycle import State
from harness.core.manifest import Manifest
from harness.numbering import next_id
from harness.simulation.clock import run
from harness.simulation.service import Behaviour, Change
from harness.simulation.world import World
from tests.simulation.operations import MANIFEST, RULES, Operations, days_work, healthy, incident, innocent
from tests.simulation.test_races import meanwhile

INF_4521: dict[str, Any] = {
    "id": "INF-4521",
    "type": "improvement",
    "objective": {"description": "Reduce cold start latency"},
    "acceptance_criteria": [
        {"metric": "cold_start_p99", "condition": "< 500ms", "duration": "1h sustained"},
        {"metric": "throughput", "condition": "no regression"},
    ],
    "constraints": ["no changes during peak hours"],
    "priority": "P2",
    "budget": {"usd": 2.0, "tokens": 400000, "steps": 60, "wall_clock": "2h"},
    "labels": {"team": "edge"},
}
"""The example of the vision, as it stands there."""
WITHOUT_HOURS = INF_4521 | {"constraints": []}


async def quiet(manifest: Manifest = MANIFEST) -> Operations:
    """A healthy service under watch."""
    operations = Operations.on(World(manifest))
    operations.world.release()
    await operations.world.clock.sleep(20)
    await healthy(operations, 5)
    return operations


def a_commit(operations: Operations, change: Change) -> str:
    """A person's commit on a branch: main is where it was."""
    repository, main = operations.world.repository, operations.world.repository.main()
    commit = repository.push(change, "grace")
    repository.move_main(commit, main)
    operations.world.effects.clear()
    return commit


# --- filing --------------------------------------------------------------------------------------------------------


def test_an_id_is_used_when_it_is_free_and_numbers_go_on_beside_it() -> None:

    async def story() -> None:
        operations = Operations.on(World(MANIFEST))
        assert operations.file() == "INF-1"
        assert operations.file(id="INF-4521") == "INF-4521"
        assert operations.file(id="INF-3") == "INF-3"
        assert [operations.file(), operations.file()] == ["INF-2", "INF-4"]
        with pytest.raises(Forbidden, match=r"INF-4521 is taken; leave `id` out"):
            operations.file(id="INF-4521")

    run(story())


def test_two_people_who_file_at_the_same_moment_get_a_number_each() -> None:
    async def story() -> None:
        operations = Operations.on(World(MANIFEST))
        meanwhile(operations.ledger, lambda: operations.file(objective={"description": "first"}))
        assert operations.file() == "INF-2"
        assert next_id(operations.ledger) == "INF-3"

    run(story())


# --- nothing to do, and nothing that could be done -----------------------------------------------------------------


def test_a_ticket_whose_criteria_hold_already_is_resolved_without_a_change() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.world.effects.clear()
        operations.file()
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED and operations.happened(e.NothingToChange)
        met = operations.last("INF-1", e.CriteriaMet)
        assert met.samples >= 3000 and met.criteria[0].measured.value == pytest.approx(0, abs=0.05)
        assert operations.world.effects == []

    run(story())


def test_criteria_without_a_count_of_their_own_still_need_traffic_to_be_verified() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.file(acceptance_criteria=[{"metric": "available", "condition": "> 20%"}])
        await operations.settle()
        assert operations.last("INF-1", e.CriteriaMet).samples >= 3000
        assert operations.ticket("INF-1").admitted is not None
        assert operations.last("INF-1", e.TicketAdmitted).criteria[0].duration == "10s"

    run(story())


def test_criteria_that_cannot_be_reached_are_handed_to_a_person_with_what_was_seen() -> None:
    async def story() -> None:
        operations = await quiet()
        wanted = [{"metric": "available", "condition": "> 95%"}, {"metric": "slow_share", "condition": "< 10%"}]
        operations.file(acceptance_criteria=wanted)
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED
        asked = operations.question()
        assert asked.startswith("No runbook fits a ticket filed by hand. Every criterion was looked at.")
        assert "Not held: available is 0.4" in asked and "(> 95%)" in asked
        assert "Held: slow_share is 0" in asked and "--change COMMIT" in asked

    run(story())


def test_the_example_of_the_vision_is_measured_and_resolved_after_its_hour() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.world.effects.clear()
        assert operations.file(**WITHOUT_HOURS) == "INF-4521"
        began = operations.world.clock.now()
        await operations.carry_to_a_person("INF-4521")
        ticket = operations.ticket("INF-4521")
        assert ticket.state is State.RESOLVED, operations.question("INF-4521")
        cold, throughput = ticket.attempt.verification.criteria  # type: ignore[union-attr]
        assert cold.measured.query.startswith("probe cold_start on ") and 0.3 <= (cold.measured.value or 0) < 0.5
        assert throughput.measured.value == pytest.approx(1, abs=0.01)
        assert operations.world.clock.now() - began >= timedelta(hours=1)
        assert operations.world.effects == []

    run(story())


def test_a_ticket_that_must_not_change_things_in_peak_hours_waits_for_their_end() -> None:
    async def story() -> None:
        # given a Monday in the peak hours of the manifest (the world begins at 10:00 in Berlin)
        operations = await quiet()
        wanted = [{"metric": "slow_share", "condition": "< 10%"}]
        operations.file(constraints=["no changes during peak hours"], acceptance_criteria=wanted)
        await operations.carry_to_a_person()
        awaited = operations.last("INF-1", e.WindowAwaited)
        assert awaited.constraint == "no changes during peak hours"
        assert awaited.until == datetime(2026, 3, 2, 17, tzinfo=ZoneInfo("Europe/Berlin"))
        # then it is worked on when they are over
        assert operations.state("INF-1") is State.RESOLVED
        assert operations.ticket("INF-1").attempt.started_at >= awaited.until

    run(story())


# --- a person's commit ---------------------------------------------------------------------------------------------


def test_a_persons_commit_goes_through_the_same_stages() -> None:
    async def story() -> None:
        operations = await quiet()
        commit = a_commit(operations, innocent(1))
        operations.file(change=commit)
        await operations.settle()
        (attempt,) = operations.ticket("INF-1").attempts
        assert operations.state("INF-1") is State.RESOLVED and attempt.agent == "none"
        assert attempt.change is not None and attempt.change.commit == commit
        assert isinstance(attempt.canary, e.CanaryPassed) and operations.runs_everywhere(commit)

    run(story())


def test_a_persons_commit_that_fails_is_not_tried_again_before_a_person_says_so() -> None:
    async def story() -> None:
        operations = await quiet()
        commit = a_commit(operations, Change("bad", Behaviour(error_share=0.5)))
        main = operations.world.repository.main()
        operations.file(change=commit)
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED and operations.runs_everywhere(main)
        assert operations.question().startswith("The change was stopped: canary: ")
        # when a person says that it should be tried again
        await operations.tell("answer", text="again")
        await operations.carry_to_a_person()
        stopped = [event for event in operations.events("ticket-INF-1") if isinstance(event, e.CanaryFailed)]
        assert len(stopped) == 2 and operations.state("INF-1") is State.ESCALATED

    run(story())


def test_a_commit_that_is_not_there_is_handed_back() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.file(change="feedbeef")
        await operations.settle()
        assert "`feedbeef` is no commit of the service's repository" in operations.question()

    run(story())


def test_a_change_outside_of_the_only_path_that_is_allowed_is_refused() -> None:
    async def story() -> None:
        operations = await quiet()
        commit = a_commit(operations, innocent(1))
        operations.file(change=commit, constraints=["only files under src"])
        await operations.settle()
        failed = operations.last("INF-1", e.ChecksFailed)
        assert failed.reason == "the ticket's constraints forbid these files: only files under src: change-1"
        assert operations.world.effects == []

    run(story())


# --- reverts -------------------------------------------------------------------------------------------------------


async def resolved_by_hand(change: Change) -> Operations:
    operations = await quiet()
    operations.file(change=a_commit(operations, change))
    await operations.settle()
    assert operations.reached(State.RESOLVED)
    return operations


def test_a_revert_goes_through_the_same_stages_and_marks_what_it_took_back() -> None:
    async def story() -> None:
        operations = await resolved_by_hand(innocent(1))
        before = operations.last("INF-1", e.MainMoved).before
        assert operations.file(reverts="INF-1") == "INF-2"
        await operations.watch(lambda: operations.reached(State.RESOLVED, State.ESCALATED, ticket_id="INF-2"))
        repository = operations.world.repository
        assert operations.state("INF-2") is State.RESOLVED and operations.state("INF-1") is State.REVERTED
        assert repository.tree(repository.main()) == repository.tree(before)
        assert operations.runs_everywhere(repository.main()) and operations.ledger.verify().ok

    run(story())


def test_a_revert_that_later_changes_stand_in_the_way_of_says_which() -> None:
    async def story() -> None:
        operations = await resolved_by_hand(innocent(1))
        operations.world.release([Change("later", on_top_of="change-1")])
        operations.file(reverts="INF-1")
        await operations.watch(lambda: operations.reached(State.ESCALATED, ticket_id="INF-2"))
        assert "later changes stand in the way in later" in operations.question("INF-2")
        assert operations.state("INF-1") is State.RESOLVED

    run(story())


def test_a_revert_that_would_bring_the_trouble_back_is_stopped_by_its_canary() -> None:
    async def story() -> None:
        # given an incident that was repaired by taking a slow commit back
        operations = await incident(days_work(2, of=4))
        await operations.settle()
        assert operations.reached(State.RESOLVED)
        main = operations.world.repository.main()
        # when that repair is to be reverted
        operations.file(reverts="INF-1")
        await operations.watch(lambda: operations.reached(State.ESCALATED, ticket_id="INF-2"))
        # then the canary sees it, and nobody else
        assert operations.happened(e.CanaryFailed, "INF-2") and operations.runs_everywhere(main)
        assert operations.state("INF-1") is State.RESOLVED and "slow_share" in operations.question("INF-2")

    run(story())


def test_a_persons_commit_mends_what_an_escalated_ticket_asked_about_and_an_answer_then_resolves_it() -> None:
    async def story() -> None:
        # given a release that denies good traffic, and a ticket for which nobody knew how
        operations = await incident([], rules=replace(RULES, runbooks=()))
        (denying,) = operations.world.release([Change("denying", Behaviour(wrong_denial_share=0.3))])
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED
        # when a person files a commit of theirs that mends it
        mended = operations.world.repository.revert(denying, denying, "hers", "her revert", "Admit them again")
        second = operations.file(change=mended)
        await operations.watch(lambda: operations.reached(State.RESOLVED, State.ESCALATED, ticket_id=second))
        # then it went through the same stages
        (attempt,) = operations.ticket(second).attempts
        assert operations.state(second) is State.RESOLVED and isinstance(attempt.canary, e.CanaryPassed)
        assert operations.runs_everywhere(operations.world.repository.main())
        # and the first ticket, told so, measures that it holds
        await operations.tell("answer", text=f"{second} mended it")
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED and operations.happened(e.NothingToChange)

    run(story())


async def nobody_knew_how() -> tuple[Operations, str]:
    """A release that denies good traffic, a ticket that escalated, and the commit to blame."""
    operations = await incident([], rules=replace(RULES, runbooks=()))
    (denying,) = operations.world.release([Change("denying", Behaviour(wrong_denial_share=0.3))])
    await operations.settle()
    assert operations.state("INF-1") is State.ESCALATED
    return operations, denying


def test_a_person_who_takes_a_ticket_over_has_their_commit_go_through_its_stages() -> None:
    async def story() -> None:
        operations, denying = await nobody_knew_how()
        # when a person takes the ticket over with a commit that mends it
        hers = operations.world.repository.revert(denying, denying, "hers", "her revert", "Admit them again")
        operations.world.effects.clear()
        assert await operations.tell("take_over", commit=hers) == State.WORKING
        await operations.settle()
        # then that commit is the ticket's next attempt, which no agent thought of, through every stage
        first, second = operations.ticket("INF-1").attempts
        assert operations.state("INF-1") is State.RESOLVED and (first.change, second.agent) == (None, "none")
        assert second.change is not None and second.change.commit == hers
        assert isinstance(second.canary, e.CanaryPassed) and operations.runs_everywhere(hers)
        effects = [(effect.kind, effect.key) for effect in operations.world.effects]
        assert len(set(effects)) == len(effects)

    run(story())


def test_a_commit_that_took_a_ticket_over_and_was_stopped_is_not_tried_again_and_an_answer_gives_it_back() -> None:
    async def story() -> None:
        operations, denying = await nobody_knew_how()
        hers = operations.world.repository.push(Change("worse", Behaviour(error_share=0.5)), "grace")
        operations.world.repository.move_main(hers, denying)
        # when the commit that took it over is stopped by the canary
        await operations.tell("take_over", commit=hers)
        await operations.carry_to_a_person()
        # then the person is asked, once
        attempts = operations.ticket("INF-1").attempts
        assert operations.question().startswith("The change was stopped: canary: ")
        assert [attempt.agent for attempt in attempts] == ["runbook", "none", "none"]
        # and an answer gives the ticket back to the agent
        await operations.tell("answer", text="mended by hand")
        await operations.carry_to_a_person()
        assert operations.ticket("INF-1").attempt.agent == "runbook"

    run(story())


def test_a_ticket_that_no_person_was_called_for_cannot_be_taken_over() -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.reached(State.CANARYING))
        with pytest.raises(ApplicationError, match="take-over: the ticket is deploying; it can be told: pause, cancel"):
            await operations.tell("take_over", commit=operations.world.repository.main())
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED

    run(story())
