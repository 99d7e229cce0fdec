"""A verification that a more urgent delivery interrupts: inconclusive, and done anew. In virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from harness import lock
from harness.cli.explain import explained
from harness.cli.ticket import explanation
from harness.core import events as e
from harness.core.errors import VersionConflict
from harness.core.ids import lock_stream
from harness.core.lifecycle import ENDS, State
from harness.core.turn import TURN_S
from harness.journal import Journal
from harness.simulation.clock import run
from harness.simulation.effects import Effect
from harness.simulation.service import Behaviour, Change
from harness.stages import verify
from tests.simulation.operations import TERMS, Crash, Operations, days_work, incident
from tests.simulation.test_by_hand import a_commit
from tests.simulation.test_races import about_to_deliver
from tests.simulation.test_stopped_workers import StoppedAtItsNextSleep

LONG = [{"metric": "slow_share", "condition": "< 10%", "duration": "60s sustained"}]


async def verifying(priority: str = "P3", criteria: Any = LONG) -> Operations:
    """A person's change is served, and is verified for a minute."""
    operations = await incident([])
    commit = a_commit(operations, Change("tuned"))
    operations.file(type="improvement", change=commit, priority=priority, acceptance_criteria=criteria)
    await operations.watch(lambda: operations.reached(State.VERIFYING))
    return operations


async def to_the_end(operations: Operations, *tickets: str) -> None:
    await operations.watch(
        lambda: all(operations.reached(*ENDS, State.ESCALATED, ticket_id=one) for one in tickets), limit_s=600
    )


def interrupted(operations: Operations, ticket_id: str = "INF-1") -> list[e.VerificationInterrupted]:
    events = operations.events(f"ticket-{ticket_id}")
    return [event for event in events if isinstance(event, e.VerificationInterrupted)]


def test_an_incident_interrupts_the_verification_of_an_improvement_which_then_starts_anew() -> None:
    async def story() -> None:
        # given an improvement that is verified for a minute, when a release makes requests slow
        operations = await verifying()
        main = operations.world.release(days_work(3, of=5))[-1]
        await to_the_end(operations, "INF-1", "INF-2")
        # then the incident did not wait for that minute, and the verification was inconclusive
        (event,) = interrupted(operations)
        assert (event.by, event.priority) == ("INF-2", "P1")
        assert operations.reached(State.RESOLVED) and operations.reached(State.RESOLVED, ticket_id="INF-2")
        improvement, repair = operations.ticket("INF-1"), operations.ticket("INF-2")
        assert improvement.closed_at is not None and repair.closed_at is not None
        assert (repair.closed_at - repair.filed_at).total_seconds() < 60
        # and it starts anew over a window of its own, from when it had the lock again
        attempt, met = improvement.attempt, operations.last("INF-1", e.CriteriaMet)
        assert attempt.verified_from is not None and attempt.verified_from >= repair.closed_at
        assert all(one.measured.window_from >= attempt.verified_from for one in met.criteria) and met.window_s == 60
        # and every delivery had a token of its own, with the number after it for nobody
        tokens = [event.token for one in ("INF-1", "INF-2") for event in operations.events(f"ticket-{one}")
                  if isinstance(event, e.LockAcquired)]  # fmt: skip
        assert sorted(tokens) == [1, 3, 5]
        kinds = [type(event) for event in operations.events(lock_stream("ratelimiter"))]
        assert kinds == [e.LockTaken, e.LockFreed] * 3
        # and what is served holds both changes
        assert operations.world.repository.diff(main, operations.world.repository.main()) == "-change-3\n"
        assert operations.runs_everywhere(operations.world.repository.main()) and operations.ledger.verify().ok

    run(story())


def test_a_verification_may_be_interrupted_again_and_ends_all_the_same() -> None:
    async def story() -> None:
        operations = await verifying()
        for number in (2, 3):
            operations.file(change=a_commit(operations, Change(f"urgent-{number}")), priority="P0")
            await operations.watch(lambda: operations.reached(State.RESOLVED, ticket_id=operations.tickets()[-1]))
            await operations.watch(lambda: operations.reached(State.VERIFYING))
        await to_the_end(operations, "INF-1")
        assert operations.reached(State.RESOLVED) and len(interrupted(operations)) == 2
        kinds = [type(event) for event in operations.events(lock_stream("ratelimiter"))]
        assert kinds == [e.LockTaken, e.LockFreed] * 5 and operations.ledger.verify().ok

    run(story())


def test_an_interruption_is_told_to_people() -> None:
    async def story() -> None:
        operations = await verifying()
        operations.world.release(days_work(3, of=5))
        await to_the_end(operations, "INF-1", "INF-2")
        told = list(explained(explanation(operations.harness.record, operations.ticket("INF-1"))))
        at = next(n for n, line in enumerate(told) if "VERIFY inconclusive: INF-2 (P1) takes the lock" in line)
        assert any("VERIFY passed" in line for line in told[at:])
        assert [line for line in told if line.startswith("Why did TEST")] == ["Why did TEST let it through?"]

    run(story())


