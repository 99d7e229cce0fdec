"""Nothing is wrong, and what the metrics of the past say of what may come becomes an improvement: a limit that a trend
will reach, capacity that nobody needs. On a modelled world in virtual time, in which a week is eleven minutes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from harness.bootstrap import Rules
from harness.core import events as e
from harness.core.errors import Invalid, Retryable
from harness.core.ids import opportunities_stream
from harness.core.lifecycle import State
from harness.core.policy import Opportunities
from harness.simulation.clock import run
from harness.simulation.service import Behaviour
from harness.simulation.world import World
from harness.stages import file
from harness.stages.offer import Stage, ahead, note, offer
from tests.simulation.operations import MANIFEST, RULES, Operations, healthy
from tests.simulation.test_opportunities import setting
from tests.simulation.test_opportunities import stage as of_tunables

LOOK_BACK_S = 672.0
POLICY = {
    "per_week": 2, "priority": "P3", "again_after": "30d", "session": "10m",
    "ahead": {"look_back": "672s", "breach_within": "1h", "unspent": "75%"},
}  # fmt: skip
ENDED = (State.RESOLVED, State.CANCELLED, State.ESCALATED)
STEPS = 28


def rules(**more: object) -> Rules:
    return replace(RULES, opportunities=Opportunities.parse({**POLICY, **more}, "opportunities.yaml"))


async def week(*, seed: int = 1, slow_to: float = 0.0, nodes: int = 3, **policy: object) -> Operations:
    """A service as long as policy looks back, of which requests become slower up to this share, by and by."""
    operations = Operations.on(World(MANIFEST, seed=seed), rules=rules(**policy))
    for number in range(3, nodes):
        operations.world.provider.start(f"more/{number}")
    operations.world.release([setting(1000)])
    for step in range(STEPS):
        operations.world.disturb(Behaviour(wait_ms=85.0, wait_share=slow_to * (step + 0.5) / STEPS))
        await operations.world.clock.sleep(LOOK_BACK_S / STEPS)
    await healthy(operations, 6)
    assert operations.tickets() == []
    return operations


def stage_of(operations: Operations) -> Stage:
    return replace(of_tunables(operations), policy=operations.harness.rules.opportunities)


async def offered(operations: Operations, desk: Stage, name: str | None = None) -> str | None:
    found = await offer(desk, name)
    if found is None:
        return None
    rules = operations.harness.rules
    return file.file(
        found.signal, slos=rules.slos, invariants=rules.invariants, sustained_s=rules.profile.verify.window_s,
        policy=rules.profile.causes, ledger=operations.ledger, blobs=operations.blobs, clock=operations.world.clock,
        beside=partial(note, desk, found),
    )  # fmt: skip


def test_a_trend_that_will_break_an_objective_becomes_an_improvement_before_it_does() -> None:
    async def story() -> None:
        # given a service that went from no slow requests to 6 %, where 10 % are the objective
        operations = await week(slow_to=0.06)
        desk = stage_of(operations)
        (seen,) = await ahead(desk)
        assert (seen.outlook.name, seen.state) == ("trend:slow_share", "open")
        assert "the objective latency, 10%, is reached in about" in seen.outlook.reason
        # when it is offered, it goes before the tunable that nobody tried
        assert await offered(operations, desk) == "INF-1"
        ticket = operations.ticket("INF-1")
        assert (ticket.filed.type, ticket.filed.priority, ticket.filed.source) == ("improvement", "P3", "opportunity")
        (noted,) = operations.events(opportunities_stream("ratelimiter"))
        assert isinstance(noted, e.OpportunityOffered) and (noted.sort, noted.value) == ("trend", None)
        # then its goal is by how much it became worse, everything that is declared has to hold, and no runbook for
        # tunables is followed: a person is asked with what was measured
        await operations.watch(lambda: operations.reached(*ENDED))
        admitted = operations.ticket("INF-1").admitted
        assert admitted is not None
        goal, *others = admitted.criteria
        assert (goal.metric, goal.condition) == ("slow_share", "at least 50% better") and goal.baseline is not None
        assert {one.metric for one in others} == {"slow_share", "error_share", "wrong_denial_share", "available"}
        assert operations.ticket("INF-1").attempt.runbook is None and "slow_share" in operations.question()
        # and while its ticket lives it is not told again
        assert [one.state for one in await ahead(desk)] == ["under_way"]
        assert await offered(operations, desk, "trend:slow_share") is None

    run(story())


def test_what_a_person_was_told_and_let_be_is_not_told_again() -> None:
    async def story() -> None:
        operations = await week(slow_to=0.06)
        desk = stage_of(operations)
        await offered(operations, desk)
        await operations.watch(lambda: operations.reached(*ENDED))
        await operations.tell("cancel", text="traffic of a test, it ends today")
        assert [one.state for one in await ahead(desk)] == ["known"]
        assert await offered(operations, desk, "trend:slow_share") is None

    run(story())


@pytest.mark.parametrize("seed", range(1, 7))
def test_where_nothing_changes_there_is_no_trend_and_three_nodes_are_needed(seed: int) -> None:
    async def story() -> None:
        operations = await week(seed=seed)
        assert await ahead(stage_of(operations)) == []

    run(story())


def test_capacity_that_nobody_needed_all_the_time_becomes_an_improvement() -> None:
    async def story() -> None:
        # given six nodes where the demand needs three
        operations = await week(nodes=6)
        desk = stage_of(operations)
        (seen,) = await ahead(desk)
        assert seen.outlook.name == "margin:available" and "72.2% in the middle" in seen.outlook.reason
        assert seen.outlook.condition == "< 69%"
        assert await offered(operations, desk) == "INF-1"
        # then the ticket says what would be so with one fewer, and what has to hold all the same
        await operations.watch(lambda: operations.reached(*ENDED))
        admitted = operations.ticket("INF-1").admitted
        assert admitted is not None
        assert [(one.metric, one.condition) for one in admitted.criteria if one.metric == "available"] == [
            ("available", "< 69%"), ("available", "> 20%"),
        ]  # fmt: skip

    run(story())


def test_capacity_is_not_spare_where_an_objective_needed_most_of_its_budget() -> None:
    async def story() -> None:
        operations = await week(nodes=6, slow_to=0.06)
        assert [one.outlook.sort for one in await ahead(stage_of(operations))] == ["trend"]

    run(story())


def test_without_metrics_what_lies_ahead_is_not_known_and_tunables_are_offered_all_the_same() -> None:
    async def story() -> None:
        operations = await week(slow_to=0.06)
        desk = stage_of(operations)
        operations.world.metrics.failing = True
        with pytest.raises(Retryable):
            await ahead(desk)
        with pytest.raises(Retryable):
            await offer(desk, "trend:slow_share")
        found = await offer(desk)
        assert found is not None and found.sort == "tunable"

    run(story())


def test_policy_says_whether_anybody_looks_ahead_at_all_and_over_which_span() -> None:
    async def story() -> None:
        operations = await week(slow_to=0.06, ahead=None)
        assert await ahead(stage_of(operations)) == []
        operations = await week(slow_to=0.06, ahead={"look_back": "672s", "breach_within": "1m", "unspent": "75%"})
        assert await ahead(stage_of(operations)) == []

    run(story())
    with pytest.raises(Invalid, match="look_back: is no whole multiple of 336s"):
        Opportunities.parse({**POLICY, "ahead": {"look_back": "1h", "breach_within": "1h", "unspent": "75%"}}, "o.yaml")
