"""Temporal forgets everything at any point of a ticket's life: recovered from the ledger, it ends as it would have.

Nothing is done twice. On a modelled world, in virtual time; with the real server: tests/integration/test_recover.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

import pytest

from harness.core import events as e
from harness.core.lifecycle import LIVE, STAGE, State
from harness.core.record import Recorded
from harness.recover import Recovered, Workflow, live, recover
from harness.simulation.clock import run
from harness.simulation.service import Behaviour
from harness.stop import record_stop
from tests.simulation.operations import Operations, days_work, healthy, incident, innocent
from tests.simulation.test_by_hand import a_commit, quiet
from workflows import keeper

AWAY_S = 2.0
"""From when Temporal was lost to when it is back and empty."""
LASTS_S = {State.WORKING: 3.0, State.TESTING: 3.0, State.CANARYING: 11.0, State.DEPLOYING: 6.0, State.VERIFYING: 10.0}
"""How long a ticket is there, usually: the loss is drawn uniformly over it."""
DENYING = Behaviour(wrong_denial_share=0.3)


async def forgotten(operations: Operations) -> Recovered:
    """Temporal is lost, comes back empty, and what lives is recovered."""
    await operations.lose_temporal()
    await operations.world.clock.sleep(AWAY_S)
    return await recover(operations.ledger, operations)


def begun(*tickets: tuple[str, State], watch: Workflow = "begun") -> Recovered:
    return Recovered(tuple((ticket_id, state, "begun") for ticket_id, state in tickets), watch)


def nothing_was_doubled(operations: Operations) -> None:
    effects = [(effect.kind, effect.key) for effect in operations.world.effects]
    assert len(set(effects)) == len(effects)
    assert operations.runs_everywhere(operations.world.repository.main())
    assert operations.world.router.shares == {"canary": 0.0, "baseline": 0.0}
    assert operations.ledger.verify().ok


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("state", LASTS_S)
def test_a_delivery_that_temporal_forgot_goes_on_where_the_ledger_says(state: State, seed: int) -> None:
    async def story() -> None:
        # given an incident whose ticket is somewhere in a stage when Temporal loses everything
        operations = await incident(days_work(2, of=4), seed=seed)
        operations.world.effects.clear()
        await operations.watch(lambda: operations.reached(state))
        await operations.world.clock.sleep(Random(f"{state}/{seed}").uniform(0, LASTS_S[state]))
        at = operations.state("INF-1")
        assert at is not None
        # when it is recovered, and then once more
        found = await forgotten(operations)
        again = await recover(operations.ledger, operations)
        # then the ticket's workflow was begun once, and the ticket ends at its first attempt
        assert found == begun(*([("INF-1", at)] if at in LIVE else []))
        assert again.begun == ()
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED and len(operations.ticket("INF-1").attempts) == 1
        # and every effect of an undisturbed delivery is there, once
        nothing_was_doubled(operations)
        kinds = sorted(effect.kind for effect in operations.world.effects)
        assert kinds == ["commit", "main", *["order"] * 7, *["weights"] * 3]

    run(story())


@pytest.mark.parametrize("lost_at", [e.TicketFiled, e.TicketAdmitted, e.AttemptStarted, e.ActionTaken])
def test_a_ticket_that_had_only_just_begun_is_begun_from_there(lost_at: type[e.Event]) -> None:
    async def story() -> None:
        # given a ticket of which this event is the last that was recorded before Temporal lost everything
        operations = await incident(days_work(2, of=4))
        waits = [True]

        def breaks_off() -> None:
            if waits and operations.tickets() and operations.happened(lost_at):
                waits.clear()
                for task in operations.carried.values():
                    task.cancel()

        operations.ledger.after = breaks_off
        with suppress(asyncio.CancelledError):  # it was broken off, as it should be
            await operations.watch(lambda: not waits)
        assert operations.state("INF-1") in STAGE
        # when it is recovered
        found = await forgotten(operations)
        # then it is worked to its end
        assert found.begun == ("INF-1",)
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED
        nothing_was_doubled(operations)

    run(story())


@pytest.mark.parametrize("state", [State.CANARYING, State.DEPLOYING, State.VERIFYING])
def test_an_operation_that_temporal_forgot_brings_no_second_machine(state: State) -> None:
    async def story() -> None:
        # given two machines that died, and a ticket that brings new ones
        operations = await incident([])
        for node in ("n1", "n3"):
            operations.world.kill(node)
        await operations.watch(lambda: operations.reached(state))
        await operations.world.clock.sleep(Random(state).uniform(0, 3))
        # when Temporal loses everything and it is recovered
        assert (await forgotten(operations)).begun == ("INF-1",)
        await operations.settle()
        # then there are as many as before, each started once
        assert operations.state("INF-1") is State.RESOLVED
        assert operations.world.nodes.names() == ("n2", "n4", "n5")
        started = [effect.key for effect in operations.world.effects if effect.kind == "machine"]
        assert started == ["INF-1/1/unit-1", "INF-1/1/unit-2"]

    run(story())


# --- tickets that wait ---------------------------------------------------------------------------------------------


async def an_escalated_one() -> Operations:
    operations = await incident([])
    operations.world.disturb(DENYING)
    await operations.settle()
    operations.world.disturb(Behaviour())
    await healthy(operations, 15)
    return operations


async def a_paused_one() -> Operations:
    operations = await incident(days_work(2, of=4))
    await operations.watch(lambda: operations.reached(State.WORKING))
    await operations.tell("pause")
    return operations


async def one_that_awaits_a_word() -> Operations:
    operations = await quiet()
    operations.file(change=a_commit(operations, innocent(1)), constraints=["requires approval"])
    await operations.watch(lambda: operations.reached(State.AWAITING_APPROVAL))
    return operations


async def one_in_the_queue() -> Operations:
    operations = await incident(days_work(2, of=4))
    operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
    await operations.watch(lambda: operations.reached(State.QUEUED))
    return operations


async def one_that_waits_for_its_hours() -> Operations:
    operations = await quiet()
    wanted = [{"metric": "slow_share", "condition": "< 10%"}]
    operations.file(constraints=["no changes 08:00-10:03 Mon-Fri Europe/Berlin"], acceptance_criteria=wanted)
    await operations.watch(lambda: operations.reached(State.WAITING))
    return operations


async def answered(operations: Operations) -> None:
    assert await operations.tell("answer", text="mended") == State.WORKING


async def resumed(operations: Operations) -> None:
    await operations.tell("resume")


async def approved(operations: Operations) -> None:
    asked = operations.ticket("INF-1").asked
    assert asked is not None
    await operations.tell("approve", hash=asked.hash)


async def unlocked(operations: Operations) -> None:
    operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))


async def time(operations: Operations) -> None:
    """Nobody has to say anything."""


Place = Callable[[], Awaitable[Operations]]
Word = Callable[[Operations], Awaitable[None]]
WAITING: dict[State, tuple[Place, Word]] = {
    State.ESCALATED: (an_escalated_one, answered),
    State.PAUSED: (a_paused_one, resumed),
    State.AWAITING_APPROVAL: (one_that_awaits_a_word, approved),
    State.QUEUED: (one_in_the_queue, unlocked),
    State.WAITING: (one_that_waits_for_its_hours, time),
}


@pytest.mark.parametrize("state", WAITING)
def test_a_ticket_that_waits_waits_on_and_goes_on_when_what_it_waits_for_comes(state: State) -> None:
    async def story() -> None:
        # given a ticket that waits when Temporal loses everything
        place, word = WAITING[state]
        operations = await place()
        assert operations.state("INF-1") is state
        # when it is recovered
        assert (await forgotten(operations)).tickets == (("INF-1", state, "begun"),)
        done = len(operations.world.effects)
        await operations.world.clock.sleep(20)
        # then it waits as it did, until what it waits for is there
        assert operations.state("INF-1") is state and len(operations.world.effects) == done
        await word(operations)
        async with asyncio.timeout(300):
            await operations.carried["INF-1"]
        assert operations.state("INF-1") is State.RESOLVED
        nothing_was_doubled(operations)

    run(story())


def test_every_state_that_a_ticket_can_live_in_was_recovered_here() -> None:
    assert {State.FILED, State.ADMITTED, *LASTS_S, *WAITING} == LIVE


# --- what recovering leaves alone ----------------------------------------------------------------------------------


def test_what_runs_and_what_has_ended_needs_nothing() -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.reached(State.CANARYING))
        runs = (("INF-1", State.CANARYING, "runs"),)
        assert await recover(operations.ledger, operations) == Recovered(runs, "runs")
        await operations.settle()
        assert await forgotten(operations) == Recovered((), "begun")

    run(story())


def test_two_who_recover_at_once_begin_each_workflow_once() -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.reached(State.CANARYING))
        await operations.lose_temporal()
        both = await asyncio.gather(*(recover(operations.ledger, operations) for _ in range(2)))
        assert sorted(found.tickets[0][2] for found in both) == ["begun", "runs"]
        await operations.settle()
        nothing_was_doubled(operations)

    run(story())


def test_while_everything_is_stopped_no_work_is_begun_and_the_keeper_begins_it_afterwards() -> None:
    async def story() -> None:
        # given a ticket at work that nobody could pause one by one, since Temporal was lost, and a word to stop all
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.reached(State.WORKING))
        await operations.lose_temporal()
        record_stop(operations.ledger, operations.world.clock, stopped=True, by="ada")
        # when it is recovered, the watch goes on and the ticket does not
        stopped = Recovered((("INF-1", State.WORKING, "stopped"),), "begun")
        assert await recover(operations.ledger, operations) == stopped
        was_stopped = await keeper.look(operations.ledger, operations)
        assert was_stopped and operations.carried == {}
        # until the stop is over
        record_stop(operations.ledger, operations.world.clock, stopped=False, by="ada")
        assert await keeper.look(operations.ledger, operations, was_stopped) is False
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED
        nothing_was_doubled(operations)

    run(story())


def test_the_keeper_acts_when_the_watch_is_gone_and_leaves_a_workflow_that_was_ended_alone() -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.reached(State.CANARYING))
        # given somebody who ended the ticket's workflow, on a Temporal that knows the watch
        memory = operations.memory
        await operations.lose_temporal()
        operations.memory = memory
        assert await keeper.look(operations.ledger, operations, False) is False
        assert operations.carried == {}
        # when the watch is gone too
        operations.memory = None
        await keeper.look(operations.ledger, operations, False)
        # then everything was
        assert list(operations.carried) == ["INF-1"]
        await operations.settle()
        nothing_was_doubled(operations)

    run(story())


def test_whoever_asks_again_who_lives_does_not_read_again_what_has_ended() -> None:
    async def story() -> None:
        # given one ticket that has ended and one that waits for a person
        operations = await incident(days_work(5))
        await operations.settle()
        operations.world.disturb(Behaviour(wrong_denial_share=0.3))
        await operations.watch(lambda: operations.reached(State.ESCALATED, ticket_id="INF-2"))
        over: set[str] = set()
        assert live(operations.ledger, over) == [("INF-2", State.ESCALATED)] and over == {"ticket-INF-1"}
        # when it is asked again, then the one that has ended is not read
        read: list[str] = []
        read_stream = operations.ledger.read_stream

        def noted(stream: str, *, from_version: int = 1) -> list[Recorded]:
            read.append(stream)
            return read_stream(stream, from_version=from_version)

        operations.ledger.read_stream = noted  # type: ignore[method-assign]
        assert live(operations.ledger, over) == [("INF-2", State.ESCALATED)] and read == ["ticket-INF-2"]

    run(story())
