"""What does not answer is tried for as long as policy says, then the stage ends with a verdict. In virtual time."""

from __future__ import annotations

import pytest

from harness.core import events as e
from harness.core.lifecycle import State
from harness.core.ticket import Failure
from harness.simulation.clock import run
from harness.simulation.effects import Effect
from harness.simulation.metrics import MemoryMetrics
from tests.simulation.operations import RULES, Operations, days_work, healthy, incident

STALL_S = RULES.profile.stall_s
OFF = {"canary": 0.0, "baseline": 0.0}
MINUTES_S = 20 * 60.0


def hangs_after(operations: Operations, key: str, node: str) -> None:
    """From this effect on the node's agent answers nothing; what it serves goes on."""

    def look(effect: Effect) -> None:
        if effect.key == key:
            operations.world.nodes.hung.add(node)

    operations.world.after_effect = look


def stopped(operations: Operations) -> list[Failure]:
    attempts = operations.ticket("INF-1").attempts if operations.tickets() else ()
    return [one.failure for one in attempts if one.failure is not None]


def swaps(operations: Operations) -> list[e.NodeSwapped]:
    return [one for one in operations.events("ticket-INF-1") if isinstance(one, e.NodeSwapped)]


def stalls(operations: Operations) -> list[e.StageStalled]:
    return [one for one in operations.events("ticket-INF-1") if isinstance(one, e.StageStalled)]


def test_a_node_that_hangs_after_its_swap_ends_the_deployment_and_a_person_is_asked() -> None:
    async def story() -> None:
        # given a repair that is right, and a node that never answers again once it serves it
        operations = await incident(days_work(2, of=4))
        world, sick = operations.world, operations.world.repository.main()
        hangs_after(operations, "n2 INF-1/1/deploy/n2", "n2")
        await operations.watch(lambda: bool(stalls(operations)))
        began_s = world.clock.now_s()
        # when it goes on like that
        await operations.watch(lambda: operations.reached(State.ESCALATED), limit_s=MINUTES_S)
        # then the deployment was tried for its time and the way back as long again, and people were told at once
        assert 2 * STALL_S <= world.clock.now_s() - began_s <= 2 * STALL_S + 15
        assert "n2 does not answer" in stalls(operations)[0].reason
        # and whoever answers is back where it was, main too; the lock stays with the ticket, for n2 is half done
        failed = operations.last("INF-1", e.RollbackFailed)
        assert failed.reason.startswith("no_data") and "n2" in failed.reason
        tree = world.repository.tree
        assert tree(world.repository.main()) == tree(sick)
        assert [tree(one) == tree(sick) for one in world.nodes.serving("stable")] == [True, False, True]
        assert operations.ticket("INF-1").life.token is not None
        assert operations.ticket("INF-1").way_back_failed == failed.reason

    run(story())


def test_a_deployment_that_hangs_counts_its_time_over_kills() -> None:
    async def story() -> None:
        # given a node that hangs
        operations = await incident(days_work(2, of=4))
        hangs_after(operations, "n2 INF-1/1/deploy/n2", "n2")
        await operations.watch(lambda: bool(stalls(operations)))
        began_s = operations.world.clock.now_s()
        # when whoever deploys is killed again and again
        for _ in range(3):
            await healthy(operations, STALL_S / 5)
            operations.carried.pop("INF-1").cancel()
        await operations.watch(lambda: not all(one.ok for one in swaps(operations)), limit_s=MINUTES_S)
        # then it was given up after the same time, of which people were told once
        assert STALL_S <= operations.world.clock.now_s() - began_s <= STALL_S + 10
        assert [one.reason for one in stalls(operations)].count("node n2 does not answer") == 1

    run(story())


