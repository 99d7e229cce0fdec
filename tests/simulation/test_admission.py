"""What admission freezes: the baseline of every criterion, with its query, window and samples. In virtual time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from harness.core import events as e
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.world import World
from tests.simulation.operations import MANIFEST, RULES, Operations, days_work, incident

COUNTED = {name for name, metric in MANIFEST.metrics.items() if metric.kind in ("ratio", "probe")}


def frozen(operations: Operations, ticket_id: str = "INF-1") -> dict[str, e.Measurement]:
    criteria = operations.last(ticket_id, e.TicketAdmitted).criteria
    assert all(one.baseline is not None for one in criteria)
    return {one.metric: one.baseline for one in criteria if one.baseline is not None}


def test_baselines_of_a_signal_are_of_before_its_cause_can_have_begun_with_query_window_and_samples() -> None:
    async def story() -> None:
        operations = await incident(days_work(5))
        await operations.watch(lambda: operations.happened(e.TicketAdmitted))
        policy, began_at = RULES.profile.admission, operations.ticket("INF-1").filed.signal_began_at
        assert began_at is not None
        baselines = frozen(operations)
        assert set(baselines) == {metric for slo in RULES.slos for metric in slo.metrics} | {
            one.metric for one in RULES.invariants
        }  # fmt: skip
        for name, one in baselines.items():
            assert one.window_to == began_at - timedelta(seconds=policy.gap_s)
            assert (one.window_to - one.window_from).total_seconds() == policy.baseline_s
            assert one.query and one.value is not None
            assert (one.samples is not None and one.samples > 1000) == (name in COUNTED)
        # and they stay as they are, whatever the service does since
        await operations.settle()
        assert operations.reached(State.RESOLVED) and frozen(operations) == baselines

    run(story())


@pytest.mark.parametrize("metric", ["cold_start_p99", "check_cost"])
def test_the_baseline_of_a_probe_names_the_probe_the_commit_and_the_runs(metric: str) -> None:
    async def story() -> None:
        operations = await incident([])
        operations.file(acceptance_criteria=[{"metric": metric, "condition": "no regression"}])
        await operations.watch(lambda: operations.happened(e.TicketAdmitted))
        one = frozen(operations)[metric]
        probe = str(MANIFEST.metrics[metric].probe)
        assert probe in one.query and operations.world.repository.main()[:12] in one.query
        assert one.samples and one.value is not None

    run(story())


def test_a_baseline_without_data_says_what_was_asked_for_and_over_which_window() -> None:
    async def story() -> None:
        # given a ticket that is filed as soon as the service is there
        operations = Operations.on(World(MANIFEST))
        operations.world.release()
        await operations.world.clock.sleep(3)
        operations.file(acceptance_criteria=[{"metric": "error_share", "condition": "< 1%"}])
        await operations.watch(lambda: operations.happened(e.TicketAdmitted))
        one = frozen(operations)["error_share"]
        assert one.value is None and "traffic_errors_total" in one.query and one.window_to > one.window_from

    run(story())
