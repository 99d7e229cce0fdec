"""What a ticket's deliveries may spend of error budgets: enforced wherever one can be stopped. In virtual time."""

from __future__ import annotations

import asyncio

import pytest

from harness.core import events as e
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.service import Behaviour, Change
from tests.simulation.operations import Crash, Operations, days_work, healthy, incident
from tests.simulation.test_by_hand import a_commit, quiet
from tests.simulation.test_stage_gates import right_after

HARM = Behaviour(wait_ms=85.0, wait_share=0.03)
"""A third of what the objective allows: no limit of a canary says anything about it, nor does its judge."""
OFF = {"canary": 0.0, "baseline": 0.0}


async def filed(*constraints: str, behaviour: Behaviour = HARM) -> Operations:
    """A healthy service, and a person's commit that is to be delivered under these constraints."""
    operations = await quiet()
    commit = a_commit(operations, Change("change-1", behaviour))
    operations.file(change=commit, constraints=list(constraints))
    return operations


def told(operations: Operations) -> list[e.BudgetSpendJudged]:
    return [one for one in operations.events("ticket-INF-1") if isinstance(one, e.BudgetSpendJudged)]


def is_as_it_was(operations: Operations, main: str) -> bool:
    """Nothing of the change is served."""
    world = operations.world
    tree = world.repository.tree
    served = {tree(commit) for commit in world.nodes.serving("stable")}
    return world.router.shares == OFF and served == {tree(main)} == {tree(world.repository.main())}


@pytest.mark.parametrize(
    ("constraints", "ends"),
    [
        ([], e.CriteriaMet),
        (["max error budget spend 30%"], e.CriteriaMet),
        (["max error budget spend 9%"], e.CriteriaNotMet),
        (["max error budget spend 4%"], e.DeployFailed),
        (["max error budget spend 9%", "max error budget spend 0.5%"], e.CanaryFailed),
    ],
)
def test_a_change_that_harms_a_little_is_stopped_where_it_has_spent_what_its_ticket_may(
    constraints: list[str], ends: type[e.Event]
) -> None:
    async def story() -> None:
        # given a harm that no judge sees, and what the ticket may spend
        operations = await filed(*constraints)
        main = operations.world.repository.main()
        # when it is delivered
        await operations.settle()
        # then it goes as far as that takes it
        stages = {e.CanaryFailed, e.CanaryPassed, e.DeployFailed, e.ReleaseDeployed, e.CriteriaMet, e.CriteriaNotMet}
        events = [one for one in operations.events("ticket-INF-1") if type(one) in stages]
        assert type(events[-1]) is ends and len(operations.ticket("INF-1").attempts) == 1 + (ends is not e.CriteriaMet)
        if ends is e.CriteriaMet:
            assert operations.state("INF-1") is State.RESOLVED
            assert [one.at for one in told(operations)] == ["begun", "ended"] * bool(constraints)
            return
        # and nothing of it is served any more, with what was counted on record
        assert "error budget: this ticket's delivery spent" in events[-1].reason and is_as_it_was(operations, main)
        _, exceeded, ended = told(operations)
        assert [one.at for one in told(operations)] == ["begun", "exceeded", "ended"]
        latency, availability = exceeded.objectives
        assert latency.objective == "latency" and latency.spent > exceeded.at_most > 0 == availability.spent
        assert latency.query and latency.before_total == 4800 and latency.total > 0 and latency.until > latency.since
        assert ended.objectives[0].until > latency.until

    run(story())


def test_a_repair_is_not_stopped_by_what_the_sickness_spends() -> None:
    async def story() -> None:
        # given a slow release that spends all of the budget, and a ticket for it that may spend next to nothing
        operations = await incident(days_work(5))
        await operations.watch(lambda: operations.reached(State.WORKING))
        await operations.tell("constrain", constraints=("max error budget spend 0.5%",))
        # when it is repaired
        await operations.settle()
        # then nothing stood in its way
        assert operations.state("INF-1") is State.RESOLVED and len(operations.ticket("INF-1").attempts) == 1
        _, ended = told(operations)
        (latency, _) = ended.objectives
        assert latency.before_bad > 0.9 * latency.before_total and latency.bad > 1000 and latency.spent == 0

    run(story())


