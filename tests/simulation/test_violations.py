"""What a violated invariant leads to, as its ``on_violation`` says. On a modelled world in virtual time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.bootstrap import Rules
from harness.cli.story import line
from harness.cli.ticket import explanation, ticket_document
from harness.cli.ticket_list import listed
from harness.core import events as e
from harness.core.ids import cause_stream, fingerprint, lock_stream, queue_stream, signal_stream, ticket_stream
from harness.core.lifecycle import State
from harness.simulation.clock import run
from tests.simulation.operations import RULES, Crash, Operations, healthy, incident, innocent
from tests.simulation.test_by_hand import a_commit

(HEADROOM,) = RULES.invariants
CAUSE = fingerprint("invariant", "ratelimiter", "capacity_headroom")
HOLDS = [{"metric": "slow_share", "condition": "< 10%"}]


def reacting(on_violation: str, **more: Any) -> Rules:
    changed = HEADROOM.model_copy(update={"on_violation": on_violation})
    return replace(RULES, invariants=(changed,), **more)


async def violated(on_violation: str, **more: Any) -> Operations:
    """A service that has lost a node, and the ticket of that."""
    operations = await incident([], rules=reacting(on_violation, **more))
    operations.world.kill("n3")
    await operations.watch(lambda: operations.tickets() != [])
    return operations


def kinds(operations: Operations, ticket_id: str = "INF-1") -> list[str]:
    return [type(event).__name__ for event in operations.events(ticket_stream(ticket_id))]


# --- a person decides ----------------------------------------------------------------------------------------------


def test_no_agent_works_an_opened_ticket_before_a_person_approves_that() -> None:
    async def story() -> None:
        # given a violation for which a ticket is only opened
        operations = await violated("open_ticket")
        await healthy(operations, 60)
        # then it waits for a word, has cost nothing, and says why
        assert kinds(operations) == ["TicketFiled", "ApprovalRequested"]
        assert operations.reached(State.AWAITING_APPROVAL) and operations.world.effects == []
        asked = ticket_document(operations.harness.record, "INF-1")["approval"]
        assert asked["what"] == "work on this ticket" and "no agent works on that before a person" in asked["why"]
        # when a person approves, then it is worked as any other
        await operations.tell("approve", hash=asked["hash"])
        await operations.settle()
        assert operations.reached(State.RESOLVED) and "TicketAdmitted" in kinds(operations)

    run(story())


@pytest.mark.parametrize("final", [True, False])
def test_an_opened_ticket_that_a_person_rejects_is_over_and_its_cause_with_it(final: bool) -> None:
    async def story() -> None:
        operations = await violated("open_ticket")
        asked = ticket_document(operations.harness.record, "INF-1")["approval"]
        told = await operations.tell("reject", hash=asked["hash"], text="known, the node is being moved", final=final)
        assert told == State.REJECTED and "AttemptStarted" not in kinds(operations)
        assert isinstance(operations.events(cause_stream(CAUSE))[-1], e.CauseClosed)
        # and as long as it stays violated, nobody is asked again
        await healthy(operations, 30)
        assert operations.tickets() == ["INF-1"]

    run(story())


def test_a_person_is_called_at_once_and_an_answer_has_it_worked() -> None:
    async def story() -> None:
        # given a violation for which a person is called
        operations = await violated("call_for_help")
        assert kinds(operations) == ["TicketFiled", "HelpRequested"] and operations.reached(State.ESCALATED)
        assert "a person is called at once (call_for_help)" in operations.question()
        assert "available is" in operations.question()
        await healthy(operations, 30)
        assert operations.world.effects == []
        # when that person answers, then it is admitted, and worked
        await operations.tell("answer", text="go on")
        await operations.settle()
        assert operations.reached(State.RESOLVED)

    run(story())


@pytest.mark.parametrize("on_violation", ["open_ticket", "call_for_help"])
def test_a_ticket_and_the_word_that_it_waits_for_are_there_together_or_not_at_all(on_violation: str) -> None:
    async def story() -> None:
        # given a process that dies right after the first append with a ticket in it
        operations = await incident([], rules=reacting(on_violation))
        operations.world.lose("n3")

        def die() -> None:
            if operations.ledger.streams(ticket_stream("")) and not operations.restarts:
                raise Crash

        operations.ledger.after = die
        await operations.watch(lambda: operations.tickets() != [])
        await healthy(operations, 10)
        # then the ticket was with a person from its first moment on, and there is one
        assert operations.restarts == 1 and operations.tickets() == ["INF-1"]
        assert len(kinds(operations)) == 2 and "AttemptStarted" not in kinds(operations)

    run(story())


# --- deployments are blocked ---------------------------------------------------------------------------------------


async def with_a_change(operations: Operations, **spec: Any) -> str:
    """A person's change that does no harm, on its way."""
    ticket_id = operations.file(change=a_commit(operations, innocent(9)), acceptance_criteria=HOLDS, **spec)
    await operations.watch(
        lambda: operations.state(ticket_id) in (State.QUEUED, State.CANARYING, State.RESOLVED, State.ESCALATED)
    )
    return ticket_id


