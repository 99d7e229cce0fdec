"""A worker that was stopped goes on after another took its work over: nothing that it still does counts. In memory."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from harness.core import events as e
from harness.core.errors import Forbidden, HarnessError, VersionConflict
from harness.core.lifecycle import State
from harness.journal import Journal
from harness.ports import Clock
from harness.simulation.clock import run
from harness.stages import canary, verify
from tests.simulation.operations import days_work, incident

OFF = {"canary": 0.0, "baseline": 0.0}


class StoppedAtItsNextSleep:
    """The clock of a worker that gets SIGSTOP while it sleeps, and SIGCONT by ``go_on``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.go_on = asyncio.Event()

    def now(self) -> datetime:
        return self._clock.now()

    async def sleep(self, seconds: float) -> None:
        await self.go_on.wait()


def test_a_worker_that_slept_through_a_canary_gives_the_arms_no_traffic_again() -> None:
    async def story() -> None:
        # given a worker that is stopped within the first step of a canary, and another that goes on with it
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.happened(e.CanaryStepped))
        clock = StoppedAtItsNextSleep(operations.world.clock)
        journal = Journal("INF-1", ledger=operations.ledger, blobs=operations.blobs, clock=clock)
        stopped = asyncio.create_task(canary.canary(journal, operations.harness.operator()))
        await operations.watch(lambda: operations.reached(State.DEPLOYING))
        # when the first one goes on, and by its memory the next step is overdue
        clock.go_on.set()
        with pytest.raises((VersionConflict, Forbidden)):
            await stopped
        # then no arm got traffic: both are gone, every request to them would be lost
        assert operations.world.router.shares == OFF
        await operations.settle()
        assert operations.reached(State.RESOLVED)

    run(story())


def test_the_weights_of_a_canary_that_is_over_are_refused_even_under_its_own_token() -> None:
    async def story() -> None:
        # given a delivery whose canary is over, and that still holds the lock
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.reached(State.DEPLOYING))
        token = operations.ticket("INF-1").life.token
        assert token is not None
        # when a write of its last step arrives only now
        with pytest.raises(HarnessError, match="older than"):
            await operations.world.router.set_weights({"canary": 0.2, "baseline": 0.2}, token, "INF-1/1/canary-2")
        # then it changed nothing
        assert operations.world.router.shares == OFF

    run(story())


def test_a_worker_that_slept_through_a_verification_takes_nothing_back() -> None:
    async def story() -> None:
        # given a worker that is stopped while it verifies, and another that finds the criteria met
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.reached(State.VERIFYING))
        clock, world = StoppedAtItsNextSleep(operations.world.clock), operations.world
        journal = Journal("INF-1", ledger=operations.ledger, blobs=operations.blobs, clock=clock)
        stopped = asyncio.create_task(verify.verify(journal, operations.harness.operator()))
        await operations.settle()
        assert operations.reached(State.RESOLVED)
        main = world.repository.main()
        # when the first one goes on, and cannot measure any more what the other one saw
        world.metrics.forget()
        clock.go_on.set()
        with pytest.raises(VersionConflict):
            await stopped
        # then the change stays where it is
        assert operations.runs_everywhere(main)

    run(story())


def test_a_worker_that_slept_through_the_verification_of_an_operation_takes_no_node_away() -> None:
    async def story() -> None:
        # given a worker that is stopped while it verifies that a lost node was replaced, and another that finds it so
        operations = await incident([])
        operations.world.kill("n2")
        await operations.watch(lambda: operations.reached(State.VERIFYING))
        clock, world = StoppedAtItsNextSleep(operations.world.clock), operations.world
        journal = Journal("INF-1", ledger=operations.ledger, blobs=operations.blobs, clock=clock)
        stopped = asyncio.create_task(verify.verify(journal, operations.harness.operator()))
        await operations.settle()
        # when the first one goes on, and cannot measure any more what the other one saw
        world.metrics.forget()
        clock.go_on.set()
        with pytest.raises(VersionConflict):
            await stopped
        # then the node stays
        assert operations.reached(State.RESOLVED) and world.nodes.names() == ("n1", "n3", "n4")

    run(story())
