"""What people tell a live ticket: pause, resume, cancel, answer, approve, reject. On a modelled world."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from harness.core import events as e
from harness.core.deployment import NodeOrder
from harness.core.errors import Forbidden
from harness.core.ids import cause_stream, lock_stream
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.effects import Effect
from harness.simulation.service import Behaviour, Change
from tests.simulation.operations import RULES, Operations, days_work, healthy, incident, innocent
from tests.simulation.test_by_hand import a_commit, quiet

OFF = {"canary": 0.0, "baseline": 0.0}


def lock_is_free(operations: Operations) -> bool:
    rows = operations.events(lock_stream("ratelimiter"))
    return not rows or isinstance(rows[-1], e.LockFreed)


async def at(operations: Operations, *states: State) -> None:
    await operations.watch(lambda: operations.reached(*states))


# --- pause and resume ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "safe_point"),
    [(State.WORKING, State.WORKING), (State.TESTING, State.TESTING), (State.CANARYING, State.DEPLOYING),
     (State.DEPLOYING, State.VERIFYING), (State.VERIFYING, State.VERIFYING)],
)  # fmt: skip
def test_a_pause_holds_at_the_next_safe_point_and_the_ticket_goes_on_from_there(
    state: State, safe_point: State
) -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        await at(operations, state)
        assert await operations.tell("pause") == State.PAUSED
        assert operations.ticket("INF-1").life.held == (safe_point,)
        done = len(operations.world.effects)
        await healthy(operations, 60)
        assert operations.state("INF-1") is State.PAUSED and len(operations.world.effects) == done
        assert operations.world.router.shares == OFF
        assert await operations.tell("resume") == safe_point
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED
        keys = [(effect.kind, effect.key) for effect in operations.world.effects]
        assert len(set(keys)) == len(keys)

    run(story())


def test_what_is_said_twice_is_done_once_and_what_is_not_possible_is_refused_with_what_is() -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        await at(operations, State.WORKING)
        assert await operations.tell("pause", request="one") == State.PAUSED
        assert await operations.tell("pause", request="one") == State.PAUSED
        with pytest.raises(ApplicationError, match="pause: the ticket is paused; it can be told: resume, cancel"):
            await operations.tell("pause", request="another")
        with pytest.raises(ApplicationError, match="answer: the ticket is paused"):
            await operations.tell("answer", text="42")
        paused = [event for event in operations.events("ticket-INF-1") if isinstance(event, e.TicketPaused)]
        assert paused == [e.TicketPaused(by="ada")]

    run(story())


# --- cancel --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.WORKING, State.TESTING, State.CANARYING, State.DEPLOYING, State.VERIFYING])
def test_a_cancelled_ticket_leaves_the_service_as_it_was_and_the_lock_free(state: State) -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        repository = operations.world.repository
        before = repository.tree(repository.main())
        await at(operations, state)
        assert await operations.tell("cancel", text="not now") == State.CANCELLED
        assert repository.tree(repository.main()) == before and operations.runs_everywhere(repository.main())
        assert operations.world.router.shares == OFF and lock_is_free(operations)
        cause = operations.ticket("INF-1").filed.fingerprint
        assert isinstance(operations.events(cause_stream(str(cause)))[-1], e.CauseClosed)
        # and nothing more is done for it; the next firing, not the one that goes on, opens a ticket linked to it
        if state is State.VERIFYING:
            await operations.watch(lambda: "INF-2" in operations.tickets())
            assert operations.ticket("INF-2").filed.recurrence_of == "INF-1"
        else:
            await healthy(operations, 30)
            assert operations.tickets() == ["INF-1"]

    run(story())


def test_a_canary_that_waits_for_a_person_is_gone_from_its_node_when_one_cancels_it() -> None:
    async def story() -> None:
        # given arms on another node than the first, as one stood there already, and counters that turn into nonsense
        operations = await incident(days_work(2, of=4))
        world = operations.world
        place = NodeOrder(verb="place", key="b", token=0, slot="baseline", commit=world.repository.main())
        assert (await world.nodes.order("n2", place)).ok

        def nonsense(effect: Effect) -> None:
            if effect.key == "INF-1/1/canary-1":
                world.metrics.nonsense = "canary"

        world.after_effect = nonsense
        await at(operations, State.ESCALATED)
        assert [sorted((await world.nodes.report(node)).slots) for node in ("n1", "n2", "n3")] == [
            ["stable"], ["baseline", "canary", "stable"], ["stable"]
        ]  # fmt: skip
        # when a person cancels the ticket
        await operations.tell("cancel")
        # then no node has an arm, and a step that is written too late gives none traffic
        assert [sorted((await world.nodes.report(node)).slots) for node in ("n1", "n2", "n3")] == [["stable"]] * 3
        with pytest.raises(Forbidden):
            await world.router.set_weights({"canary": 0.1, "baseline": 0.1}, 1, "INF-1/1/canary-2")

    run(story())


# --- answers -------------------------------------------------------------------------------------------------------


def test_an_answer_puts_a_ticket_back_to_work_and_the_agent_looks_again() -> None:
    async def story() -> None:
        # given a ticket for which nobody knows what to do
        operations = await incident([])
        operations.world.disturb(Behaviour(wrong_denial_share=0.3))
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED
        # when a person has mended it and says so
        operations.world.disturb(Behaviour())
        await healthy(operations, 15)
        assert await operations.tell("answer", text="the limits of a client were wrong, they are mended") == "working"
        await operations.settle()
        # then it is verified, not believed
        ticket = operations.ticket("INF-1")
        assert ticket.state is State.RESOLVED and len(ticket.attempts) == 2
        assert isinstance(ticket.attempt.nothing, e.NothingToChange)

    run(story())


def test_an_answer_that_did_not_help_leads_to_another_question_not_to_a_broken_ticket() -> None:
    async def story() -> None:
        operations = await incident([])
        operations.world.disturb(Behaviour(wrong_denial_share=0.3))
        await operations.settle()
        for _ in range(4):
            await operations.tell("answer", text="try again")
            await operations.carry_to_a_person()
        ticket = operations.ticket("INF-1")
        assert ticket.state is State.ESCALATED and len(ticket.attempts) == 5
        assert operations.question().endswith("?") or "What else changed?" in operations.question()

    run(story())


def test_an_answer_after_all_attempts_gives_one_more() -> None:
    async def story() -> None:
        admission = RULES.profile.admission.model_copy(update={"attempts": 1})
        rules = replace(RULES, profile=RULES.profile.model_copy(update={"admission": admission}))
        changes = [*days_work(2, of=4), Change("change-4", needs="change-2", without=Behaviour(error_share=0.3))]
        operations = await incident(changes, rules=rules)
        await operations.settle()
        assert operations.last("INF-1", e.HelpRequested).exit_status == "attempts_used_up"
        assert "canary did not let it through" in operations.question()
        await operations.tell("answer", text="try it once more")
        await operations.carry_to_a_person()
        assert len(operations.ticket("INF-1").attempts) == 2
        assert operations.last("INF-1", e.HelpRequested).exit_status == "attempts_used_up"

    run(story())


@pytest.mark.parametrize("verb", ["cancel", "answer"])
@pytest.mark.parametrize("key", ["canary-1", "deploy/n2"])
def test_what_a_broken_stage_left_half_done_is_taken_back_before_the_lock_goes(verb: Any, key: str) -> None:
    async def story() -> None:
        # given a ticket that broke in the middle of its canary, or of its deployment
        operations = await incident(days_work(2, of=4))
        repository = operations.world.repository
        before = repository.tree(repository.main())
        broken = False

        def after(effect: Effect) -> None:
            nonlocal broken
            if key in effect.key and not broken:
                broken = True
                raise ApplicationError("a bug", type="Broken", non_retryable=True)

        operations.world.after_effect = after
        await at(operations, State.ESCALATED)
        assert operations.last("INF-1", e.HelpRequested).exit_status == "broken" and not lock_is_free(operations)
        # when a person cancels or answers
        await operations.tell(verb, text="no" if verb == "cancel" else "go on")
        # then the service is as it was before anything else happens
        assert repository.tree(repository.main()) == before and operations.runs_everywhere(repository.main())
        assert operations.world.router.shares == OFF and lock_is_free(operations)
        assert not operations.world.nodes.serving("canary") and not operations.world.nodes.serving("baseline")

    run(story())


# --- approvals -----------------------------------------------------------------------------------------------------


async def asked() -> Operations:
    operations = await quiet()
    operations.file(change=a_commit(operations, innocent(1)), constraints=["requires approval"])
    await at(operations, State.AWAITING_APPROVAL)
    return operations


def test_a_change_that_needs_a_word_waits_for_it_without_the_lock_and_a_silence_is_no_yes() -> None:
    async def story() -> None:
        operations = await asked()
        assert lock_is_free(operations) and operations.world.effects == []
        await healthy(operations, 200)
        assert operations.state("INF-1") is State.AWAITING_APPROVAL and operations.world.effects == []
        request = operations.ticket("INF-1").asked
        assert request is not None and operations.blobs.get_json(request.why)["why"] == "the ticket requires approval"
        # an approval is for a hash
        with pytest.raises(ApplicationError, match=r"waits for a word on sha256:[0-9a-f]{64}"):
            await operations.tell("approve", hash="sha256:" + "0" * 64)
        assert await operations.tell("approve", hash=request.hash) == State.TESTING
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED
        assert operations.ticket("INF-1").granted == (e.ApprovalGranted(hash=request.hash, by="ada"),)

    run(story())


def test_a_rejection_sends_back_to_work_and_the_same_change_is_not_asked_for_again() -> None:
    async def story() -> None:
        operations = await asked()
        request = operations.ticket("INF-1").asked
        assert request is not None
        assert await operations.tell("reject", hash=request.hash, text="not before the feast") == State.WORKING
        await at(operations, State.ESCALATED)
        assert operations.world.effects == []
        await operations.tell("answer", text="now")
        await operations.carry_to_a_person()
        assert operations.state("INF-1") is State.ESCALATED
        assert "ada rejected (not before the feast) was proposed again" in operations.question()

    run(story())


def test_a_final_rejection_ends_the_ticket() -> None:
    async def story() -> None:
        operations = await asked()
        request = operations.ticket("INF-1").asked
        assert request is not None
        assert await operations.tell("reject", hash=request.hash, final=True) == State.REJECTED

    run(story())


def test_another_change_needs_another_word() -> None:
    async def story() -> None:
        # given policy that asks from medium risk on, and a ticket whose first change was approved and failed
        rules = replace(RULES, approvals=RULES.approvals.model_copy(update={"ask_from": "medium"}))
        operations = await incident(days_work(2, of=4), rules=rules)
        await at(operations, State.AWAITING_APPROVAL)
        first = operations.ticket("INF-1").asked
        assert first is not None
        await operations.tell("approve", hash=first.hash)
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED
        # when the next ticket proposes another diff
        operations.file(change=a_commit(operations, innocent(9)))
        await operations.watch(lambda: operations.reached(State.AWAITING_APPROVAL, ticket_id="INF-2"))
        second = operations.ticket("INF-2").asked
        assert second is not None and second.hash != first.hash

    run(story())


# --- operations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.CANARYING, State.DEPLOYING, State.VERIFYING])
def test_a_cancelled_operation_is_taken_back_too(state: State) -> None:
    async def story() -> None:
        # given an action of the catalog on its way, for a machine that died
        operations = await incident([])
        operations.world.kill("n2")
        await at(operations, state)
        assert await operations.tell("cancel") == State.CANCELLED
        # then the fleet has no node that the action brought, and the lock is free
        assert set(operations.world.nodes.names()) <= {"n1", "n2", "n3"} and lock_is_free(operations)
        units = operations.ticket("INF-1").attempt.units
        assert not units or operations.happened(e.RolledBack)

    run(story())


def test_an_operation_waits_for_a_word_where_policy_asks_for_it() -> None:
    async def story() -> None:
        rules = replace(RULES, approvals=RULES.approvals.model_copy(update={"ask_from": "low"}))
        operations = await incident([], rules=rules)
        operations.world.kill("n2")
        await at(operations, State.AWAITING_APPROVAL)
        asked_for = operations.ticket("INF-1").asked
        assert asked_for is not None and lock_is_free(operations)
        assert "add_nodes" in operations.blobs.get_json(asked_for.why)["why"]
        await operations.tell("approve", hash=asked_for.hash)
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED

    run(story())