def test_a_guard_whose_counter_never_appears_ends_the_canary_gives_the_lock_back_and_asks() -> None:
    async def story() -> None:
        # given counters of the arms that never come
        operations = await incident(days_work(2, of=4))
        operations.world.metrics.absent = "canary"
        # when all attempts went that way
        await operations.watch(lambda: operations.reached(State.ESCALATED), limit_s=MINUTES_S)
        # then each ended with a verdict that does not speak against its change, with the lock free and no arm standing
        failed = [one for one in operations.events("ticket-INF-1") if isinstance(one, e.CanaryFailed)]
        assert len(failed) == RULES.profile.admission.attempts
        assert all(one.reason.startswith("no_data") and "counters" in one.reason for one in failed)
        assert operations.ticket("INF-1").life.token is None and operations.world.router.shares == OFF
        assert operations.world.nodes.serving("canary") == operations.world.nodes.serving("baseline") == []
        assert not any(failure.disproved for failure in stopped(operations))
        # and the question says why, in words
        assert "no counters yet" in operations.question()

    run(story())


def test_an_arm_whose_node_hangs_loses_its_traffic_and_is_left_standing() -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        hangs_after(operations, "INF-1/1/canary-1", "n1")
        # when the canary is over
        await operations.watch(lambda: operations.happened(e.CanaryFailed), limit_s=MINUTES_S)
        # then it was ended by the silence of its host, and no user is sent there
        assert operations.last("INF-1", e.CanaryFailed).reason.startswith("no_data")
        assert operations.world.router.shares == OFF
        assert [failure.disproved for failure in stopped(operations)] == [False]

    run(story())


def failing(metrics: MemoryMetrics) -> None:
    metrics.failing = True


def test_a_verification_that_nobody_answers_is_taken_back() -> None:
    async def story() -> None:
        # given measurements that stop for good when a change is to be verified
        operations = await incident(days_work(2, of=4))
        world, sick = operations.world, operations.world.repository.main()
        await operations.watch(lambda: operations.reached(State.VERIFYING))
        failing(world.metrics)
        # when its time is over
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet), limit_s=MINUTES_S)
        # then nothing was measured, nothing is met, and it is taken back
        failed = operations.last("INF-1", e.CriteriaNotMet)
        assert failed.reason.startswith("no_data") and not failed.kept
        assert [one.met for one in failed.criteria] == [None] * len(failed.criteria) != []
        assert world.repository.tree(world.repository.main()) == world.repository.tree(sick)

    run(story())


def test_a_canary_that_nobody_can_measure_from_its_start_ends_with_the_lock_given_back() -> None:
    async def story() -> None:
        # given a change that passed its tests, and measurements that stop right then
        operations = await incident(days_work(2, of=4))

        def look() -> None:
            if operations.reached(State.CANARYING):
                failing(operations.world.metrics)

        operations.ledger.after = look
        # when its time is over
        await operations.watch(lambda: bool(stopped(operations)), limit_s=MINUTES_S)
        # then it ended with that as its reason
        assert [failure.disproved for failure in stopped(operations)] == [False]
        assert operations.last("INF-1", e.CanaryFailed).reason.startswith("no_data")
        assert operations.ticket("INF-1").life.token is None and operations.world.router.shares == OFF

    run(story())


@pytest.mark.parametrize("stage", [State.TESTING, State.CANARYING])
def test_an_operation_that_nobody_can_measure_ends_and_leaves_nothing_behind(stage: State) -> None:
    async def story() -> None:
        # given a machine that died, and measurements that stop when another is to be brought
        operations = await incident([])
        world = operations.world
        world.kill("n2")

        def look() -> None:
            if operations.reached(stage):
                failing(world.metrics)

        operations.ledger.after = look
        # when the time of the stage is over
        await operations.watch(lambda: bool(stopped(operations)), limit_s=MINUTES_S)
        # then it ended with that as its reason, and no machine is there that nobody watched
        assert [failure.disproved for failure in stopped(operations)] == [False]
        assert world.nodes.names() == ("n1", "n3")

    run(story())
