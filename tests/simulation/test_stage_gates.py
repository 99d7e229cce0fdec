"""Every invariant is asked right before and after each stage that changes the service, and after a way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.core import events as e
from harness.core.criteria import CriterionSpec
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.effects import Effect
from harness.simulation.service import Behaviour
from tests.simulation.operations import RULES, SLOW, Operations, days_work, healthy, incident

ERRORS = Behaviour(error_share=0.3)


def gates(operations: Operations, ticket_id: str = "INF-1") -> list[e.GateJudged]:
    return [event for event in operations.events(f"ticket-{ticket_id}") if isinstance(event, e.GateJudged)]


def right_after(operations: Operations, kind: type[e.Event], happens: Callable[[], None]) -> None:
    """As soon as the first event of that kind is recorded, and before anything else."""

    def look() -> None:
        if operations.ledger.read_all(after_position=operations.ledger.head().position - 1)[-1].type == kind.__name__:
            operations.ledger.after = lambda: None
            happens()

    operations.ledger.after = look


async def a_slow_release() -> Operations:
    return await incident(days_work(1))


async def a_lost_node() -> Operations:
    operations = await incident([])
    operations.world.kill("n2")
    return operations


@pytest.mark.parametrize("begins", [a_slow_release, a_lost_node])
def test_every_stage_that_changes_the_service_has_a_gate_before_and_after_it_with_what_was_measured(
    begins: Callable[[], object],
) -> None:
    async def story() -> None:
        # given an incident that a change of code repairs, and one that an operation does
        operations = await begins()  # type: ignore[misc]
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED
        # then each gate stands between what it is between
        kinds = [
            f"{event.side} {event.stage}" if isinstance(event, e.GateJudged) else type(event).__name__
            for event in operations.events("ticket-INF-1")
        ]
        order = ["StartMeasured", "before canary", "CanaryLooked", "after canary", "CanaryPassed", "before deploy",
                 "after deploy", "ReleaseDeployed", "CriteriaMet"]  # fmt: skip
        assert [kinds.index(one) for one in order] == sorted(kinds.index(one) for one in order)
        # and says of every invariant what it was, over which window
        for gate in gates(operations):
            assert gate.reason == "" and [one.metric for one in gate.invariants] == ["available"]
            (one,) = gate.invariants
            assert one.passes and one.measured.value is not None and one.measured.query

    run(story())


@pytest.mark.parametrize(
    ("at", "shut", "failed", "touched"),
    [
        (e.ChecksPassed, ("before", "canary"), e.CanaryFailed, {"weights"}),
        (e.CanaryPassed, ("before", "deploy"), e.DeployFailed, {"order", "weights"}),
    ],
)
def test_a_stage_does_not_begin_while_an_invariant_is_broken_that_nobody_is_there_to_restore(
    at: type[e.Event], shut: tuple[str, str], failed: type[e.Event], touched: set[str]
) -> None:
    async def story() -> None:
        # given a repair that a person holds right before a stage, and a node that breaks meanwhile
        operations = await a_slow_release()
        world, sick = operations.world, operations.world.repository.main()
        await operations.watch(lambda: operations.happened(e.ChangeProposed))
        held: list[asyncio.Task[str]] = []
        right_after(operations, at, lambda: held.append(asyncio.create_task(operations.tell("pause"))))
        await operations.watch(lambda: operations.state("INF-1") is State.PAUSED)
        world.lose("n2")
        await world.clock.sleep(2.0)  # no watch: nobody has filed a ticket for it
        # when it goes on, and the node is back once the attempt is over
        right_after(operations, failed, lambda: world.heal("n2"))
        await operations.tell("resume")
        await operations.watch(lambda: operations.happened(failed))
        # then the stage did nothing to the service
        gate = gates(operations)[-1] if shut[1] == "deploy" else gates(operations)[0]
        assert (gate.side, gate.stage) == shut and "capacity_headroom" in gate.reason
        assert world.repository.main() == sick and not operations.happened(e.MainMoved)
        assert {effect.kind for effect in world.effects} - {"commit"} <= touched
        assert not any(effect.detail.startswith("swap") for effect in world.effects)
        # and the change is not said to be wrong: another attempt delivers it
        failure = operations.ticket("INF-1").attempts[0].failure
        assert failure is not None and failure.reason == gate.reason and not failure.disproved
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED

    run(story())


def test_what_the_ticket_itself_is_there_to_restore_only_has_to_get_no_worse_at_the_gates() -> None:
    async def story() -> None:
        # given an invariant that a release broke, so that the first swapped nodes cannot restore it alone
        (one,) = RULES.invariants
        answers = one.model_copy(update={"name": "answers", "condition": CriterionSpec.parse_text("error_share < 1%")})
        (book,) = (one for one in RULES.runbooks if one.runbook == "failed-requests")
        book = book.model_copy(update={"matches": book.matches.model_copy(update={"signal": "invariant"})})
        rules = replace(RULES, slos=(), invariants=(answers,), runbooks=(book,))
        operations = await incident(days_work(1, ERRORS), rules=rules)
        # when its repair is delivered
        await operations.settle()
        # then no gate stood in its way, each says so, and VERIFY asked for all of it
        ticket = operations.ticket("INF-1")
        assert ticket.state is State.RESOLVED and len(ticket.attempts) == 1
        assert ticket.filed.signal == "invariant:answers"
        before = next(gate for gate in gates(operations) if (gate.side, gate.stage) == ("before", "deploy"))
        (seen,) = before.invariants
        assert seen.met is False and seen.left_to is not None
        assert (seen.left_to.ticket_id, seen.left_to.no_worse) == ("INF-1", True)
        assert all(swap.ok and swap.left_to == () for swap in ticket.attempt.swaps)
        assert isinstance(ticket.attempt.verification, e.CriteriaMet)

    run(story())


@pytest.mark.parametrize("known", [True, False])
def test_after_a_way_back_every_invariant_is_looked_at_and_the_way_back_does_not_hang_on_it(known: bool) -> None:
    async def story() -> None:
        # given a right repair, trouble from outside once it is everywhere, and a node that breaks on the way back
        operations = await incident(days_work(6))
        world = operations.world

        def trouble(effect: Effect) -> None:
            if effect.key == "n3 INF-1/1/deploy/n3":
                world.disturb(SLOW)
            if effect.key == "n1 INF-1/1/rollback/n1":
                world.lose("n2")
                world.metrics.failing = not known

        world.after_effect = trouble
        # when it is taken back
        await operations.watch(lambda: operations.happened(e.RolledBack))
        # then it says how the service is, or that nobody tells, and the service is back all the same
        (gate,) = [gate for gate in gates(operations) if gate.stage == "rollback"]
        assert gate.side == "after" and len(gate.invariants) == known
        assert ("capacity_headroom" in gate.reason) == known and ("no_data" in gate.reason) == (not known)
        assert operations.runs_everywhere(world.repository.main())

    run(story())


def test_a_gate_waits_for_what_passes_while_it_is_looked_at() -> None:
    async def story() -> None:
        # given a node that breaks right before the stage is over, and is back within the time of its gate
        operations = await a_slow_release()
        world = operations.world

        async def for_a_moment() -> None:
            world.lose("n2")
            await world.clock.sleep(2.5)
            world.heal("n2")

        broken: list[asyncio.Task[None]] = []

        def watch(effect: Effect) -> None:
            if effect.key == "n1 INF-1/1/canary/remove-canary":
                broken.append(asyncio.create_task(for_a_moment()))

        world.after_effect = watch
        # when it goes on
        await operations.settle()
        # then it costs no attempt, and the wait is on record
        assert broken and operations.state("INF-1") is State.RESOLVED and len(operations.ticket("INF-1").attempts) == 1
        gate = next(gate for gate in gates(operations) if (gate.side, gate.stage) == ("after", "canary"))
        assert [wait.what for wait in gate.waits] == ["first sample after canary", "gate after canary"]

    run(story())


def test_a_person_who_ends_a_canary_half_way_leaves_a_gate_behind() -> None:
    async def story() -> None:
        operations = await a_slow_release()
        await operations.watch(lambda: operations.happened(e.CanaryStepped))
        await operations.tell("cancel")
        assert [(gate.side, gate.stage) for gate in gates(operations)] == [("before", "canary"), ("after", "canary")]
        await healthy(operations, 5)

    run(story())