@pytest.mark.parametrize(("holder", "other"), [("P1", "P1"), ("P0", "P1"), ("P3", "P2")])
def test_only_a_more_urgent_p0_or_p1_interrupts(holder: str, other: str) -> None:
    async def story() -> None:
        operations = await verifying(priority=holder)
        operations.file(change=a_commit(operations, Change("other")), priority=other)
        await to_the_end(operations, "INF-1", "INF-2")
        assert interrupted(operations) == []
        one, two = operations.ticket("INF-1"), operations.ticket("INF-2")
        assert one.closed_at is not None and two.closed_at is not None and one.closed_at < two.closed_at

    run(story())


def test_what_is_not_served_everywhere_yet_is_not_interrupted() -> None:
    async def story() -> None:
        operations = await incident([])
        operations.file(change=a_commit(operations, Change("tuned")), priority="P3", acceptance_criteria=LONG)
        await operations.watch(lambda: operations.reached(State.TESTING))
        operations.file(change=a_commit(operations, Change("other")), priority="P0")
        await operations.watch(lambda: operations.reached(State.QUEUED, ticket_id="INF-2"))
        assert operations.reached(State.CANARYING)
        await to_the_end(operations, "INF-1", "INF-2")
        events = [type(event) for event in operations.events("ticket-INF-1")]
        assert events.index(e.ReleaseDeployed) < events.index(e.VerificationInterrupted)
        assert operations.reached(State.RESOLVED) and operations.reached(State.RESOLVED, ticket_id="INF-2")

    run(story())


def test_one_that_fails_when_it_is_verified_anew_is_taken_back_and_what_came_on_top_of_it_stays() -> None:
    async def story() -> None:
        # given a change that cannot reach what it is there for, and an urgent one that interrupts it
        better = [{"metric": "slow_share", "condition": "at least 90% better", "duration": "30s sustained"}]
        operations = await verifying(criteria=better)
        before = operations.world.repository.main()
        operations.file(change=a_commit(operations, Change("urgent")), priority="P0")
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet), limit_s=200)
        # then it alone is gone from main and from the nodes
        assert len(interrupted(operations)) == 1 and operations.reached(State.RESOLVED, ticket_id="INF-2")
        main = operations.world.repository.main()
        assert operations.world.repository.diff(before, main) == "-tuned\n+urgent\n"
        assert operations.runs_everywhere(main)

    run(story())


# --- people --------------------------------------------------------------------------------------------------------


def test_a_ticket_that_was_interrupted_is_cancelled_once_it_can_be_taken_back() -> None:
    async def story() -> None:
        operations = await verifying()
        before = operations.world.repository.main()
        operations.file(change=a_commit(operations, Change("urgent")), priority="P0")
        await operations.watch(lambda: bool(interrupted(operations)))
        # when a person cancels it while the other one has the lock
        with pytest.raises(ApplicationError, match="INF-2 holds the lock of ratelimiter"):
            await operations.tell("cancel")
        assert operations.reached(State.QUEUED)
        # then that is said, and it can be cancelled later, with its change taken back
        await operations.watch(lambda: operations.reached(State.RESOLVED, ticket_id="INF-2"))
        await operations.tell("cancel")
        assert operations.reached(State.CANCELLED)
        main = operations.world.repository.main()
        assert operations.world.repository.diff(before, main) == "-tuned\n+urgent\n"
        assert operations.runs_everywhere(main)
        assert operations.ticket("INF-1").life.token is None

    run(story())


def test_a_ticket_that_is_paused_while_it_waits_to_verify_anew_goes_on_where_it_was() -> None:
    async def story() -> None:
        operations = await verifying()
        operations.file(change=a_commit(operations, Change("urgent")), priority="P0")
        await operations.watch(lambda: bool(interrupted(operations)))
        await operations.tell("pause")
        await operations.watch(lambda: operations.reached(State.RESOLVED, ticket_id="INF-2"))
        await operations.tell("resume")
        await to_the_end(operations, "INF-1")
        assert operations.reached(State.RESOLVED)

    run(story())


# --- crashes, and workers that come back late ----------------------------------------------------------------------


