"""What users were promised holds whatever a ticket is about, and what helped is not taken back. In virtual time."""

from __future__ import annotations

import pytest

from harness.cli import deployment
from harness.core import events as e
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.service import Behaviour
from tests.simulation.operations import Operations, days_work, incident
from tests.simulation.test_stops import a_change_that_needs_the_bad_one

LIMITLESS = Behaviour(over_admission_share=0.05)
"""Of a release that admits everything."""
OFF = {"canary": 0.0, "baseline": 0.0}


def canaries(operations: Operations) -> list[e.CanaryFailed]:
    return [one for one in operations.events("ticket-INF-1") if isinstance(one, e.CanaryFailed)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_repair_that_admits_everything_is_stopped_by_its_canary(seed: int) -> None:
    async def story() -> None:
        # given a slow commit, whose repair makes every check fast and admits all of them
        operations = await incident(a_change_that_needs_the_bad_one(LIMITLESS), seed=seed)
        # when it was tried
        await operations.watch(lambda: bool(canaries(operations)))
        # then it wins on what the ticket is about, and is stopped for what users were promised
        (failed,) = canaries(operations)
        assert failed.reason == "harm: over_admission_share"
        roles = {one.metric: (one.role, one.verdict) for one in failed.verdicts if one.role != "limit"}
        assert roles["over_admission_share"] == ("guard", "HIGH") and roles["slow_share"] == ("superiority", "LOW")
        assert operations.world.router.shares == OFF

    run(story())


def test_what_is_admitted_beyond_the_promise_after_a_change_takes_it_back() -> None:
    async def story() -> None:
        # given a repair that passed its canary, after which far too much is admitted
        operations = await incident(days_work(2, of=4))
        sick = operations.world.repository.main()
        await operations.watch(lambda: operations.reached(State.VERIFYING))
        operations.world.disturb(LIMITLESS)
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet))
        # then its criteria hold and it is taken back all the same
        failed = operations.last("INF-1", e.CriteriaNotMet)
        assert all(one.met for one in failed.criteria) and not failed.kept
        assert [(one.metric, one.condition, one.met) for one in failed.promises] == [
            ("over_admission_share", "<= 0.5%", False)
        ]
        tree = operations.world.repository.tree
        assert tree(operations.world.repository.main()) == tree(sick)
        (row,) = deployment.listed(operations.harness.record)
        assert row["outcome"] == "taken back"

    run(story())


def test_what_was_admitted_beyond_the_promise_before_a_change_is_not_held_against_it() -> None:
    async def story() -> None:
        # given a service that admits too much for a reason of its own, and a repair of something else
        operations = await incident(days_work(2, of=4))
        operations.world.disturb(LIMITLESS)
        await operations.settle()
        # then the repair stays
        assert operations.reached(State.RESOLVED) and len(operations.ticket("INF-1").attempts) == 1
        (promise,) = operations.last("INF-1", e.CriteriaMet).promises
        assert (promise.met, promise.condition) == (True, "no regression")

    run(story())


def test_a_repair_that_is_not_enough_but_better_is_kept() -> None:
    async def story() -> None:
        # given a repair of 95 % slow requests after which 20 % are slow, where less than 10 % is wanted
        operations = await incident(days_work(2, of=4))
        repaired = operations.world.repository
        await operations.watch(lambda: operations.reached(State.VERIFYING))
        main = repaired.main()
        operations.world.disturb(Behaviour(wait_ms=85.0, wait_share=0.2))
        # when it is verified
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet))
        # then it stays, does not count as disproved, and the ticket works on from there with the lock given back
        failed = operations.last("INF-1", e.CriteriaNotMet)
        assert failed.kept and not failed.criteria[0].met and "slow_share < 10%" in failed.reason
        assert operations.runs_everywhere(main) and not operations.happened(e.RolledBack)
        assert deployment.listed(operations.harness.record)[0]["outcome"] == "kept"
        await operations.watch(lambda: operations.ticket("INF-1").life.token is None)
        first = operations.ticket("INF-1").attempts[0]
        assert first.failure is not None and not first.failure.disproved

    run(story())


def test_a_repair_after_which_something_else_is_worse_is_not_kept() -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.reached(State.VERIFYING))
        main = operations.world.repository.main()
        operations.world.disturb(Behaviour(wait_ms=85.0, wait_share=0.2, wrong_denial_share=0.05))
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet))
        assert not operations.last("INF-1", e.CriteriaNotMet).kept
        assert operations.happened(e.RolledBack) and not operations.runs_everywhere(main)

    run(story())