def test_what_attempts_spend_is_summed_and_what_lies_between_them_is_not() -> None:
    async def story() -> None:
        # given a delivery that was stopped by its canary for what it spent, and trouble of somebody else's since
        operations = await filed("max error budget spend 0.5%")
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        first = told(operations)[-1]
        assert first.at == "ended"
        operations.world.disturb(Behaviour(wait_ms=85.0, wait_share=0.9))
        await healthy(operations, 2)
        operations.world.disturb(Behaviour())
        await healthy(operations, 20)
        # when a person has it tried again, then another attempt is not begun under this limit
        await operations.tell("answer", text="again")
        await operations.watch(lambda: len(operations.ticket("INF-1").attempts) == 3)
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        assert "of that of latency, more than 0.5%. It is delivered again once" in operations.question()
        assert len(told(operations)) == 3
        # when it has another, then it begins with what the first one spent, and ends where both are too much
        await operations.tell("constrain", constraints=("max error budget spend 4%",))
        await operations.tell("answer", text="again")
        await operations.watch(lambda: len(told(operations)) > 3)
        begun = told(operations)[3]
        assert begun.at == "begun" and [one.spent for one in begun.objectives] == [
            one.spent for one in first.objectives
        ]
        await operations.watch(lambda: operations.happened(e.DeployFailed))
        exceeded = next(one for one in told(operations) if one.at == "exceeded" and one.attempt > 1)
        assert exceeded.objectives[0].earlier == begun.objectives[0].earlier > 0

    run(story())


def test_a_harness_that_dies_once_it_has_seen_too_much_does_not_judge_again() -> None:
    async def story() -> None:
        operations = await filed("max error budget spend 0.5%")
        main = operations.world.repository.main()

        def dies() -> None:
            raise Crash("with traffic on the canary")

        right_after(operations, e.BudgetSpendJudged, lambda: right_after(operations, e.BudgetSpendJudged, dies))
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        assert operations.restarts == 1 and is_as_it_was(operations, main)
        exceeded = told(operations)[1]
        assert exceeded.at == "exceeded"
        assert operations.last("INF-1", e.CanaryFailed).reason == exceeded.reason

    run(story())


def test_an_operation_that_spends_too_much_is_taken_back() -> None:
    async def story() -> None:
        # given a lost node, a ticket that may spend little, and harm with the node that takes its place
        operations = await incident([])
        world = operations.world
        world.kill("n2")
        tellings: list[asyncio.Task[str]] = []

        def limit() -> None:
            telling = operations.tell("constrain", constraints=("max error budget spend 0.5%",))
            tellings.append(asyncio.create_task(telling))
            right_after(operations, e.OperationStepped, lambda: world.disturb(HARM))

        right_after(operations, e.AttemptStarted, limit)
        # when it is tried
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        # then it goes again
        assert operations.last("INF-1", e.CanaryFailed).reason.startswith("error budget: ")
        assert operations.happened(e.RolledBack) and world.nodes.names() == ("n1", "n3")

    run(story())


def test_no_delivery_begins_while_nobody_can_tell_what_it_spends() -> None:
    async def story() -> None:
        # given metrics that were lost, so that nobody knows how it was before
        operations = await filed("max error budget spend 30%")
        await operations.watch(lambda: operations.happened(e.ChecksPassed))
        operations.world.metrics.failing = True
        await operations.watch(lambda: operations.happened(e.CanaryFailed))
        # then it said so, gave up, and touched nothing
        assert operations.happened(e.StageStalled) and not told(operations)
        assert operations.last("INF-1", e.CanaryFailed).reason.startswith("no_data")
        assert not any(effect.detail.startswith("swap") for effect in operations.world.effects)

    run(story())


def test_a_change_does_not_stay_when_nobody_can_tell_what_it_spent() -> None:
    async def story() -> None:
        # given a harmless change under way, and users that begin to count anew, so that one counter is gone
        operations = await filed("max error budget spend 30%", behaviour=Behaviour())
        main = operations.world.repository.main()
        await operations.watch(lambda: operations.reached(State.VERIFYING))
        operations.world.metrics.forget()
        await operations.watch(lambda: operations.happened(e.CriteriaNotMet))
        # then it is taken back for that
        assert operations.last("INF-1", e.CriteriaNotMet).reason.startswith("no_data")
        assert is_as_it_was(operations, main)

    run(story())