def test_while_it_is_violated_nothing_is_delivered_and_whoever_waits_is_told_why() -> None:
    async def story() -> None:
        # given a violation that blocks deployments, and that nobody can repair
        operations = await violated("block_deploys", runbooks=())
        # when a person wants a change delivered
        ticket_id = await with_a_change(operations)
        await healthy(operations, 120)
        # then it waits, without the lock, and says for what: in one event, in the lists, in words
        assert operations.state(ticket_id) is State.QUEUED and operations.world.effects == []
        assert kinds(operations, ticket_id).count("DeliveryBlocked") == 1
        document = ticket_document(operations.harness.record, ticket_id)
        (row,) = [one for one in listed(operations.harness.record) if one["id"] == ticket_id]
        for shown in (document, row):
            assert "invariant capacity_headroom to hold again (available > 20%)" in shown["waits_for"]
            assert shown["waits_until"] is None
        why = explanation(operations.harness.record, operations.ticket(ticket_id))
        assert any("blocked: invariant capacity_headroom" in one["why"] for one in why["decisions"])
        assert "blocked" in str(line(operations.last(ticket_id, e.DeliveryBlocked), operations.blobs))
        # when the node answers again, then the change goes on
        operations.world.provider.start("by hand")
        ended = signal_stream(CAUSE)
        await operations.watch(lambda: isinstance(operations.events(ended)[-1], e.SignalEnded))
        operations.wake(ticket_id)  # as the pump does when a signal ends
        await operations.watch(lambda: operations.state(ticket_id) is State.RESOLVED)
        assert operations.happened(e.ReleaseDeployed, ticket_id)

    run(story())


def test_of_several_that_were_blocked_the_queue_says_who_is_first_when_it_holds_again() -> None:
    async def story() -> None:
        # given three changes that are blocked, the least urgent one for longest
        operations = await violated("block_deploys", runbooks=())
        blocked = {}
        for number, priority in enumerate(("P3", "P2", "P1")):
            commit = a_commit(operations, innocent(20 + number))
            ticket_id = operations.file(change=commit, acceptance_criteria=HOLDS, priority=priority)
            await operations.watch(lambda one=ticket_id: operations.happened(e.DeliveryBlocked, one))
            blocked[priority] = ticket_id
        # then each has one place in the queue, by which its lists show it
        waits = [event for event in operations.events(queue_stream("ratelimiter"))]
        assert [(one.ticket_id, one.priority) for one in waits] == [(blocked[p], p) for p in ("P3", "P2", "P1")]
        # when the invariant holds again, and they are woken in the order in which they came
        operations.world.provider.start("by hand")
        await operations.watch(lambda: isinstance(operations.events(signal_stream(CAUSE))[-1], e.SignalEnded))
        for ticket_id in blocked.values():
            operations.wake(ticket_id)
        await operations.watch(
            lambda: all(operations.state(one) is State.RESOLVED for one in blocked.values()), limit_s=600
        )
        # then the most urgent one was delivered first
        took = [event.ticket_id for event in operations.events(lock_stream("ratelimiter"))
                if isinstance(event, e.LockTaken)]  # fmt: skip
        assert took == [blocked["P1"], blocked["P2"], blocked["P3"]]
        assert len(operations.events(queue_stream("ratelimiter"))) == 3

    run(story())


def test_the_repair_of_what_blocks_deployments_is_delivered_itself() -> None:
    async def story() -> None:
        operations = await violated("block_deploys")
        await operations.settle()
        assert operations.reached(State.RESOLVED) and "DeliveryBlocked" not in kinds(operations)

    run(story())


def test_an_incident_of_a_person_is_not_blocked() -> None:
    async def story() -> None:
        operations = await violated("block_deploys", runbooks=())
        ticket_id = await with_a_change(operations, type="incident")
        assert "DeliveryBlocked" not in kinds(operations, ticket_id)
        assert operations.happened(e.LockAcquired, ticket_id)

    run(story())


def test_a_delivery_that_waits_for_another_is_told_when_a_violation_blocks_it_meanwhile() -> None:
    async def story() -> None:
        # given a change that waits for another delivery
        operations = await incident([], rules=reacting("block_deploys", runbooks=()))
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        ticket_id = await with_a_change(operations)
        assert operations.last(ticket_id, e.DeliveryQueued).holder == "INF-99"
        # when an invariant is violated, and the other delivery ends
        operations.world.lose("n3")
        await operations.watch(lambda: operations.happened(e.DeliveryBlocked, ticket_id))
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        await healthy(operations, 30)
        # then it does not take the lock
        assert not operations.happened(e.LockAcquired, ticket_id)
        assert "capacity_headroom" in ticket_document(operations.harness.record, ticket_id)["waits_for"]

    run(story())


@pytest.mark.parametrize("on_violation", ["auto_remediate", "open_ticket", "call_for_help"])
def test_no_other_reaction_blocks_deployments(on_violation: str) -> None:
    async def story() -> None:
        operations = await violated(on_violation, runbooks=())
        ticket_id = await with_a_change(operations)
        assert "DeliveryBlocked" not in kinds(operations, ticket_id)

    run(story())
