"""What canary, deployment and verification stop, and what they leave behind, on a modelled world in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from harness.core import events as e
from harness.core.deployment import NodeOrder
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.effects import Effect
from harness.simulation.service import Behaviour, Change
from tests.simulation.operations import RULES, SLOW, days_work, incident

ERRORS = Behaviour(error_share=0.3)
OFF = {"canary": 0.0, "baseline": 0.0}


def a_change_that_needs_the_bad_one(without: Behaviour) -> list[Change]:
    """Taking the slow commit back is right by the probe, and yet breaks the one that builds on it."""
    return [*days_work(2, of=4), Change("change-4", needs="change-2", without=without)]


def test_a_canary_stops_a_repair_that_makes_errors_and_a_second_attempt_starts() -> None:
    async def story() -> None:
        # given a slow release whose repair makes errors
        operations = await incident(a_change_that_needs_the_bad_one(ERRORS))
        sick = operations.world.repository.main()
        # when the repair meets traffic
        await operations.watch(lambda: operations.reached(State.WORKING) and operations.happened(e.CanaryFailed))
        # then the sick baseline did not save it: errors stopped it, long before its planned sample
        failed = operations.last("INF-1", e.CanaryFailed)
        assert "error_share" in failed.reason and failed.per_arm < failed.looks * 600
        assert {v.metric: v.verdict for v in failed.verdicts}["error_share"] == "HIGH"
        # and traffic was off before the arms went, main and nodes were never touched, the lock is free
        world = operations.world
        assert world.router.shares == OFF and operations.runs_everywhere(sick)
        order = [effect.key for effect in world.effects]
        assert order.index("INF-1/1/canary-off") < order.index("n1 INF-1/1/canary/remove-canary")
        assert not [effect for effect in world.effects if effect.kind == "main"]
        await operations.watch(lambda: len(operations.ticket("INF-1").attempts) == 2)
        assert operations.ticket("INF-1").life.token is None

    run(story())


def test_a_ticket_whose_attempts_are_used_up_asks_a_person() -> None:
    async def story() -> None:
        # given a repair that a canary stops, and as many attempts as have no other way than that
        admission = RULES.profile.admission.model_copy(update={"attempts": 1})
        rules = replace(RULES, profile=RULES.profile.model_copy(update={"admission": admission}))
        operations = await incident(a_change_that_needs_the_bad_one(ERRORS), rules=rules)
        sick = operations.world.repository.main()
        await operations.settle()
        # then a person is told what was tried, and what became of it
        ticket = operations.ticket("INF-1")
        assert ticket.state is State.ESCALATED and len(ticket.attempts) == 1
        asked = operations.question()
        assert "All 1 attempts are used up" in asked
        assert "Attempt 1 took back" in asked and "canary did not let it through" in asked
        assert operations.runs_everywhere(sick) and ticket.life.token is None

    run(story())


def test_when_the_repair_is_stopped_the_next_attempt_takes_the_whole_release_back() -> None:
    async def story() -> None:
        # given a slow commit on which another one builds, so that taking it back alone makes errors
        operations = await incident([], seed=5)
        before = operations.world.repository.main()
        operations.world.release(a_change_that_needs_the_bad_one(ERRORS))
        # when the harness is left alone with it
        await operations.settle()
        # then the second attempt did not do again what had been disproved
        first, second = operations.ticket("INF-1").attempts
        assert first.failure is not None and (first.failure.stage, first.failure.disproved) == ("canary", True)
        assert operations.reached(State.RESOLVED) and second.verification is not None
        main = operations.world.repository.main()
        assert operations.world.repository.tree(main) == operations.world.repository.tree(before)

    run(story())


def test_a_release_that_does_not_start_fails_the_canary_with_its_reason_and_gets_no_traffic() -> None:
    async def story() -> None:
        operations = await incident(a_change_that_needs_the_bad_one(Behaviour(starts=False)))
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        failed = operations.last("INF-1", e.CanaryFailed)
        assert "canary" in failed.reason and "did not start on n1: exited with 1" in failed.reason
        assert failed.looks == 0 and not operations.happened(e.CanaryStepped)
        assert operations.world.nodes.serving("baseline") == []

    run(story())


def test_a_change_whose_checks_fail_never_meets_traffic() -> None:
    async def story() -> None:
        operations = await incident(a_change_that_needs_the_bad_one(Behaviour(checks_pass=False)))
        await operations.watch(lambda: operations.happened(e.ChecksFailed))
        assert operations.last("INF-1", e.ChecksFailed).reason == "tests: exit code 1"
        assert {effect.kind for effect in operations.world.effects} == {"commit"}

    run(story())


def test_a_gate_that_fails_on_the_second_node_takes_everything_back() -> None:
    async def story() -> None:
        # given a release that is slow, and a node that breaks when it gets the repair
        operations = await incident(days_work(1))
        world, sick = operations.world, operations.world.repository.main()

        def breaks(effect: Effect) -> None:
            if effect.key == "n2 INF-1/1/deploy/n2":
                world.lose("n2")
            if effect.key == "n2 INF-1/1/rollback/n2":
                world.heal("n2")

        world.after_effect = breaks
        # when it is deployed
        await operations.watch(lambda: operations.happened(e.DeployFailed))
        # then the second gate failed, the third node was never touched, and both others went back, last first
        first, second = operations.ticket("INF-1").attempts[0].swaps
        assert first.ok and not second.ok and "capacity_headroom" in second.reason
        swapped = [effect.key.split("/", 1)[1] for effect in world.effects if effect.detail.startswith("swap")]
        assert swapped == ["1/deploy/n1", "1/deploy/n2", "1/rollback/n2", "1/rollback/n1"]
        # and main has the tree of before the change, on top of it: main equals what runs
        assert operations.happened(e.RolledBack)
        main = world.repository.main()
        assert main != sick and world.repository.tree(main) == world.repository.tree(sick)
        trees = {world.repository.tree(commit) for commit in world.nodes.serving("stable")}
        assert trees == {world.repository.tree(main)}

    run(story())


def test_a_change_after_which_the_criteria_do_not_hold_is_taken_back() -> None:
    async def story() -> None:
        # given a repair that is right, and trouble from outside that begins when it is everywhere
        operations = await incident(days_work(6))
        world, sick = operations.world, operations.world.repository.main()

        def trouble(effect: Effect) -> None:
            if effect.key == "n3 INF-1/1/deploy/n3":
                world.disturb(SLOW)

        world.after_effect = trouble
        # when it is verified
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet))
        # then the change was taken back everywhere, with what was measured as the reason
        assert "slow_share < 10%" in operations.last("INF-1", e.CriteriaNotMet).reason
        assert world.repository.tree(world.repository.main()) == world.repository.tree(sick)
        assert operations.runs_everywhere(world.repository.main())
        # and when the trouble is over, the next attempt repairs it
        world.after_effect = lambda effect: None
        world.disturb(Behaviour())
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED
        assert [attempt.verification is None for attempt in operations.ticket("INF-1").attempts] == [False, False]

    run(story())


def test_a_rollback_that_fails_calls_a_person_and_keeps_the_service_locked() -> None:
    async def story() -> None:
        operations = await incident(days_work(1))
        world = operations.world

        def trouble(effect: Effect) -> None:
            if effect.key == "n3 INF-1/1/deploy/n3":
                world.disturb(SLOW)
                newer = NodeOrder(verb="remove", key="by another", token=99, slot="canary")
                held.append(asyncio.create_task(world.nodes.order("n2", newer)))

        held: list[asyncio.Task[object]] = []
        world.after_effect = trouble
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED
        assert "token 1 is older than 99" in operations.last("INF-1", e.RollbackFailed).reason
        assert operations.ticket("INF-1").life.token == 1

    run(story())


def test_traffic_that_does_not_come_back_to_stable_calls_a_person_and_keeps_the_service_locked() -> None:
    async def story() -> None:
        # given a canary that is stopped, and another hand that sends it traffic again
        operations = await incident(a_change_that_needs_the_bad_one(ERRORS))
        world = operations.world

        def meddles(effect: Effect) -> None:
            if effect.key == "INF-1/1/canary-off":
                world.router.shares = {"canary": 0.1, "baseline": 0.0}

        world.after_effect = meddles
        # when it is taken off
        await operations.settle()
        # then what users got counts, not what the router was told
        assert operations.reached(State.ESCALATED)
        assert "of the requests do not reach stable" in operations.last("INF-1", e.RollbackFailed).reason
        assert operations.ticket("INF-1").life.token == 1

    run(story())
