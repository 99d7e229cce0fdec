"""A real Temporal server loses its file in every state of a ticket's life: recovered from the ledger, all end well.

The real workflows and stages on a modelled world, whose time runs fast, and stands still while the server is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from harness.adapters.clock import SystemClock
from harness.adapters.temporal import HARNESS_QUEUE, TemporalWorkflows, tell_ticket
from harness.core import events as e
from harness.core.command import Command, Verb
from harness.core.lifecycle import ENDS, LIVE, State
from harness.ledger.store import Ledger
from harness.numbering import next_id
from harness.recover import Recovered, recover
from harness.simulation.clock import START
from harness.simulation.world import World
from harness.stop import record_stop
from tests.acceptance.newcomer import Newcomer
from tests.integration.fast_loop import FastLoop
from tests.integration.temporal_world import Server, serving, until
from tests.integration.test_pump import append, filed
from tests.integration.test_workflows import Watched
from tests.simulation.operations import MANIFEST, RULES, Operations, days_work, innocent
from tests.simulation.test_by_hand import a_commit
from workflows import keeper
from workflows.activities import Activities
from workflows.agent_session import AgentSession
from workflows.edge import HEARTBEATS_TOLD_EVERY
from workflows.pump import pump
from workflows.ticket import TicketWorkflow
from workflows.watch import WatchWorkflow
from workflows.worker import STICKY_TIMEOUT

SPEED = 10.0
HEALTHY_S = 24.0
DELIVERY = (State.WORKING, State.TESTING, State.CANARYING, State.DEPLOYING, State.VERIFYING)
SHORTER_THAN_ANY_S = 1.0
"""Than any of these states lasts, in the time of the world."""
HOURS = "no changes 08:00-10:30 Mon-Fri Europe/Berlin"
HOURS_END = START + timedelta(minutes=30)
VERIFY = RULES.profile.verify.model_copy(update={"window_s": 4.0, "min_samples": 1200, "ticks": 1})
QUICK = replace(RULES, profile=RULES.profile.model_copy(update={"verify": VERIFY}))
"""The timer of a verification is the server's, and real: it is kept short."""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def on_a_fast_loop(story: Callable[[FastLoop], Any]) -> None:
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(story(cast(FastLoop, runner.get_loop())))


@asynccontextmanager
async def worked(client: Client, operations: Operations) -> AsyncIterator[Watched]:
    """A worker with the real stages, the pump, and a watch whose ticks find nothing; what fires is filed beside it."""
    activities, watched = Activities(operations.harness), Watched()
    names = ("look", "escalate", "admit", "begin_attempt", "think", "ask", "act", "give_up", "test", "canary", "deploy",
             "verify", "rest", "open_window", "obey")  # fmt: skip
    worker = Worker(
        client, task_queue=HARNESS_QUEUE, workflows=[TicketWorkflow, AgentSession, WatchWorkflow],
        activities=[*(getattr(activities, name) for name in names), watched.watch_tick],
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT, max_heartbeat_throttle_interval=HEARTBEATS_TOLD_EVERY,
    )  # fmt: skip
    async with worker:
        beside = [asyncio.create_task(one) for one in (pump(cast(Any, operations.ledger), client), ticks(operations))]
        yield watched
        for task in beside:
            assert not task.done(), task
            task.cancel()


async def ticks(operations: Operations) -> None:
    memory = None
    while True:
        await operations.world.clock.sleep(1)
        memory = await operations.do("watch_tick", memory)


def stands_still_in(loop: FastLoop, operations: Operations, ticket_id: str, state: State) -> None:
    """The world stops at a drawn moment after the ticket came into this state, before it can leave it."""
    armed = [Random(state).uniform(0, SHORTER_THAN_ANY_S)]

    def looks() -> None:
        if armed and operations.state(ticket_id) is state:
            loop.call_later(armed.pop(), lambda: setattr(loop, "speed", 0.0))

    operations.ledger.after = looks


