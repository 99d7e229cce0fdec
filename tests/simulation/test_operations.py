"""Operations: actions of the catalog through the four stages, on a modelled world in virtual time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.agent.runbook import Runbook
from harness.bootstrap import Rules
from harness.cli.explain import explained
from harness.cli.live import Watching
from harness.cli.ticket import explanation
from harness.cli.trajectory_export import check, export_atif
from harness.core import events as e
from harness.core.criteria import CriterionSpec
from harness.core.lifecycle import State
from harness.core.view import View
from harness.simulation.clock import run
from harness.simulation.effects import Effect
from harness.simulation.service import Behaviour
from harness.simulation.world import World
from tests.simulation.operations import RULES, SLOW, Crash, Operations, days_work, incident

ERRORS = Behaviour(error_share=0.3)


async def a_lost_node(*nodes: str) -> Operations:
    operations = await incident([])
    for node in nodes or ("n2",):
        operations.world.kill(node)
    return operations


def after(world: World, kind: str, happens: object) -> None:
    """Once the first effect of this kind was had, something happens."""

    def watch(effect: Effect) -> None:
        if effect.kind == kind:
            world.after_effect = lambda effect: None
            assert callable(happens)
            happens()

    world.after_effect = watch


# --- the whole way -------------------------------------------------------------------------------------------------


def test_a_lost_node_is_replaced_by_an_action_of_the_catalog() -> None:
    async def story() -> None:
        # given a fleet of three of which one machine died
        operations = await a_lost_node("n2")
        world, main = operations.world, operations.world.repository.main()
        # when the harness is left alone with it
        await operations.settle()
        # then the broken invariant made the ticket, and its change is an operation with evidence from every stage
        ticket = operations.ticket("INF-1")
        assert ticket.state is State.RESOLVED and ticket.filed.signal == "invariant:capacity_headroom"
        (attempt,) = ticket.attempts
        assert attempt.change is not None and attempt.change.kind == "operation"
        assert attempt.operation == e.Operation(action="add_nodes", parameters={"count": 1})
        assert isinstance(attempt.checks, e.ChecksPassed)
        assert [one.name for one in attempt.checks.outcomes] == [
            "precondition nodes_after <= 6", "precondition available_after > 20%",
        ]  # fmt: skip
        passed = attempt.canary
        assert isinstance(passed, e.CanaryPassed) and passed.guards_only and passed.per_arm >= 2000
        assert {verdict.role for verdict in passed.verdicts} == {"limit"}
        # and exactly one machine was started, under the key of the effect; main and the routes' shares were left alone
        assert [(effect.kind, effect.key, effect.detail) for effect in world.effects] == [
            ("machine", "INF-1/1/unit-1", "start n4")
        ]
        assert world.provider.observe("INF-1/1/unit-1") == "n4"
        assert world.nodes.names() == ("n1", "n3", "n4") and operations.runs_everywhere(main)
        assert isinstance(attempt.deploy, e.ReleaseDeployed) and attempt.deploy.nodes == ("n1", "n3", "n4")
        met = operations.last("INF-1", e.CriteriaMet)
        assert met.criteria[0].metric == "available" and all(one.met for one in met.criteria)

    run(story())


def test_two_lost_nodes_are_replaced_one_as_the_canary_and_one_in_the_deployment() -> None:
    async def story() -> None:
        operations = await a_lost_node("n1", "n3")
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED
        assert [(step.ordinal, step.node) for step in operations.ticket("INF-1").attempt.units] == [
            (1, "n4"),
            (2, "n5"),
        ]
        kinds = [type(event) for event in operations.events("ticket-INF-1")]
        first, second = (number for number, kind in enumerate(kinds) if kind is e.OperationStepped)
        assert first < kinds.index(e.CanaryPassed) < second < kinds.index(e.ReleaseDeployed)

    run(story())


def test_the_watch_records_which_nodes_came_and_went() -> None:
    async def story() -> None:
        operations = await a_lost_node("n2")
        await operations.settle()
        seen = [event for event in operations.events("fleet-ratelimiter") if isinstance(event, e.FleetChanged)]
        assert [(event.joined, event.lost) for event in seen] == [
            (("n1", "n2", "n3"), ()), ((), ("n2",)), (("n4",), ()),
        ]  # fmt: skip

    run(story())


def test_an_operation_is_told_wherever_a_ticket_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        operations = await a_lost_node("n2")
        await operations.settle()
        record = operations.harness.record
        # explained: every question has its answer, with the limits under which the first unit was watched
        document = explanation(record, operations.ticket("INF-1"))
        assert [line for line in explained(document) if line.startswith("Why")][2:5] == [
            "Why did TEST let it through?", "Why did CANARY let it through?", "Why did DEPLOY let it through?",
        ]  # fmt: skip
        (unit,) = (one for one in document["decisions"] if one["event"] == "OperationStepped")
        assert unit["question"] == "canary" and unit["why"] == "n4 started, and serves"
        assert {item["metric"] for item in unit["evidence"] if item["kind"] == "limit"} == {
            "slow_share", "error_share", "wrong_denial_share",
        }  # fmt: skip
        # seen under way: the node that is gone is seen no more, and the one that came is
        watching = Watching(record, View(ticket_id="INF-1"))
        for row in operations.ledger.read_all(limit=100_000):
            watching.see(row)
        assert watching.view.over and "n2" not in dict(watching.view.nodes)
        assert any(line.text == "the fleet changed: n2 gone; now n1, n3" for line in watching.view.lines)
        # and exported: the trajectory keeps the rules of its format
        export_atif(record, tmp_path / "out", None)
        assert check(tmp_path / "out") == (1, [])

    run(story())


IDLE = Runbook.parse(
    {
        "runbook": "idle", "purpose": "Give back a node that is not needed.",
        "matches": {"signal": "invariant", "metric": "available"}, "start": "give_back",
        "steps": {
            "give_back": {
                "why": "More is free than may be.", "call": "propose_action",
                "with": {"name": "remove_node", "parameters": {"node": "n3"}, "summary": "n3 is not needed.",
                         "predicted_effect": "available falls."},
            }
        },
    },
    "idle.yaml",
)  # fmt: skip


async def an_idle_node() -> Operations:
    """A fleet of four where an invariant says that three are enough, and a runbook that gives n3 back."""
    (one,) = RULES.invariants
    thrifty = one.model_copy(update={"condition": CriterionSpec.parse_text("available < 50%")})
    operations = await incident([], rules=replace(RULES, invariants=(thrifty,), runbooks=(IDLE,)))
    operations.world.provider.start("people")
    return operations


def test_a_node_is_emptied_as_the_canary_of_its_removal_and_removed_in_the_deployment() -> None:
    async def story() -> None:
        operations = await an_idle_node()
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED
        assert [(step.verb, step.node) for step in operations.ticket("INF-1").attempt.units] == [
            ("drain", "n3"), ("remove", "n3"),
        ]  # fmt: skip
        assert [(effect.kind, effect.key) for effect in operations.world.effects[1:]] == [
            ("order", "n3 INF-1/1/unit-1"), ("machine", "INF-1/1/unit-2"),
        ]  # fmt: skip
        assert operations.world.nodes.names() == ("n1", "n2", "n4")
        kinds = [type(event) for event in operations.events("ticket-INF-1")]
        first, second = (number for number, kind in enumerate(kinds) if kind is e.OperationStepped)
        assert first < kinds.index(e.CanaryPassed) < second < kinds.index(e.ReleaseDeployed)

    run(story())


def test_a_node_whose_absence_hurts_serves_again() -> None:
    async def story() -> None:
        operations = await an_idle_node()
        world = operations.world
        await operations.watch(lambda: operations.happened(e.TicketFiled))
        after(world, "order", lambda: world.disturb(ERRORS))
        await operations.watch(lambda: operations.happened(e.RolledBack))
        back = [event for event in operations.events("ticket-INF-1") if isinstance(event, e.OperationStepped)][1]
        assert (back.verb, back.node, back.ok, back.back) == ("restore", "n3", True, True)
        main = world.repository.main()
        assert [effect.detail for effect in world.effects[1:3]] == ["remove stable None", f"place stable {main}"]

    run(story())


# --- what stops it -------------------------------------------------------------------------------------------------


def test_a_node_that_does_not_come_up_is_given_back() -> None:
    async def story() -> None:
        operations = await a_lost_node()
        nodes = operations.world.nodes
        nodes.stillborn = True

        def later_ones_come_up(effect: Effect) -> None:
            nodes.stillborn = effect.detail != "remove n4"

        operations.world.after_effect = later_ones_come_up
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        failed = operations.last("INF-1", e.CanaryFailed)
        within_s = RULES.profile.operation.ready_within_s
        assert failed.reason == f"n4 does not serve {within_s:g} s after it was started" and failed.guards_only
        assert [effect.detail for effect in operations.world.effects][:2] == ["start n4", "remove n4"]
        assert "n4" not in nodes.names() and operations.happened(e.RolledBack)
        # and as nodes come up again, the next attempt succeeds
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED and nodes.names() == ("n1", "n3", "n5")

    run(story())


def test_guards_stop_an_operation_that_comes_with_errors_and_its_node_is_drained_and_removed() -> None:
    async def story() -> None:
        operations = await a_lost_node()
        world = operations.world
        after(world, "machine", lambda: world.disturb(ERRORS))
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        failed = operations.last("INF-1", e.CanaryFailed)
        assert failed.reason.startswith("above_limit: error_share") and failed.per_arm < 2000
        back = [event for event in operations.events("ticket-INF-1") if isinstance(event, e.OperationStepped)][1:3]
        assert [(step.verb, step.node, step.back) for step in back] == [("drain", "n4", True), ("remove", "n4", True)]
        assert "n4" not in world.nodes.names() and operations.ticket("INF-1").attempts[0].rolled_back is not None

    run(story())


def test_an_operation_after_which_the_criteria_do_not_hold_is_taken_back() -> None:
    async def story() -> None:
        operations = await a_lost_node()
        world = operations.world
        await operations.watch(lambda: operations.happened(e.ReleaseDeployed))
        world.disturb(SLOW)
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet))
        assert "slow_share < 10%" in operations.last("INF-1", e.CriteriaNotMet).reason
        assert [effect.detail for effect in world.effects][:3] == ["start n4", "remove stable None", "remove n4"]
        assert "n4" not in world.nodes.names() and operations.happened(e.RolledBack)

    run(story())


def test_an_operation_whose_measurements_stop_with_its_first_unit_is_taken_back() -> None:
    async def story() -> None:
        operations = await a_lost_node("n2")
        world = operations.world

        def fails() -> None:
            world.metrics.failing = True

        after(world, "machine", fails)
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        assert world.nodes.names() == ("n1", "n3")

    run(story())


def test_while_a_worker_is_away_from_an_operation_nothing_is_waited_for() -> None:
    async def story() -> None:
        # given an operation that had its first look when the process dies, and comes back only after a while
        operations = await a_lost_node("n2")
        await operations.watch(lambda: operations.happened(e.CanaryLooked))

        def dies() -> None:
            operations.ledger.before = lambda: None
            operations.restart_s = 30.0
            raise Crash

        operations.ledger.before = dies
        await operations.watch(lambda: operations.happened(e.CanaryPassed) or operations.happened(e.CanaryFailed))
        # then no more is told as waiting for evidence than its guards were to be watched for
        ended = operations.ticket("INF-1").attempts[0].canary
        assert operations.restarts == 1 and ended is not None
        windows = [wait for wait in ended.waits if wait.what == "guards"]
        waited_s = sum((wait.closed_at - wait.opened_at).total_seconds() for wait in windows)
        assert waited_s <= RULES.profile.operation.hold_s + RULES.profile.operation.extension_s

    run(story())


def test_an_operation_that_nobody_can_watch_is_taken_back() -> None:
    async def story() -> None:
        # given an operation whose guards are watched, until metrics give no answer any more
        operations = await a_lost_node()
        await operations.watch(lambda: operations.happened(e.CanaryLooked))
        operations.world.metrics.failing = True
        # when the time of the guards is over
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        # then it was taken back
        assert operations.last("INF-1", e.CanaryFailed).reason.startswith("insufficient: ")
        assert "n4" not in operations.world.nodes.names()

    run(story())


@pytest.mark.parametrize("dies", ["while it is watched", "in the deployment's gate"])
def test_a_node_that_dies_again_fails_the_operation(dies: str) -> None:
    async def story() -> None:
        operations = await a_lost_node()
        event = e.CanaryLooked if dies == "while it is watched" else e.CanaryPassed
        await operations.watch(lambda: operations.happened(event))
        operations.world.kill("n4")
        await operations.watch(lambda: len(operations.ticket("INF-1").attempts) == 2)
        assert operations.happened(e.RolledBack)
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED and operations.world.nodes.names() == ("n1", "n3", "n5")

    run(story())


def allowing_nodes(most: int) -> Rules:
    """A catalog that allows no more nodes than this."""
    add, remove = RULES.catalog.actions
    few = add.model_copy(update={"preconditions": (CriterionSpec.parse_text(f"nodes_after <= {most}"),)})
    return replace(RULES, catalog=RULES.catalog.model_copy(update={"actions": (few, remove)}))


def test_an_action_whose_preconditions_fail_at_the_test_touches_nothing() -> None:
    async def story() -> None:
        # given an action that was proposed when it was allowed, and somebody who is faster
        operations = await incident([], rules=allowing_nodes(3))
        operations.world.kill("n1")

        def somebody_adds_one() -> None:
            if operations.happened(e.ChangeProposed):
                operations.world.provider.start("people")

        operations.ledger.after = somebody_adds_one
        # when it is tested
        await operations.watch(lambda: operations.happened(e.ChecksFailed))
        # then it is stopped with the values, and nothing was done
        assert operations.last("INF-1", e.ChecksFailed).reason == "add_nodes: nodes_after is 4, wanted <= 3"
        assert not operations.happened(e.OperationStepped)

    run(story())


# --- when a person is asked ----------------------------------------------------------------------------------------


def test_a_node_that_is_there_and_does_not_serve_is_not_replaced_unasked() -> None:
    async def story() -> None:
        operations = await incident([])
        operations.world.lose("n2")
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED and operations.world.effects == []
        assert operations.question().startswith("Capacity is short and these nodes do not serve: ['n2'].")

    run(story())


def test_nodes_that_may_not_be_added_are_asked_for() -> None:
    async def story() -> None:
        operations = await incident([], rules=allowing_nodes(2))
        operations.world.kill("n1")
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED and operations.world.effects == []
        assert "adding them is not allowed: nodes_after is 3, wanted <= 2" in operations.question()

    run(story())


def test_capacity_that_is_short_with_every_node_there_is_not_the_harnesss_to_add() -> None:
    async def story() -> None:
        # given an invariant that asks for more than three nodes have
        (one,) = RULES.invariants
        greedy = one.model_copy(update={"condition": CriterionSpec.parse_text("available > 60%")})
        operations = await incident([], rules=replace(RULES, invariants=(greedy,)))
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED and operations.world.effects == []

    run(story())


# --- the fleet of a code change ------------------------------------------------------------------------------------


def test_a_canary_whose_node_dies_is_stopped_and_the_next_one_stands_on_another() -> None:
    async def story() -> None:
        operations = await incident(days_work(2))
        await operations.watch(lambda: operations.happened(e.CanaryLooked))
        assert operations.ticket("INF-1").attempt.canary_started is not None
        operations.world.kill("n1")
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        assert operations.last("INF-1", e.CanaryFailed).reason == "n1, which hosted both arms, left the fleet"
        assert operations.world.router.shares == {"canary": 0.0, "baseline": 0.0}
        await operations.watch(lambda: len([one for one in operations.events("ticket-INF-1")
                                            if isinstance(one, e.CanaryStarted)]) == 2)  # fmt: skip
        assert operations.last("INF-1", e.CanaryStarted).node == "n2"

    run(story())


def test_a_canary_never_stands_on_a_node_that_does_not_answer() -> None:
    async def story() -> None:
        operations = await incident(days_work(2))
        await operations.watch(lambda: operations.happened(e.ChangeProposed))
        operations.world.nodes.away.add("n1")
        await operations.watch(lambda: operations.happened(e.CanaryStarted))
        assert operations.last("INF-1", e.CanaryStarted).node == "n2"

    run(story())
