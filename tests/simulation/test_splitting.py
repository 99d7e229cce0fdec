"""Tickets that are split: from filing to the verified parent, and what else can come of the parts. In virtual time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from harness.bootstrap import Record
from harness.cli.ticket import explanation, ticket_document
from harness.cli.ticket_list import listed
from harness.core import events as e
from harness.core.lifecycle import ENDS, LIVE, State
from harness.core.policy import Splitting
from harness.simulation.clock import run
from tests.models.endpoint import Call, Say, Step, serving
from tests.models.endpoint import Endpoint as Served
from tests.models.scripted import answers, body, briefing, worked_by
from tests.simulation.operations import RULES, Crash, Operations
from tests.simulation.test_by_hand import quiet
from tests.simulation.test_races import meanwhile

FAST: dict[str, Any] = {"metric": "slow_share", "condition": "< 10%", "duration": "10s sustained"}
NEVER: dict[str, Any] = {"metric": "slow_share", "condition": "at least 90% better", "duration": "10s sustained"}


def part(wanted: str = "a part", *, criterion: dict[str, Any] = FAST, **more: Any) -> dict[str, Any]:
    return {"objective": {"description": wanted}, "acceptance_criteria": [criterion], **more}


def record(operations: Operations) -> Record:
    return operations.harness.record


async def split(operations: Operations, *parts: dict[str, Any], **spec: Any) -> list[str]:
    """File a ticket with these parts and go on until it waits for them; their ids."""
    parent = operations.file(children=list(parts), **spec)
    await operations.watch(lambda: operations.reached(State.WAITING, State.ESCALATED, ticket_id=parent))
    return list(operations.ticket(parent).children)


def test_a_ticket_with_parts_is_verified_by_its_own_criteria_when_all_of_them_are_resolved() -> None:
    async def story() -> None:
        # given a goal of two parts, one of which has two itself
        operations = await quiet()
        operations.file(children=[part("one"), part("two", children=[part("two a"), part("two b")])])
        # when everything is worked on
        await operations.watch(lambda: operations.state("INF-1") in ENDS)
        # then each part was resolved by itself, and the ticket after them, by its own measurement
        family = [operations.ticket(one) for one in operations.tickets()]
        assert {one.id: (one.parent, one.depth, one.state) for one in family} == {
            "INF-1": (None, 0, State.RESOLVED), "INF-2": ("INF-1", 1, State.RESOLVED),
            "INF-3": ("INF-1", 1, State.RESOLVED), "INF-4": ("INF-3", 2, State.RESOLVED),
            "INF-5": ("INF-3", 2, State.RESOLVED),
        }  # fmt: skip
        closed = {one.id: one.closed_at for one in family}
        assert closed["INF-1"] > max(closed["INF-2"], closed["INF-3"])  # type: ignore[operator, type-var]
        kinds = [type(event).__name__ for event in operations.events("ticket-INF-1")]
        assert kinds == ["TicketFiled", "TicketAdmitted", "TicketSplit", "ChildrenEnded", "AttemptStarted",
                         "NothingToChange", "StartMeasured", "CriteriaMet"]  # fmt: skip

    run(story())


def test_people_see_what_a_ticket_is_a_part_of_and_what_it_was_split_into() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.file(children=[part("one")])
        await operations.watch(lambda: operations.state("INF-1") in ENDS)
        assert ticket_document(record(operations), "INF-1")["children"] == ["INF-2"]
        assert ticket_document(record(operations), "INF-2")["parent"] == "INF-1"
        rows = {row["id"]: (row["parent"], row["children"]) for row in listed(record(operations))}
        assert rows == {"INF-1": (None, ["INF-2"]), "INF-2": ("INF-1", [])}
        told = [one["why"] for one in explanation(record(operations), operations.ticket("INF-1"))["decisions"]]
        assert "split: it waits for its parts INF-2" in told and "its parts have ended: INF-2 resolved" in told
        told = [one["why"] for one in explanation(record(operations), operations.ticket("INF-2"))["decisions"]]
        assert "it is a part of INF-1" in told

    run(story())


def test_a_part_takes_over_what_it_does_not_say_itself_and_keeps_to_its_parents_constraints() -> None:
    async def story() -> None:
        operations = await quiet()
        parts = await split(
            operations, part(), part(priority="P3", constraints=["requires approval"], type="investigation"),
            type="improvement", priority="P1", constraints=["at most 2 nodes at once"], labels={"team": "edge"},
            budget={"usd": 2.0, "steps": 10},
        )  # fmt: skip
        one, two = (operations.journal(each).spec() for each in parts)
        assert (one.type, one.priority, one.constraints) == ("improvement", "P1", ("at most 2 nodes at once",))
        assert (two.type, two.priority) == ("investigation", "P3")
        assert two.constraints == ("at most 2 nodes at once", "requires approval")
        assert one.labels.team == two.labels.team == "edge" and one.service == "ratelimiter"
        assert [(each.budget.usd, each.budget.steps) for each in (one, two)] == [(1.0, 5), (1.0, 5)]

    run(story())


def test_parts_that_were_not_resolved_have_a_person_asked_and_an_answer_has_the_ticket_worked_on_as_a_whole() -> None:
    async def story() -> None:
        operations = await quiet()
        one, two = await split(operations, part(), part())
        await operations.tell("cancel", two, text="not needed")
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        assert f"{two} is cancelled; resolved: {one}" in operations.question()
        await operations.tell("answer", text="the rest is enough")
        await operations.watch(lambda: operations.state("INF-1") in ENDS)
        assert operations.state("INF-1") is State.RESOLVED

    run(story())


def test_a_ticket_whose_own_criteria_do_not_hold_after_its_parts_is_worked_on_again() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.file(children=[part()], acceptance_criteria=[NEVER])
        await operations.watch(lambda: operations.reached(State.ESCALATED, State.RESOLVED))
        assert operations.state("INF-1") is State.ESCALATED and operations.state("INF-2") is State.RESOLVED
        first, second = operations.ticket("INF-1").attempts[:2]
        assert isinstance(first.verification, e.CriteriaNotMet) and (first.agent, second.agent) == ("parts", "runbook")

    run(story())


@pytest.mark.parametrize("order", list(itertools.permutations(["resolve", "cancel", "resolve later"])))
def test_in_whatever_order_and_however_the_parts_end_the_ticket_comes_to_its_end(order: tuple[str, ...]) -> None:
    async def story() -> None:
        # given three parts, held by a person until it is their turn
        operations = await quiet()
        parts = await split(operations, part(), part(), part())
        for one in parts:
            await operations.tell("pause", one)
        # when they end one after the other
        for one, how in zip(parts, order, strict=True):
            await operations.tell("cancel" if how == "cancel" else "resume", one)
            await operations.watch(lambda one=one: operations.state(one) in ENDS)  # type: ignore[misc]
        # then a person is asked once, when the last one has, and the ticket ends by that person's word
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        asked = [one for one in operations.events("ticket-INF-1") if isinstance(one, e.HelpRequested)]
        assert len(asked) == 1
        await operations.tell("cancel", "INF-1")
        assert operations.state("INF-1") is State.CANCELLED

    run(story())


def test_who_cancels_a_ticket_cancels_its_parts_and_theirs() -> None:
    async def story() -> None:
        operations = await quiet()
        await split(operations, part(), part(children=[part()]))
        await operations.watch(lambda: "INF-4" in operations.tickets())
        await operations.tell("cancel", "INF-1", text="no longer wanted")
        await operations.watch(lambda: all(operations.state(one) in ENDS for one in operations.tickets()))
        assert {operations.state(one) for one in operations.tickets()} == {State.CANCELLED}
        cancelled = operations.last("INF-4", e.TicketCancelled)
        assert cancelled.by == "ada"
        assert operations.blobs.get_json(cancelled.why)["text"] == "INF-3, of which this is a part, was ended."

    run(story())


def test_who_pauses_a_ticket_pauses_its_parts_and_resuming_leaves_alone_what_somebody_else_paused() -> None:
    async def story() -> None:
        operations = await quiet()
        one, two = await split(operations, part(), part())
        await operations.tell("pause", two, by="grace")
        await operations.tell("pause", "INF-1")
        await operations.watch(lambda: operations.state(one) is State.PAUSED)
        await operations.tell("resume", "INF-1")
        await operations.watch(lambda: operations.state(one) in ENDS)
        assert operations.state(one) is State.RESOLVED and operations.state(two) is State.PAUSED
        assert operations.state("INF-1") is State.WAITING
        await operations.tell("resume", two, by="grace")
        await operations.watch(lambda: operations.state("INF-1") in ENDS)
        assert operations.state("INF-1") is State.RESOLVED

    run(story())


def test_a_person_splits_a_ticket_that_is_with_her_and_it_waits_for_the_parts() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.file(acceptance_criteria=[NEVER])
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        children = operations.blobs.put_json({"children": [part("one"), part("two")]})
        assert await operations.tell("split", "INF-1", children=children) == State.WAITING
        assert operations.ticket("INF-1").children == ("INF-2", "INF-3")
        assert [operations.ticket(one).filed.source for one in ("INF-2", "INF-3")] == ["human", "human"]
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        assert operations.ticket("INF-1").attempts[-1].agent == "runbook"
        assert any(one.agent == "parts" for one in operations.ticket("INF-1").attempts)

    run(story())


def test_a_part_that_lives_is_not_filed_again_when_its_ticket_is_split_again() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.file(acceptance_criteria=[NEVER])
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        children = operations.blobs.put_json({"children": [part("one"), part("two")]})
        await operations.tell("split", "INF-1", children=children)
        # when somebody says it once more, with a part that is new
        more = operations.blobs.put_json({"children": [part("three"), part("one")]})
        with pytest.raises(ApplicationError) as refused:
            await operations.tell("split", "INF-1", children=more)
        # then it says which is there, and files none of them; once that is cancelled it may be filed again
        told = "children[1]: INF-2 is there for the same and lives; leave it out, or cancel that"
        assert refused.value.message == told and operations.tickets() == ["INF-1", "INF-2", "INF-3"]
        await operations.tell("cancel", "INF-2", text="not so")
        await operations.tell("split", "INF-1", children=more)
        assert operations.ticket("INF-1").children == ("INF-2", "INF-3", "INF-4", "INF-5")

    run(story())


def test_what_policy_or_the_budget_does_not_allow_is_refused_with_its_place_and_files_nothing() -> None:
    async def story() -> None:
        operations = await quiet()
        tight = replace(RULES, splitting=Splitting(depth=2, children=3, total=4))
        operations.harness = replace(operations.harness, rules=tight)
        operations.file(acceptance_criteria=[NEVER], budget={"usd": 1.0})
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        reasons = {}
        for name, parts in {
            "many": [part()] * 4,
            "deep": [part(children=[part(children=[part()])])],
            "urgent": [part(priority="P0")],
            "dear": [part(budget={"usd": 0.6}), part(budget={"usd": 0.6})],
            "unmeasured": [part(criterion={"metric": "slow_shar", "condition": "< 10%"})],
        }.items():
            children = operations.blobs.put_json({"children": parts})
            with pytest.raises(ApplicationError) as refused:
                await operations.tell("split", "INF-1", children=children)
            reasons[name] = refused.value.message
        assert reasons == {
            "many": "children: 4 of one ticket; policies/splitting.yaml allows 3",
            "deep": "children: parts with 3 tickets above them; policies/splitting.yaml allows 2",
            "urgent": "children[0].priority: P0 is more urgent than the ticket itself, which is P2",
            "dear": "children: they ask for 1.2 usd together, and the ticket has 1 left",
            "unmeasured": "children[0].acceptance_criteria[0].metric: `slow_shar` is not declared by ratelimiter; "
            + reasons["unmeasured"].partition("; ")[2],
        }
        assert operations.tickets() == ["INF-1"] and operations.state("INF-1") is State.ESCALATED

    run(story())


def test_a_deadline_that_is_over_calls_a_person_also_while_parts_are_at_work_and_an_answer_has_it_wait_again() -> None:
    async def story() -> None:
        operations = await quiet()
        due = operations.world.clock.now().replace(second=0, microsecond=0)
        due = due.replace(minute=due.minute + 3)
        (one,) = await split(operations, part(), constraints=[f"deadline {due:%Y-%m-%dT%H:%MZ}"])
        await operations.tell("pause", one)
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        assert "is over and nothing was delivered" in operations.question()
        await operations.tell("constrain", "INF-1", constraints=())
        await operations.tell("answer", "INF-1", text="wait for it")
        await operations.watch(lambda: operations.reached(State.WAITING))
        assert operations.ticket("INF-1").children == (one,)

    run(story())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 26, 4))
def test_wherever_the_harness_dies_each_part_is_filed_once_and_the_ticket_is_verified(when: str, nth: int) -> None:
    async def story() -> None:
        operations = await quiet()
        appends = itertools.count(1)

        def die() -> None:
            if next(appends) == nth:
                raise Crash

        setattr(operations.ledger, when, die)
        operations.restart_workflow = nth % 2 == 0
        while "INF-1" not in operations.tickets():
            try:
                operations.file(children=[part("one"), part("two")])
            except Crash:
                continue
        await operations.watch(lambda: operations.state("INF-1") in ENDS)
        assert operations.tickets() == ["INF-1", "INF-2", "INF-3"]
        assert {operations.state(one) for one in operations.tickets()} == {State.RESOLVED}

    run(story())


def test_parts_and_tickets_of_others_that_are_filed_at_the_same_moment_get_a_number_each() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.file(acceptance_criteria=[NEVER])
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        children = operations.blobs.put_json({"children": [part("one"), part("two")]})
        meanwhile(operations.ledger, lambda: operations.file())
        await operations.tell("split", "INF-1", children=children)
        assert operations.ticket("INF-1").children == ("INF-3", "INF-4")
        assert operations.ticket("INF-2").parent is None

    run(story())


def test_what_temporal_lost_of_a_family_goes_on_from_the_ledger() -> None:
    async def story() -> None:
        operations = await quiet()
        await split(operations, part(), part())
        await operations.lose_temporal()
        await operations.watch(lambda: operations.state("INF-1") in ENDS)
        assert operations.state("INF-1") is State.RESOLVED and not LIVE & {
            operations.ticket(one).state for one in operations.tickets()
        }

    run(story())


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_a_model_splits_a_ticket_and_the_attempt_that_did_is_verified_after_the_parts(provider: str) -> None:
    def mind(request: dict[str, Any]) -> Step:
        said, told = answers(request), briefing(request)
        if "the ticket that this is a part of" in told:
            assert "a whole that is large" in told
            return Say("It holds.", (Call("nothing_to_change", {"why": "it holds already"}),))
        if not said:
            wrong = part(criterion={"metric": "slow_shar", "condition": "< 10%"})
            return Say("Two goals.", (Call("split_ticket", {"children": [wrong]}),))
        assert "children[0].acceptance_criteria[0].metric: `slow_shar`" in body(said[0])["reason"]
        return Say("So.", (Call("split_ticket", {"children": [part("one"), part("two", priority="P3")]}),))

    async def story(served: Served) -> None:
        operations = await quiet()
        worked_by(operations, served, provider)
        operations.file(objective={"description": "a whole that is large"})
        await operations.watch(lambda: operations.state("INF-1") in ENDS)
        parent = operations.ticket("INF-1")
        assert parent.state is State.RESOLVED and len(parent.attempts) == 1 and parent.attempt.split is not None
        assert [operations.ticket(one).filed.source for one in parent.children] == ["agent", "agent"]
        actors = {row.actor for row in operations.ledger.read_stream("ticket-INF-2") if row.type == "TicketFiled"}
        assert actors == {f"agent:{provider}"}
        assert operations.state("INF-2") is operations.state("INF-3") is State.RESOLVED

    with serving(mind) as served:
        run(story(served))
