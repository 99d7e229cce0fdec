"""Two at once: filers of one cause and of two, deliveries that want the same lock. The ledger decides, nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest

from harness import lock
from harness.core import events as e
from harness.core.errors import VersionConflict
from harness.core.ids import cause_stream, lock_stream, ticket_stream
from harness.core.lifecycle import State
from harness.core.record import StreamWrite
from harness.core.signal import Signal
from harness.journal import Journal, encode
from harness.simulation.clock import START, run
from harness.simulation.world import World
from harness.stages.file import file
from tests.simulation.operations import MANIFEST, RULES, TERMS, HookedLedger, Operations, days_work, incident


def sighting(name: str, reason: str, kind: Literal["slo", "invariant"] = "slo") -> Signal:
    return Signal(
        kind=kind, name=name, service="ratelimiter", sampled_at=START, began_at=START, evidence={"reason": reason}
    )


def filed(operations: Operations, signal: Signal) -> str:
    return file(
        signal, slos=RULES.slos, invariants=RULES.invariants, sustained_s=10, policy=RULES.profile.causes,
        ledger=operations.ledger, blobs=operations.blobs, clock=operations.world.clock,
    )  # fmt: skip


def meanwhile(ledger: HookedLedger, other: Callable[[], object]) -> None:
    """Somebody else is faster: right before the next append, once."""

    def cut_in() -> None:
        ledger.before = lambda: None
        other()

    ledger.before = cut_in


@pytest.mark.parametrize("reason", ["the same words", "other words"])
def test_two_filers_of_one_cause_at_the_same_moment_make_one_ticket(reason: str) -> None:
    async def story() -> None:
        operations = Operations.on(World(MANIFEST))
        meanwhile(operations.ledger, lambda: filed(operations, sighting("latency", "the same words")))
        assert filed(operations, sighting("latency", reason)) == "INF-1"
        assert operations.tickets() == ["INF-1"] and operations.ledger.verify().ok

    run(story())


def test_the_slower_of_two_filers_attaches_its_evidence() -> None:
    async def story() -> None:
        operations = Operations.on(World(MANIFEST))
        meanwhile(operations.ledger, lambda: filed(operations, sighting("latency", "first")))
        filed(operations, sighting("latency", "second"))
        opened, attached = operations.events(cause_stream(sighting("latency", "").fingerprint))
        assert isinstance(opened, e.CauseOpened) and isinstance(attached, e.SignalAttached)
        assert operations.blobs.get_json(attached.evidence) == {"reason": "second"}

    run(story())


def test_filers_of_two_causes_at_the_same_moment_get_a_number_each() -> None:
    async def story() -> None:
        operations = Operations.on(World(MANIFEST))
        meanwhile(operations.ledger, lambda: filed(operations, sighting("capacity_headroom", "one", "invariant")))
        assert filed(operations, sighting("latency", "another")) == "INF-2"
        assert [operations.ticket(one).filed.signal for one in operations.tickets()] == [
            "invariant:capacity_headroom", "slo:latency",
        ]  # fmt: skip

    run(story())


def looked(requests: int) -> e.CanaryLooked:
    counted = {"canary_bad": 0, "canary_total": requests, "baseline_bad": 0, "baseline_total": requests}
    counts = (e.ArmCount(metric="slow_share", **counted),)
    return e.CanaryLooked(attempt=1, look=1, step=1, window_to=START, counts=counts, decision="continue")


def test_of_two_workers_that_look_at_one_canary_the_slower_one_has_to_read_what_the_faster_saw() -> None:
    async def story() -> None:
        # given a canary that two workers have in hand, as after a stall longer than a heartbeat
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.happened(e.CanaryStepped))
        faster, slower = operations.journal("INF-1"), operations.journal("INF-1")
        # when both record the first look, by samples of their own
        faster.record("1/canary/look-1", looked(200))
        with pytest.raises(VersionConflict):
            slower.record("1/canary/look-1", looked(240))
        # then the slower one is told to read again, which is retried, and not that the ledger is broken, which is not
        assert operations.last("INF-1", e.CanaryLooked) == looked(200)

    run(story())


def test_two_workers_that_record_the_very_same_thing_record_it_once() -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.happened(e.CanaryStepped))
        faster, slower = operations.journal("INF-1"), operations.journal("INF-1")
        for journal in (faster, slower):
            journal.record("1/canary/look-1", looked(200))
        assert faster.ticket == slower.ticket

    run(story())


def test_a_delivery_that_was_overtaken_at_the_lock_queues() -> None:
    async def story() -> None:
        # given a change that is proposed
        operations = await incident(days_work(2))
        await operations.watch(lambda: operations.happened(e.ActionTaken))
        overtaken = False

        def overtake() -> None:
            nonlocal overtaken
            about_to_deliver = isinstance(operations.events("ticket-INF-1")[-1], e.ObservationRecorded)
            if operations.reached(State.TESTING) and about_to_deliver and not overtaken:
                overtaken = True
                operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))

        # when another delivery takes the lock between its look and its append
        operations.ledger.before = overtake
        await operations.watch(lambda: operations.reached(State.QUEUED))
        # then it waits its turn and has a token above the other's
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        await operations.settle()
        assert operations.reached(State.RESOLVED)
        kinds = [type(event) for event in operations.events(lock_stream("ratelimiter"))]
        assert kinds == [e.LockTaken, e.LockFreed, e.LockTaken, e.LockFreed]
        assert operations.last("INF-1", e.LockAcquired).token == 3

    run(story())


def test_the_most_urgent_of_those_that_wait_for_the_lock_comes_first_and_then_the_oldest() -> None:
    async def story() -> None:
        # given a delivery that holds the lock, and three that come to wait for it, the most urgent one last
        operations = Operations.on(World(MANIFEST))
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        waiting = [await about_to_deliver(operations, priority) for priority in ("P2", "P2", "P0")]
        got: list[str] = []

        async def deliver(journal: Journal) -> None:
            await lock.acquire(journal, TERMS)
            got.append(journal.ticket_id)
            journal.record("1/test", e.ChecksFailed(attempt=1, commit="c", tree=None, outcomes=(), reason="", waits=()))
            lock.release(journal)

        tasks = []
        for journal in waiting:
            tasks.append(asyncio.create_task(deliver(journal)))
            await operations.world.clock.sleep(1)
        # when the lock is given back
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        await asyncio.gather(*tasks)
        # then they had it in turn, and every token is above the one before
        assert got == ["INF-3", "INF-1", "INF-2"]
        tokens = [operations.last(ticket_id, e.LockAcquired).token for ticket_id in got]
        assert tokens == sorted(tokens) and operations.ledger.verify().ok

    run(story())


def test_a_delivery_that_waited_long_enough_comes_before_a_more_urgent_one_that_has_just_come() -> None:
    async def story() -> None:
        operations = Operations.on(World(MANIFEST))
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        old = await about_to_deliver(operations, "P3")
        tasks = [asyncio.create_task(lock.acquire(old, TERMS))]
        await operations.world.clock.sleep(4 * TERMS.aging_s)
        new = await about_to_deliver(operations, "P0")
        tasks.append(asyncio.create_task(lock.acquire(new, replace(TERMS, budget_left=0.0))))
        await operations.world.clock.sleep(1)
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert (old.ticket.life.token, new.ticket.life.token) == (3, None)
        tasks[1].cancel()

    run(story())


def test_a_delivery_that_waits_no_more_keeps_nobody_waiting() -> None:
    async def story() -> None:
        # given an urgent delivery and another one, both waiting for the lock
        operations = Operations.on(World(MANIFEST))
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        urgent, other = await about_to_deliver(operations, "P0"), await about_to_deliver(operations, "P2")
        tasks = [asyncio.create_task(lock.acquire(journal, TERMS)) for journal in (urgent, other)]
        await operations.world.clock.sleep(1)
        # when the urgent one is cancelled by a person and the lock is given back
        tasks[0].cancel()
        urgent.record("cancelled", e.TicketCancelled(by="somebody", why=urgent.put({"why": "not wanted"})))
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        # then the other one gets it
        await tasks[1]
        assert other.ticket.life.token is not None and other.state is State.TESTING

    run(story())


async def about_to_deliver(operations: Operations, priority: str) -> Journal:
    """A ticket that a person filed with this priority, and whose first change is proposed."""
    clock, number = operations.world.clock, len(operations.tickets()) + 1
    await clock.sleep(1)
    spec = operations.blobs.put_json({"ticket": {}})
    filed = e.TicketFiled.model_validate(
        {"ticket_id": f"INF-{number}", "type": "maintenance", "service": "ratelimiter", "priority": priority,
         "source": "human", "spec": spec}
    )  # fmt: skip
    new = encode(f"filed/{number}", filed, clock=clock, actor="somebody", correlation=filed.ticket_id, cause=None)
    operations.ledger.append([StreamWrite(ticket_stream(filed.ticket_id), 0, [new])])
    journal = operations.journal(filed.ticket_id)
    journal.record("admit", e.TicketAdmitted(policy="", criteria=(), sick=(), attempts_allowed=1))
    journal.record("1/begin", e.AttemptStarted(attempt=1, agent="runbook", runbook=None, base="b"))
    journal.record(
        "1/propose",
        e.ChangeProposed(attempt=1, kind="code", commit="c", base="b", branch="x", diff=spec, summary=spec),
    )
    return journal