async def so(fact: Callable[[], object]) -> None:
    """Wait for a fact in real time: that of the world may stand still."""
    await asyncio.to_thread(until, fact, 60.0)


async def loses_its_file(server: Server, loop: FastLoop) -> None:
    """The server comes back empty, and in the world no time passed."""
    loop.speed = 0.0
    await asyncio.to_thread(server.lose)
    await asyncio.to_thread(server.start)


async def recovered_by_two(client: Client, operations: Operations) -> Recovered:
    """Two people recover at once, and one again. Gives what the first one found."""
    workflows = TemporalWorkflows(client)
    assert not await workflows.watch_runs()
    first, second = await asyncio.gather(*(recover(operations.ledger, workflows) for _ in range(2)))
    assert [one[:2] for one in first.tickets] == [one[:2] for one in second.tickets]
    both = [{one[2], other[2]} for one, other in zip(first.tickets, second.tickets, strict=True)]
    assert both == [{"begun", "runs"}] * len(first.tickets) and {first.watch, second.watch} == {"begun", "runs"}
    again = await recover(operations.ledger, workflows)
    assert (again.begun, again.watch) == ((), "runs")
    return first


@pytest.mark.timeout(300)
def test_a_server_that_loses_its_file_in_any_state_costs_time_and_nothing_else(server: Server) -> None:
    async def story(loop: FastLoop) -> None:
        client = await server.client()
        operations = Operations.on(World(MANIFEST, seed=4), rules=QUICK)
        world = operations.world
        world.release()
        branch = [a_commit(operations, innocent(number)) for number in (1, 2)]
        loop.speed = SPEED
        async with worked(client, operations) as watched:
            await TemporalWorkflows(client).begin_watch()
            await world.clock.sleep(HEALTHY_S)

            async def comes_to(ticket_id: str, state: State) -> None:
                await so(lambda: operations.state(ticket_id) is state)

            async def told(verb: Verb, ticket_id: str, **fields: Any) -> None:
                loop.speed = 1.0  # the client's patience is counted on this loop
                command = Command(verb=verb, request=f"{verb}-{ticket_id}", by="ada", **fields)
                await tell_ticket(client, ticket_id, command)
                loop.speed = SPEED

            # given tickets that wait: for a word, for their hours, for an answer, and for a person who paused one
            wants = [{"metric": "available", "condition": "> 95%"}]
            asked = operations.file(change=branch[0], constraints=["requires approval"])
            hours, paused = operations.file(constraints=[HOURS]), operations.file(constraints=[HOURS])
            lost = operations.file(acceptance_criteria=wants)
            await comes_to(paused, State.WAITING)
            await told("pause", paused)
            waits = {asked: State.AWAITING_APPROVAL, hours: State.WAITING, lost: State.ESCALATED, paused: State.PAUSED}
            for ticket_id, state in waits.items():
                await comes_to(ticket_id, state)

            # and an incident, during which the server loses its file again and again: in every state of a delivery
            incident, queued, recovered = next_id(operations.ledger), "", []
            stands_still_in(loop, operations, incident, DELIVERY[0])
            world.release(days_work(2, of=4))
            for state, following in zip(DELIVERY, (*DELIVERY[1:], None), strict=True):
                await so(lambda: loop.speed == 0)
                await loses_its_file(server, loop)
                found = await recovered_by_two(client, operations)
                recovered.append({ticket_id: at for ticket_id, at, _ in found.tickets})
                if following:
                    stands_still_in(loop, operations, incident, following)
                if state is State.TESTING:
                    queued = operations.file(change=branch[1])
                    await comes_to(queued, State.QUEUED)
                    waits[queued] = State.QUEUED
                loop.speed = SPEED

            # then each time everything that lived was recovered where it was
            for state, seen in zip(DELIVERY, recovered, strict=True):
                assert seen.pop(incident) is state
                assert seen == {one: waits[one] for one in seen} and seen.keys() >= waits.keys() - {queued}

            # and everything goes on: what was begun to its end, what waits when what it waits for comes
            await comes_to(incident, State.RESOLVED)
            await comes_to(queued, State.RESOLVED)
            # and time counts by the ledger: hours that ended meanwhile are over, whatever timer was forgotten. Nobody
            # recovers by hand this time: the worker's keeper sees that the watch is gone
            loop.speed = 20 * SPEED
            await world.clock.sleep((HOURS_END - world.clock.now()).total_seconds())
            await loses_its_file(server, loop)
            assert await keeper.look(operations.ledger, TemporalWorkflows(client), False) is False
            loop.speed = SPEED
            await comes_to(hours, State.RESOLVED)
            await told("cancel", paused)
            await told("cancel", lost)
            request = operations.ticket(asked).asked
            assert request is not None
            await told("reject", asked, hash=request.hash, final=True)
            assert {operations.state(one) for one in (paused, lost, asked)} <= ENDS
            ticked = len(watched.memories)
            await so(lambda: len(watched.memories) > ticked)

        # at the first attempt, with every effect once
        for delivered, commits in {incident: 1, queued: 2}.items():  # the second is joined with a main that moved
            assert len(operations.ticket(delivered).attempts) == 1
            kinds = sorted(one.kind for one in world.effects if f"{delivered}/" in one.key)
            assert kinds == [*["commit"] * commits, *["order"] * 7, *["weights"] * 3]
        assert len({(one.kind, one.key) for one in world.effects}) == len(world.effects)
        assert operations.runs_everywhere(world.repository.main())
        assert operations.ledger.verify().ok

    on_a_fast_loop(story)


