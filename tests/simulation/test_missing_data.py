"""What is not measured for long gets a ticket, which ends when data are back: in virtual time, by the real watch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.core import events as e
from harness.core.ids import cause_stream, fingerprint, signal_stream
from harness.core.lifecycle import ENDS, State
from harness.simulation.clock import run
from harness.simulation.metrics import MemoryMetrics
from harness.simulation.service import Change
from tests.simulation.operations import RULES, SLOW, Operations, healthy, incident

AFTER_S = RULES.profile.no_data.after_s
CAUSES = [fingerprint("no_data", "ratelimiter", slo.name) for slo in RULES.slos]


def blind(metrics: MemoryMetrics) -> None:
    """Nothing is scraped any more."""
    metrics.blind = True


def failing(metrics: MemoryMetrics) -> None:
    """Nobody answers."""
    metrics.failing = True


def well(metrics: MemoryMetrics) -> None:
    metrics.blind = metrics.failing = False


def without_data(operations: Operations) -> list[str]:
    """The tickets that were filed because something was not measured."""
    return [one for one in operations.tickets() if operations.ticket(one).filed.source == "no_data"]


async def everything_ends(operations: Operations) -> None:
    await operations.watch(lambda: all(operations.ticket(one).state in ENDS for one in operations.tickets()))


@pytest.mark.parametrize("trouble", [blind, failing])
def test_what_is_not_measured_for_long_gets_one_ticket_a_cause_that_ends_by_itself_when_data_are_back(
    trouble: Callable[[MemoryMetrics], None],
) -> None:
    async def story() -> None:
        # given a service that is well
        operations = await incident([])
        # when nothing is known of it for longer than policy allows
        trouble(operations.world.metrics)
        await healthy(operations, AFTER_S - 5)
        assert operations.tickets() == []
        await healthy(operations, 2 * AFTER_S)
        # then each objective has one ticket, that asks for data and nothing else
        filed = without_data(operations)
        assert len(filed) == len(RULES.slos) == len(operations.tickets())
        asked = {operations.ticket(one).filed.signal: operations.journal(one).spec() for one in filed}
        assert asked.keys() == {f"no_data:{slo.name}" for slo in RULES.slos}
        assert {one.metric for spec in asked.values() for one in spec.acceptance_criteria} == {
            metric for slo in RULES.slos for metric in slo.metrics
        }
        assert {one.condition for spec in asked.values() for one in spec.acceptance_criteria} == {">= 0%"}
        # and when data are back, it is verified that they are, and the tickets end without a person
        well(operations.world.metrics)
        await everything_ends(operations)
        assert all(operations.ticket(one).state is State.RESOLVED for one in filed)
        assert [len(operations.events(cause_stream(cause))) for cause in CAUSES] == [2] * len(CAUSES)
        assert all(isinstance(operations.events(signal_stream(cause))[-1], e.SignalEnded) for cause in CAUSES)
        # and the next time is a recurrence
        trouble(operations.world.metrics)
        await healthy(operations, AFTER_S + 5)
        again = without_data(operations)[len(filed) :]
        assert {operations.ticket(one).filed.recurrence_of for one in again} == set(filed)

    run(story())


def test_data_that_are_away_for_a_moment_get_no_ticket() -> None:
    async def story() -> None:
        operations = await incident([])
        for _ in range(3):
            blind(operations.world.metrics)
            await healthy(operations, AFTER_S - 5)
            well(operations.world.metrics)
            await healthy(operations, 10)
        assert operations.tickets() == []

    run(story())


def test_a_counter_that_begins_anew_hides_no_fault() -> None:
    async def story() -> None:
        # given users whose process begins anew, and a slow release at the same moment
        operations = await incident([])
        began_at = operations.world.clock.now()
        operations.world.restart_traffic()
        operations.world.release([Change("slow", SLOW)])
        # when the watch looks on
        await operations.watch(lambda: bool(operations.tickets()))
        # then it is found as soon as without: a quarter of the long window has to be slow
        waited_s = (operations.world.clock.now() - began_at).total_seconds()
        assert operations.ticket("INF-1").filed.signal == "slo:latency" and waited_s < 6
        # and later restarts are no trouble
        await operations.settle()
        operations.world.restart_traffic()
        await healthy(operations, 30)
        assert operations.tickets() == ["INF-1"]

    run(story())