@pytest.mark.parametrize("restart_workflow", [False, True], ids=["activity-retried", "workflow-begun-anew"])
@pytest.mark.parametrize("every", [3, 7, 11])
def test_a_process_that_dies_again_and_again_interrupts_once_and_does_nothing_twice(
    every: int, restart_workflow: bool
) -> None:
    async def story(dies_at: Callable[[int], bool]) -> tuple[Counter[str], set[State | None], int]:
        operations = await verifying()
        operations.restart_workflow = restart_workflow
        points = 0

        def point(effect: Effect | None = None) -> None:
            nonlocal points
            points += 1
            if dies_at(points):
                raise Crash

        operations.world.effects.clear()
        operations.file(change=a_commit(operations, Change("urgent")), priority="P0")
        operations.world.after_effect = point
        operations.ledger.before = operations.ledger.after = point
        for ticket_id in ("INF-1", "INF-2"):
            if ticket_id not in operations.carried:
                operations.carried[ticket_id] = asyncio.create_task(operations.carry(ticket_id))
        await asyncio.wait(operations.carried.values())
        assert operations.ledger.verify().ok
        assert operations.runs_everywhere(operations.world.repository.main())
        effects = Counter("main" if one.kind == "main" else f"{one.kind} {one.key}" for one in operations.world.effects)
        assert {one: times for one, times in effects.items() if times > 1 and one != "main"} == {}
        assert len(interrupted(operations)) == 1
        return effects, {operations.state("INF-1"), operations.state("INF-2")}, operations.restarts

    calm, ends, _ = run(story(lambda point: False))
    effects, ends_too, restarts = run(story(lambda point: point % every == 0))
    assert restarts > 3 and effects == calm and ends == ends_too == {State.RESOLVED}


def test_a_worker_that_slept_through_the_interruption_of_a_verification_takes_nothing_back() -> None:
    async def story() -> None:
        # given a worker that is stopped while it verifies, and an urgent ticket that interrupts it
        operations = await verifying()
        clock, world = StoppedAtItsNextSleep(operations.world.clock), operations.world
        journal = Journal("INF-1", ledger=operations.ledger, blobs=operations.blobs, clock=clock)
        stopped = asyncio.create_task(verify.verify(journal, operations.harness.operator()))
        operations.file(change=a_commit(operations, Change("urgent")), priority="P0")
        await operations.watch(lambda: operations.reached(State.DEPLOYING, ticket_id="INF-2"))
        # when it goes on, and cannot measure any more what it was to judge
        world.metrics.forget()
        clock.go_on.set()
        with pytest.raises(VersionConflict):
            await stopped
        # then nothing was taken back, and both tickets come to their end
        assert not operations.happened(e.RolledBack)
        await to_the_end(operations, "INF-1", "INF-2")
        assert operations.reached(State.RESOLVED)

    run(story())


def test_what_is_taken_back_already_is_not_interrupted() -> None:
    async def story() -> None:
        # given a verification that has failed, whose worker dies before the way back is done
        operations = await verifying()
        operations.world.disturb(Behaviour(error_share=0.3))
        journal = operations.journal("INF-1")
        lock.keep(journal, "error_share < 1%: 0.3 measured", operations.world.repository.main())
        operations.world.disturb(Behaviour())
        # when an urgent ticket wants the lock
        operations.file(change=a_commit(operations, Change("urgent")), priority="P0")
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet))
        # then the way back was done first, for the reason that was found, whatever is measured since
        assert interrupted(operations) == []
        assert operations.last("INF-1", e.CriteriaNotMet).reason == "error_share < 1%: 0.3 measured"

    run(story())


# --- the queue -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaves", ["paused", "escalated"])
def test_a_delivery_that_is_paused_or_with_a_person_keeps_nobody_waiting(leaves: str) -> None:
    async def story() -> None:
        operations = Operations.on((await incident([])).world)
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        urgent, other = await about_to_deliver(operations, "P0"), await about_to_deliver(operations, "P2")
        tasks = [asyncio.create_task(lock.acquire(journal, TERMS)) for journal in (urgent, other)]
        await operations.world.clock.sleep(1)
        tasks[0].cancel()
        question = urgent.put({"question": "What now?"})
        event = {
            "paused": e.TicketPaused(by="somebody"),
            "escalated": e.HelpRequested(attempt=1, exit_status="asked", question=question),
        }[leaves]
        urgent.record("leaves", event)
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        began_s = operations.world.clock.now_s()
        await tasks[1]
        assert other.state is State.TESTING and operations.world.clock.now_s() - began_s < 1

    run(story())


def test_a_delivery_whose_workflow_is_lost_is_passed_over_after_a_while_and_keeps_its_place_before() -> None:
    async def story() -> None:
        operations = Operations.on((await incident([])).world)
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        lost, other = await about_to_deliver(operations, "P0"), await about_to_deliver(operations, "P2")
        tasks = [asyncio.create_task(lock.acquire(journal, TERMS)) for journal in (lost, other)]
        await operations.world.clock.sleep(2 * TURN_S)
        # given a delivery that waits in vain, for nobody carries it any more
        tasks[0].cancel()
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        began_s = operations.world.clock.now_s()
        # when the lock is free, then the other one takes it, once the turn has been let pass
        await tasks[1]
        assert other.state is State.TESTING
        assert TURN_S <= operations.world.clock.now_s() - began_s < TURN_S + 1
        # and whoever comes back to the lost one finds it in the queue
        assert operations.reached(State.QUEUED, ticket_id="INF-1")

    run(story())
