"""What cannot be measured is never well: neither at the watch nor at any gate. On a modelled world in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.core import events as e
from harness.core.ids import fingerprint, signal_stream
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.effects import Effect
from harness.simulation.metrics import STALE_S, MemoryMetrics
from harness.simulation.world import World
from tests.simulation.operations import Operations, days_work, healthy, incident

LATENCY = fingerprint("slo", "ratelimiter", "latency")
OFF = {"canary": 0.0, "baseline": 0.0}


def seen(operations: Operations, name: str) -> dict[str, int]:
    """State → ticks, of an objective or invariant, since the last heartbeat."""
    assert operations.memory is not None
    return operations.memory.states[name]


def blind(metrics: MemoryMetrics) -> None:
    metrics.blind = True


def failing(metrics: MemoryMetrics) -> None:
    metrics.failing = True


@pytest.mark.parametrize(("trouble", "word"), [(blind, "no_data"), (failing, "query_failed")])
def test_a_watch_that_sees_nothing_says_so_and_files_nothing(
    trouble: Callable[[MemoryMetrics], None], word: str
) -> None:
    async def story() -> None:
        # given a watch that sees nothing any more
        operations = await incident([], healthy_s=20)
        trouble(operations.world.metrics)
        await operations.world.clock.sleep(STALE_S)
        well = {name: seen(operations, name)["ok"] for name in ("latency", "availability", "capacity_headroom")}
        # when a slow release comes
        operations.world.release(days_work(1))
        await healthy(operations, 20)
        # then not one tick is told as well, and none as burning
        for name, ticks in well.items():
            assert seen(operations, name)["ok"] == ticks and seen(operations, name)[word] >= 20
        assert operations.tickets() == []

    run(story())


def test_a_signal_does_not_end_because_nobody_sees_it() -> None:
    async def story() -> None:
        operations = await incident(days_work(1))
        await operations.watch(lambda: operations.reached(State.WORKING))
        operations.world.metrics.blind = True
        await healthy(operations, 20)
        assert isinstance(operations.events(signal_stream(LATENCY))[-1], e.SignalStarted)

    run(story())


def at(world: World, key: str, happens: Callable[[], None]) -> None:
    """Let something happen right after an effect."""

    def look(effect: Effect) -> None:
        if effect.key == key:
            happens()

    world.after_effect = look


def test_a_canary_that_is_not_measured_is_not_promoted() -> None:
    async def story() -> None:
        # given a repair that is right, and arms that nobody can see
        operations = await incident(days_work(1))
        world, sick = operations.world, operations.world.repository.main()
        at(world, "INF-1/1/canary-1", lambda: blind(world.metrics))
        # when the time of the canary is over
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        # then it was too little to tell, and nothing but stable serves
        assert "insufficient" in operations.last("INF-1", e.CanaryFailed).reason
        assert world.router.shares == OFF and operations.runs_everywhere(sick)

    run(story())


@pytest.mark.parametrize("trouble", [blind, failing])
def test_a_canary_that_nobody_can_see_is_given_no_more_traffic_and_soon_none(
    trouble: Callable[[MemoryMetrics], None],
) -> None:
    async def story() -> None:
        # given a repair that is right, and measurements that stop when its first step begins
        operations = await incident(days_work(1))
        world, policy = operations.world, operations.harness.rules.profile.canary
        largest = 0.0

        def after_effect(effect: Effect) -> None:
            nonlocal largest
            largest = max(largest, world.router.shares["canary"])
            if effect.key == "INF-1/1/canary-1":
                trouble(world.metrics)

        world.after_effect = after_effect
        await operations.watch(lambda: operations.happened(e.CanaryStepped))
        # when the step, and what may be added to it, is over
        await healthy(operations, policy.steps[0].hold_s + policy.extension_s + 2)
        # then the canary never got more than the first step's share, and by now has none
        assert largest == policy.steps[0].share and world.router.shares == OFF
        # and it says so, once nobody has told for a while how the service is after it
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        assert "insufficient" in operations.last("INF-1", e.CanaryFailed).reason

    run(story())


def test_a_canary_that_cannot_be_judged_has_no_traffic_while_a_person_is_waited_for() -> None:
    async def story() -> None:
        # given counters that turn into nonsense while a canary has traffic
        operations = await incident(days_work(1))
        world = operations.world

        def nonsense(effect: Effect) -> None:
            if effect.key == "INF-1/1/canary-1":
                world.metrics.nonsense = "canary"

        world.after_effect = nonsense
        # when that is found
        await operations.settle()
        # then a person is asked, and until the answer every request goes to stable
        assert operations.reached(State.ESCALATED) and "no whole number" in operations.question()
        assert world.router.shares == OFF

    run(story())


def test_a_gate_that_is_not_measured_fails() -> None:
    async def story() -> None:
        operations = await incident(days_work(1))
        world, sick = operations.world, operations.world.repository.main()
        at(world, "n2 INF-1/1/deploy/n2", lambda: blind(world.metrics))
        await operations.watch(lambda: operations.happened(e.DeployFailed))
        assert "capacity_headroom: available was not measured" in operations.last("INF-1", e.DeployFailed).reason
        assert world.repository.tree(world.repository.main()) == world.repository.tree(sick)

    run(story())


def test_criteria_that_are_not_measured_are_not_met() -> None:
    async def story() -> None:
        # given a delivery that is blind from its last gate on
        operations = await incident(days_work(1))
        world, sick = operations.world, operations.world.repository.main()
        await operations.watch(lambda: operations.reached(State.VERIFYING))
        blind(world.metrics)
        # when it is verified
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet))
        # then it is not met, and taken back
        failed = operations.last("INF-1", e.CriteriaNotMet)
        assert "insufficient" in failed.reason and not any(one.met for one in failed.criteria)
        assert world.repository.tree(world.repository.main()) == world.repository.tree(sick)

    run(story())


def test_metrics_that_are_away_for_a_while_only_delay() -> None:
    async def story() -> None:
        operations = await incident(days_work(1))
        world = operations.world
        at(world, "INF-1/1/canary-1", lambda: failing(world.metrics))
        await operations.watch(lambda: operations.happened(e.CanaryStepped))
        await healthy(operations, 4)
        world.metrics.failing = False
        await operations.settle()
        assert operations.reached(State.RESOLVED) and len(operations.ticket("INF-1").attempts) == 1

    run(story())
