"""An objective that counts for itself: its ticket is judged by it, from the burn to the repair. On a modelled world."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.adapters.declarations import load_windows
from harness.bootstrap import CHECKOUT, Rules
from harness.cli.ticket import ticket_document
from harness.core import events as e
from harness.core.lifecycle import State
from harness.core.slo import parse_slos
from harness.simulation.clock import run
from harness.simulation.service import Change
from tests.simulation.operations import RULES, days_work, incident

OWN = "error_ratio(own)"
INDICATORS: list[dict[str, Any]] = [
    {"ratio": {"bad": "traffic_slow_total", "total": "traffic_requests_total"}},
    {"error_ratio": "sum(rate(traffic_slow_total[{{.window}}])) / sum(rate(traffic_requests_total[{{.window}}]))"},
]


def rules(indicator: dict[str, Any]) -> Rules:
    """As they are, with an objective of its own counters for that on slow requests; what repairs those repairs it."""
    document = {
        "name": "own", "target": "90%", "window": "demo", "burn_rate_alert": "2.5x", "indicator": indicator,
        "on_burn": {"type": "incident", "priority": "P1"},
    }  # fmt: skip
    slos = parse_slos({"slos": [document]}, "slos/own.yaml", load_windows(CHECKOUT / "slos/windows"))
    others = tuple(slo for slo in RULES.slos if slo.name != "latency")
    books = [book for book in RULES.runbooks if book.runbook == "slow-requests"]
    matching = tuple(
        book.model_copy(update={"matches": book.matches.model_copy(update={"metric": (OWN,)})}) for book in books
    )
    return replace(RULES, slos=(*others, *slos), runbooks=matching)


@pytest.mark.parametrize("indicator", INDICATORS)
def test_its_ticket_is_judged_by_it_with_a_frozen_baseline_and_the_canary_by_guards_alone(
    indicator: dict[str, Any],
) -> None:
    async def story() -> None:
        # given a release that burns it
        operations = await incident(days_work(3), rules=rules(indicator))
        await operations.settle()
        assert operations.reached(State.RESOLVED)
        # then it is the first criterion, and its baseline was frozen with query, window and samples
        first = operations.last("INF-1", e.TicketAdmitted).criteria[0]
        assert (first.metric, first.condition, first.duration) == (OWN, "< 10%", "10s sustained")
        baseline = first.baseline
        assert baseline.query == "Δ(traffic_slow_total) / Δ(traffic_requests_total)"
        assert baseline.value < 0.1 and baseline.samples > 1000 and baseline.window_from < baseline.window_to
        # and nothing had to win in the canary: arms cannot be told apart in it, and the guards were looked at
        passed = operations.last("INF-1", e.CanaryPassed)
        assert {one.role for one in passed.verdicts} <= {"guard", "limit"}
        assert OWN not in {one.metric for one in passed.verdicts}
        # and the live traffic after the delivery met it
        judged = operations.last("INF-1", e.CriteriaMet).criteria[0]
        assert judged.metric == OWN and judged.met and judged.measured.value < 0.1 < 1000 < judged.measured.samples
        # and so it is shown
        shown = ticket_document(operations.harness.record, "INF-1")["acceptance_criteria"][0]
        assert shown["metric"] == OWN and shown["met"] and shown["baseline"] == baseline.value
        assert shown["value"] == judged.measured.value

    run(story())


def test_a_change_that_repairs_nothing_does_not_meet_it_and_is_taken_back() -> None:
    async def story() -> None:
        # given a slow release for which nobody has a runbook, and a person's commit that does nothing
        operations = await incident(days_work(3), rules=replace(rules(INDICATORS[0]), runbooks=()))
        await operations.settle()
        sick = operations.world.repository.main()
        hers = operations.world.repository.push(Change("hers"), "grace")
        operations.world.repository.move_main(hers, sick)
        # when it goes through the stages
        await operations.tell("take_over", commit=hers)
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet))
        # then the objective is not met
        failed = operations.last("INF-1", e.CriteriaNotMet)
        assert failed.criteria[0].metric == OWN and failed.criteria[0].met is False
        assert failed.reason.startswith(f"{OWN} < 10%: 0.9") and not failed.kept
        assert operations.world.repository.tree(operations.world.repository.main()) == (
            operations.world.repository.tree(sick)
        )

    run(story())
