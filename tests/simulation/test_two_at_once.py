"""Two faults at once: two tickets, one lock, each with the other's objective among its criteria. In virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from harness.cli.explain import explained
from harness.cli.live import Watching
from harness.cli.ticket import explanation
from harness.core import events as e
from harness.core.lifecycle import ENDS, State
from harness.core.ticket import Ticket
from harness.core.view import View
from harness.simulation.clock import run
from harness.simulation.effects import Effect
from harness.simulation.service import Behaviour, Change
from tests.simulation.operations import SLOW, Crash, Operations, days_work, healthy, incident
from tests.simulation.test_by_hand import a_commit
from tests.simulation.test_operations import allowing_nodes

ERRORS = Behaviour(error_share=0.3)


async def both_over(operations: Operations) -> dict[str | None, Ticket]:
    """Both tickets at an end or with a person, by the signal that they were filed for."""

    def over() -> bool:
        tickets = [operations.ticket(one) for one in operations.tickets()]
        return len(tickets) == 2 and all(ticket.state in ENDS | {State.ESCALATED} for ticket in tickets)

    await operations.watch(over, limit_s=400)
    return {ticket.filed.signal: ticket for ticket in map(operations.ticket, operations.tickets())}


async def a_slow_release_and_a_lost_node(seed: int, apart_s: float) -> Operations:
    """``apart_s`` below 0: the node goes first."""
    operations = await incident([], seed=seed)
    steps: list[Callable[[], object]] = [
        lambda: operations.world.release(days_work(seed * 3 % 10)),
        lambda: operations.world.kill(f"n{seed % 3 + 1}"),
    ]
    first, second = steps if apart_s >= 0 else reversed(steps)
    first()
    if apart_s:
        await healthy(operations, abs(apart_s))
    second()
    return operations


async def a_node_that_a_person_is_asked_about() -> Operations:
    """It is lost, and the catalog does not allow another one."""
    operations = await incident([], rules=allowing_nodes(2))
    operations.world.kill("n2")
    await operations.settle()
    assert operations.reached(State.ESCALATED)
    return operations


@pytest.mark.parametrize(("seed", "apart_s"), [(1, -4.0), (2, -1.0), (3, 0.0), (4, 2.0), (5, 5.0), (6, 12.0)])
def test_a_slow_release_while_a_node_is_lost_is_repaired_and_the_node_replaced(seed: int, apart_s: float) -> None:
    async def story() -> None:
        operations = await a_slow_release_and_a_lost_node(seed, apart_s)
        tickets = await both_over(operations)
        assert {signal: ticket.state for signal, ticket in tickets.items()} == {
            "slo:latency": State.RESOLVED, "invariant:capacity_headroom": State.RESOLVED,
        }  # fmt: skip
        # and at the end all is well: three nodes serve main, and the last of both left nothing to anybody
        world = operations.world
        assert len(world.nodes.names()) == 3 and operations.runs_everywhere(world.repository.main())
        assert world.repository.behaviour(world.repository.main()).slow_share == 0
        last = max(tickets.values(), key=lambda ticket: ticket.closed_at or ticket.filed_at)
        met = operations.last(last.id, e.CriteriaMet)
        assert all(one.met and one.left_to is None for one in met.criteria)
        assert operations.ledger.verify().ok

    run(story())


@pytest.mark.parametrize("restart_workflow", [False, True], ids=["activity-retried", "workflow-begun-anew"])
def test_a_process_that_dies_again_and_again_under_both_ends_both_and_does_nothing_twice(
    restart_workflow: bool,
) -> None:
    async def story() -> None:
        operations = await a_slow_release_and_a_lost_node(1, 0.0)
        operations.restart_workflow, points = restart_workflow, 0
        operations.world.effects.clear()

        def point(effect: Effect | None = None) -> None:
            nonlocal points
            points += 1
            if points % 13 == 0:
                raise Crash

        operations.world.after_effect = point
        operations.ledger.before = operations.ledger.after = point
        tickets = await both_over(operations)
        assert operations.restarts > 10
        assert {ticket.state for ticket in tickets.values()} == {State.RESOLVED}
        keys = Counter((effect.kind, effect.key) for effect in operations.world.effects)
        assert {key: times for key, times in keys.items() if times > 1} == {}
        assert operations.runs_everywhere(operations.world.repository.main()) and operations.ledger.verify().ok

    run(story())


def test_what_is_left_to_the_other_ticket_is_told_with_what_it_was_and_is() -> None:
    async def story() -> None:
        # given both at the same moment: the node is replaced while requests are still slow
        operations = await a_slow_release_and_a_lost_node(1, 0.0)
        tickets = await both_over(operations)
        capacity, latency = tickets["invariant:capacity_headroom"], tickets["slo:latency"]
        met = operations.last(capacity.id, e.CriteriaMet)
        slow = next(one for one in met.criteria if one.metric == "slow_share")
        # then that criterion is told as not met, and why it does not stand in the way
        assert slow.met is False and slow.left_to is not None
        assert (slow.left_to.ticket_id, slow.left_to.condition, slow.left_to.no_worse) == (latency.id, "< 10%", True)
        assert slow.left_to.before.value == pytest.approx(0.95, abs=0.03)
        told = "\n".join(explained(explanation(operations.harness.record, capacity)))
        assert f"slow_share < 10% is for {latency.id} to restore: 95" in told and "%: no worse" in told
        assert "right before it touches anything: slow_share" in told
        # and whoever watched the one to its end sees the other one then
        watching = Watching(operations.harness.record, View(ticket_id=capacity.id))
        for row in operations.ledger.read_all(limit=100_000):
            watching.see(row)
        assert watching.view.over and watching.view.title.startswith("Restore the invariant")
        assert latency.filed.signal_began_at is not None
        watching.turn_to(latency.id, latency.filed.signal_began_at)
        assert watching.view.over and watching.view.title.startswith("Bring the latency SLO")
        assert [one.stopped for one in watching.view.phases()] == [False] * 7

    run(story())


def test_while_capacity_is_anothers_to_restore_a_gate_asks_only_that_it_gets_no_less() -> None:
    async def story() -> None:
        # given a release that is repaired while the ticket of a lost node is with a person
        operations = await a_node_that_a_person_is_asked_about()
        operations.world.release(days_work(3))
        await operations.watch(lambda: operations.reached(State.RESOLVED, ticket_id="INF-2"))
        # then every gate of its deployment says so
        swaps = [event for event in operations.events("ticket-INF-2") if isinstance(event, e.NodeSwapped)]
        assert len(swaps) == 2
        for swapped in swaps:
            (left,) = swapped.left_to
            assert (left.ticket_id, left.metric, left.condition) == ("INF-1", "available", "> 20%") and left.no_worse

    run(story())


def test_capacity_that_gets_less_under_a_delivery_stops_it_whoever_is_at_work_on_it() -> None:
    async def story() -> None:
        operations = await a_node_that_a_person_is_asked_about()
        operations.world.release(days_work(3))
        # given that one more node is lost while the repair is delivered
        await operations.watch(lambda: operations.happened(e.CanaryPassed, "INF-2"))
        operations.world.lose("n3")
        await operations.watch(lambda: operations.happened(e.DeployFailed, "INF-2"))
        assert "worse than it was left to INF-1" in operations.last("INF-2", e.DeployFailed).reason

    run(story())


def test_errors_that_are_anothers_are_no_limit_of_a_canary_and_are_compared_all_the_same() -> None:
    async def story() -> None:
        # given a service that fails from outside, which a person is asked about, and then a slow release
        operations = await incident([])
        operations.world.disturb(ERRORS)
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        operations.world.release(days_work(3))
        operations.world.disturb(ERRORS.and_also(Behaviour()))
        change = a_commit(operations, Change("careful"))
        # when something is delivered
        criteria = [{"metric": "wrong_denial_share", "condition": "< 1%", "duration": "10s sustained"}]
        operations.file(change=change, acceptance_criteria=criteria)
        ticket_id = operations.tickets()[-1]
        await operations.watch(lambda: operations.reached(*ENDS, State.ESCALATED, ticket_id=ticket_id))
        # then its canary is compared in errors, and not stopped by a limit that nobody keeps
        assert operations.last(ticket_id, e.CanaryStarted).no_limit["error_share"] == "INF-1"
        roles = {(one.metric, one.role) for one in operations.last(ticket_id, e.CanaryPassed).verdicts}
        assert ("error_share", "guard") in roles and ("error_share", "limit") not in roles
        assert operations.reached(State.RESOLVED, ticket_id=ticket_id)

    run(story())


def test_harm_of_its_own_has_no_excuse_in_the_ticket_that_is_filed_because_of_it() -> None:
    async def story() -> None:
        # given a repair whose harm comes only when it serves everywhere, so that a ticket is filed for that
        operations = await incident(days_work(3))
        await operations.watch(lambda: operations.happened(e.ReleaseDeployed))
        operations.world.disturb(ERRORS)
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet))
        assert operations.ticket("INF-2").filed.signal == "slo:availability"
        assert operations.ticket("INF-2").state not in ENDS
        # then what held before it touched anything is asked for in full, and the change is taken back
        judged = {one.metric: one for one in operations.last("INF-1", e.CriteriaNotMet).criteria}
        assert judged["error_share"].met is False and judged["error_share"].left_to is None
        assert operations.happened(e.RolledBack)

    run(story())


def test_more_harm_on_top_of_anothers_is_harm() -> None:
    async def story() -> None:
        # given a node that is replaced while some requests are slow for another ticket
        operations = await incident([])
        operations.world.disturb(Behaviour(wait_ms=85.0, wait_share=0.3))
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        operations.world.kill("n2")
        await operations.watch(lambda: operations.happened(e.ReleaseDeployed, "INF-2"))
        # when many more are slow since it is there
        operations.world.disturb(SLOW)
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet, "INF-2"))
        # then it is taken back, and the reason names both values
        reason = operations.last("INF-2", e.CriteriaNotMet).reason
        assert "which is worse than 0.3" in reason and "left to INF-1" in reason
        assert operations.happened(e.RolledBack, "INF-2")

    run(story())


def test_an_objective_is_asked_for_in_full_again_once_its_ticket_has_ended() -> None:
    async def story() -> None:
        # given slow requests whose ticket a person cancels while a node is replaced
        operations = await incident([])
        operations.world.disturb(Behaviour(wait_ms=85.0, wait_share=0.3))
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        operations.world.kill("n2")
        await operations.watch(lambda: operations.happened(e.ReleaseDeployed, "INF-2"))
        await operations.tell("cancel")
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet, "INF-2"))
        judged = {one.metric: one for one in operations.last("INF-2", e.CriteriaNotMet).criteria}
        assert judged["slow_share"].left_to is None or judged["slow_share"].left_to.ticket_id != "INF-1"

    run(story())
