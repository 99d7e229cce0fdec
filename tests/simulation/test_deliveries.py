"""Deliveries beside each other and beside people, on a modelled world in virtual time."""

from __future__ import annotations

from harness.core import events as e
from harness.core.lifecycle import State
from harness.simulation.clock import run
from tests.simulation.operations import days_work, healthy, incident, innocent


def test_a_delivery_waits_for_another_and_goes_on_when_that_is_over() -> None:
    async def story() -> None:
        # given another ticket that delivers
        operations = await incident(days_work(5))
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        # when the change is proposed
        await operations.watch(lambda: operations.reached(State.QUEUED))
        assert operations.last("INF-1", e.DeliveryQueued).holder == "INF-99"
        await healthy(operations, 5)
        # then it waits and touches nothing but its own branch, and goes on with a higher token when it may
        assert {effect.kind for effect in operations.world.effects} == {"commit"}
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED
        assert operations.last("INF-1", e.LockAcquired).token == 3
        # and turns its canary's traffic off with the number after it, so that its own steps are refused from then on
        tokens = [effect.detail.split(".")[0] for effect in operations.world.effects if effect.kind == "weights"]
        assert tokens == ["000000000003", "000000000003", "000000000004"]

    run(story())


def test_what_was_delivered_while_a_change_waited_is_neither_lost_nor_blamed() -> None:
    async def story() -> None:
        # given a change that waits while a person delivers something else
        operations = await incident(days_work(5))
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        await operations.watch(lambda: operations.reached(State.QUEUED))
        (theirs,) = operations.world.release([innocent(20)])
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        # when its turn comes
        await operations.settle()
        # then both are served, and the canary was compared with what was served meanwhile
        assert operations.reached(State.RESOLVED)
        assert operations.world.repository.diff(theirs, operations.world.repository.main()) == "-change-5\n"
        assert operations.last("INF-1", e.CanaryStarted).baseline == theirs

    run(story())


def test_main_is_not_moved_over_a_commit_that_was_not_tested_with_the_change() -> None:
    async def story() -> None:
        # given a person who pushes to main while a change is on trial
        operations = await incident(days_work(5))
        await operations.watch(lambda: operations.reached(State.CANARYING))
        theirs = operations.world.repository.push(innocent(20), "people")
        # when the change is to be deployed
        await operations.settle()
        # then that attempt is over, and the next one is tested on top of the person's commit
        failed, passed = operations.ticket("INF-1").attempts
        assert isinstance(failed.deploy, e.DeployFailed) and "main is at" in failed.deploy.reason
        assert failed.swaps == () and failed.main_moved is None
        assert operations.reached(State.RESOLVED) and passed.base == theirs
        assert operations.world.repository.diff(theirs, operations.world.repository.main()) == "-change-5\n"

    run(story())


def test_a_person_who_stops_a_queued_ticket_is_heard() -> None:
    async def story() -> None:
        # given a delivery that waits
        operations = await incident(days_work(5))
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        await operations.watch(lambda: operations.reached(State.QUEUED))
        # when a person calls for help on it, and the lock becomes free
        question = operations.blobs.put_json({"question": "Is this the right time?"})
        operations.journal("INF-1").record(
            "by-hand", e.HelpRequested(attempt=1, exit_status="asked", question=question), actor="people"
        )
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        await healthy(operations, 5)
        # then the ticket stays with the person, and the lock with nobody
        assert operations.reached(State.ESCALATED) and operations.ticket("INF-1").life.token is None

    run(story())
