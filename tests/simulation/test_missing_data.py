"""What is not measured for long gets a ticket, which ends when data are back: in virtual time, by the real watch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.adapters.declarations import load_windows
from harness.bootstrap import CHECKOUT, Rules
from harness.cause import signals
from harness.core import events as e
from harness.core.ids import cause_stream, fingerprint, signal_stream
from harness.core.lifecycle import ENDS, State
from harness.core.slo import parse_slos
from harness.simulation.clock import run
from harness.simulation.metrics import MemoryMetrics
from harness.simulation.service import Change
from tests.simulation.operations import RULES, SLOW, Operations, healthy, incident

AFTER_S = RULES.profile.no_data.after_s
CAUSES = [fingerprint("no_data", "ratelimiter", slo.name) for slo in RULES.slos]


ELSEWHERE = fingerprint("no_data", "ratelimiter", "elsewhere")


def rules_of_two_sources() -> Rules:
    """As they are, with an objective on latency and one that counts a series which another may lack."""
    elsewhere = {
        "name": "elsewhere", "target": "90%", "window": "demo", "burn_rate_alert": "2.5x",
        "indicator": {"ratio": {"bad": 'traffic_slow_total{arm=~"none"}', "total": "traffic_requests_total"}},
    }  # fmt: skip
    slos = parse_slos({"slos": [elsewhere]}, "slos/elsewhere.yaml", load_windows(CHECKOUT / "slos/windows"))
    return replace(RULES, slos=(*(slo for slo in RULES.slos if slo.name == "latency"), *slos))


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
def test_what_is_not_measured_for_long_gets_one_ticket_that_ends_by_itself_when_data_are_back(
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
        # then all objectives have one ticket, that asks for the data of each and nothing else, and says why it is one
        filed = without_data(operations)
        assert filed == operations.tickets() == ["INF-1"]
        asked = operations.journal("INF-1").spec().acceptance_criteria
        assert {one.metric for one in asked} == {metric for slo in RULES.slos for metric in slo.metrics}
        assert {one.condition for one in asked} == {">= 0%"}
        assert signals(operations.ledger, operations.ticket("INF-1")) == {f"no_data:{slo.name}" for slo in RULES.slos}
        (grouped,) = operations.events(cause_stream(CAUSES[1]))
        assert isinstance(grouped, e.SignalGrouped) and "it began 0s after no_data:latency" in grouped.why
        # and when data are back, it is verified that they are, and the tickets end without a person
        well(operations.world.metrics)
        await everything_ends(operations)
        assert all(operations.ticket(one).state is State.RESOLVED for one in filed)
        assert [len(operations.events(cause_stream(cause))) for cause in CAUSES] == [3, 1]
        assert all(isinstance(operations.events(signal_stream(cause))[-1], e.SignalEnded) for cause in CAUSES)
        # and the next time is a recurrence
        trouble(operations.world.metrics)
        await healthy(operations, AFTER_S + 5)
        again = without_data(operations)[len(filed) :]
        assert [operations.ticket(one).filed.recurrence_of for one in again] == filed

    run(story())


def test_a_ticket_for_several_objectives_goes_on_until_the_last_of_them_is_measured_again() -> None:
    async def story() -> None:
        # given one series that is absent, and before anybody was told, nobody who answers
        operations = await incident([], rules=rules_of_two_sources())
        operations.world.metrics.absent = "none"
        await healthy(operations, 5)
        failing(operations.world.metrics)
        await healthy(operations, AFTER_S + 10)
        assert operations.tickets() == ["INF-1"]
        assert signals(operations.ledger, operations.ticket("INF-1")) == {"no_data:latency", "no_data:elsewhere"}
        # when answers are back, but not that series
        well(operations.world.metrics)
        await healthy(operations, 2 * AFTER_S)
        # then what is measured again is told as over, and the ticket waits for the rest, without a further attempt
        ended = [isinstance(operations.events(signal_stream(one))[-1], e.SignalEnded) for one in (CAUSES[0], ELSEWHERE)]
        assert ended == [True, False]
        assert operations.reached(State.ESCALATED) and len(operations.ticket("INF-1").attempts) == 1
        # and a person who answers too soon does not end it either
        await operations.tell("answer", text="it should be there")
        await operations.carry_to_a_person()
        assert operations.reached(State.ESCALATED) and "error_ratio(elsewhere) could not be measured" in (
            operations.question()
        )
        # when that series is back as well, then it ends, and nobody else was told of anything
        operations.world.metrics.absent = None
        await everything_ends(operations)
        assert operations.tickets() == ["INF-1"] and operations.reached(State.RESOLVED)

    run(story())


def test_what_goes_away_much_later_has_a_ticket_of_its_own() -> None:
    async def story() -> None:
        operations = await incident([], rules=rules_of_two_sources())
        operations.world.metrics.absent = "none"
        await healthy(operations, RULES.profile.causes.together_s + 10)
        blind(operations.world.metrics)
        await healthy(operations, AFTER_S + 5)
        assert {operations.ticket(one).filed.signal for one in operations.tickets()} == {
            "no_data:elsewhere", "no_data:latency"
        }  # fmt: skip
        for one in operations.tickets():
            assert len(operations.journal(one).spec().acceptance_criteria) == 1

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