def test_every_state_that_a_ticket_rests_or_works_in_is_among_them() -> None:
    """Filed and admitted are over within a hop; tests/simulation/test_recover.py breaks a ticket off there."""
    waits = {State.AWAITING_APPROVAL, State.WAITING, State.ESCALATED, State.PAUSED, State.QUEUED}
    assert LIVE - {State.FILED, State.ADMITTED} == {*DELIVERY, *waits}


def test_the_command_says_what_it_began_and_what_needed_nothing(server: Server, tmp_path: Path) -> None:
    # given a home with a ticket that was filed, one that waits for a person and one that ended, and an empty server
    newcomer = Newcomer(tmp_path)
    ledger = Ledger.open(tmp_path / "ledger.db", now=SystemClock().now)
    asks = e.HelpRequested(attempt=0, exit_status="broken", question="sha256:" + "0" * 64)
    append(ledger, "INF-1", filed("INF-1"))
    append(ledger, "INF-2", filed("INF-2"), asks)
    append(ledger, "INF-3", filed("INF-3"), e.TicketRejected(reasons=("no such service",)))
    here = {"TEMPORAL_ADDRESS": server.address}

    # when somebody recovers, and then once more
    first = newcomer.types("recover", environment=here)
    second = newcomer.types("recover", "--json", environment=here)

    # then what lives was begun, once
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    assert first.stdout.splitlines() == [
        "INF-1 is filed: had no workflow, goes on from the ledger",
        "INF-2 is escalated: had no workflow, goes on from the ledger",
        "the watch: had no workflow, watches again",
    ]
    states = {"INF-1": "filed", "INF-2": "escalated"}
    runs = [{"id": one, "state": state, "workflow": "runs"} for one, state in states.items()]
    assert second.document == {"tickets": runs, "watch": "runs"}

    # and while everything is stopped, nothing that has work to do is begun
    record_stop(ledger, SystemClock(), stopped=True, by="ada")
    third = newcomer.types("recover", environment=here)
    ledger.close()
    assert third.stdout.splitlines()[0].startswith("INF-1 is filed: is left alone, as everything is stopped; ")
