"""Criteria that cannot be measured: refused, or with a person until they can be, and never met. In virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.cli.ticket import explanation, ticket_document
from harness.core import events as e
from harness.core.ids import ticket_stream
from harness.core.lifecycle import State
from harness.core.manifest import Manifest
from harness.core.structure import unproven
from harness.simulation.clock import run
from tests.simulation.operations import MANIFEST, Crash, Operations, innocent
from tests.simulation.test_by_hand import a_commit, quiet

SHARE = [{"metric": "slow_share", "condition": "< 10%", "duration": "10s sustained"}]
UNKNOWN = [*SHARE, {"metric": "colour", "condition": "< 10%"}]


def with_colour(manifest: Manifest) -> Manifest:
    """Somebody declares what nobody measured."""
    colour = manifest.metrics["slow_share"]
    return manifest.model_copy(update={"metrics": {**manifest.metrics, "colour": colour}})


def blind(operations: Operations) -> None:
    """Nothing is scraped any more, and what was is lost."""
    operations.world.metrics.blind = True
    operations.world.metrics.forget()


def asked_times(operations: Operations) -> int:
    return sum(isinstance(one, e.HelpRequested) for one in operations.events(ticket_stream("INF-1")))


async def asked(operations: Operations, **spec: Any) -> str:
    ticket_id = operations.file(**{"allow_unmeasured": True, **spec})
    await operations.carry_to_a_person(ticket_id)
    assert operations.state(ticket_id) is State.ESCALATED
    return ticket_id


def test_a_criterion_on_a_metric_that_is_not_declared_is_refused_with_the_nearest_names() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.file(acceptance_criteria=UNKNOWN)
        await operations.carry_to_a_person()
        (reason,) = operations.last("INF-1", e.TicketRejected).reasons
        assert reason.startswith("acceptance_criteria[1].metric: `colour` is not declared by ratelimiter; ")

    run(story())


@pytest.mark.parametrize(
    ("criterion", "said"),
    [({"metric": "slow_share", "condition": "< 10%"}, "has no data (looked at "),
     ({"metric": "throughput", "condition": "no regression"}, "was not measured before")],
)  # fmt: skip
def test_a_criterion_without_data_is_refused_with_what_was_looked_at_and_the_way_out(
    criterion: dict[str, str], said: str
) -> None:
    async def story() -> None:
        operations = await quiet()
        blind(operations)
        operations.file(acceptance_criteria=[criterion])
        await operations.carry_to_a_person()
        (reason,) = operations.last("INF-1", e.TicketRejected).reasons
        assert reason.startswith(f"acceptance_criteria[0].metric: `{criterion['metric']}` {said}")
        assert "--allow-unmeasured" in reason

    run(story())


def test_what_is_filed_as_a_stack_begins_is_admitted_when_its_data_come() -> None:
    async def story() -> None:
        # given a service of which nothing is measured, as in the first seconds of a stack, and then it is
        operations = await quiet()
        blind(operations)

        async def begin() -> None:
            await operations.world.clock.sleep(20)
            operations.world.metrics.blind = False

        beginning = asyncio.create_task(begin())
        # when a person's ticket is looked at before
        operations.file(acceptance_criteria=SHARE)
        await operations.watch(lambda: operations.happened(e.TicketAdmitted) or operations.happened(e.TicketRejected))
        # then it is let in
        assert beginning.done() and operations.happened(e.TicketAdmitted)

    run(story())


def test_a_person_is_called_where_that_is_allowed_and_nobody_works_until_it_is_measured() -> None:
    async def story() -> None:
        # given a criterion that nobody measures
        operations = await quiet()
        operations.world.effects.clear()
        ticket_id = await asked(operations, acceptance_criteria=UNKNOWN)
        assert "`colour` is not declared by ratelimiter; " in operations.question()
        record = operations.harness.record
        document = ticket_document(record, ticket_id)
        assert [one["met"] for one in document["acceptance_criteria"]] == [None, None]
        assert document["state"] == "escalated" and "`colour`" in document["question"]
        told = explanation(record, operations.ticket(ticket_id))["decisions"]
        assert "`colour` is not declared" in told[-1]["why"] and told[-1]["decided"] == "a person was called"
        # when an answer changes nothing of that, then the same is asked, and nobody works
        await operations.tell("answer", ticket_id, text="just do it")
        await operations.carry_to_a_person(ticket_id)
        assert operations.state(ticket_id) is State.ESCALATED and asked_times(operations) == 2
        assert not operations.happened(e.AttemptStarted) and operations.world.effects == []
        # when it is declared and somebody says so, then it is admitted, and resolved by what was measured
        operations.world.repository.declare(with_colour(MANIFEST))
        await operations.tell("answer", ticket_id, text="it is declared")
        await operations.settle()
        assert operations.state(ticket_id) is State.RESOLVED, operations.question()
        assert not unproven(operations.ticket(ticket_id))
        assert [one.met for one in operations.last(ticket_id, e.CriteriaMet).criteria] == [True, True]

    run(story())


def test_a_ticket_whose_metric_had_no_data_is_admitted_once_it_has_and_a_person_says_so() -> None:
    async def story() -> None:
        operations = await quiet()
        blind(operations)
        ticket_id = await asked(operations, acceptance_criteria=SHARE)
        assert "`slow_share` has no data" in operations.question()
        operations.world.metrics.blind = False
        await operations.world.clock.sleep(60)
        await operations.tell("answer", ticket_id, text="Prometheus is back")
        await operations.settle()
        assert operations.state(ticket_id) is State.RESOLVED, operations.question()
        assert not unproven(operations.ticket(ticket_id))

    run(story())


def test_a_persons_own_commit_is_let_in_without_data_for_it_may_bring_them_back() -> None:
    async def story() -> None:
        operations = await quiet()
        commit = a_commit(operations, innocent(1))
        blind(operations)
        operations.file(acceptance_criteria=SHARE, change=commit)
        await operations.watch(lambda: operations.happened(e.TicketAdmitted))

    run(story())


@pytest.mark.parametrize("after", [False, True], ids=["before it is recorded", "after it was recorded"])
def test_a_process_that_dies_as_it_calls_calls_once(after: bool) -> None:
    async def story() -> None:
        operations = await quiet()

        def die() -> None:
            operations.ledger.before = operations.ledger.after = lambda: None
            raise Crash

        operations.file(acceptance_criteria=UNKNOWN, allow_unmeasured=True)
        if after:
            operations.ledger.after = die
        else:
            operations.ledger.before = die
        await operations.carry_to_a_person()
        assert operations.restarts == 1 and asked_times(operations) == 1

    run(story())


def test_what_is_wrong_beside_an_unmeasured_criterion_is_refused_all_the_same() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.file(acceptance_criteria=[*UNKNOWN, {"metric": "slow_share", "condition": "< 5ms"}],
                        allow_unmeasured=True)  # fmt: skip
        await operations.carry_to_a_person()
        (reason,) = operations.last("INF-1", e.TicketRejected).reasons
        assert reason.startswith("acceptance_criteria[2]: ")

    run(story())


def test_it_can_be_cancelled_and_was_never_met() -> None:
    async def story() -> None:
        operations = await quiet()
        ticket_id = await asked(operations, acceptance_criteria=UNKNOWN)
        await operations.tell("cancel", ticket_id, text="nobody will measure that")
        assert operations.state(ticket_id) is State.CANCELLED
        assert not operations.happened(e.CriteriaMet) and not operations.happened(e.AttemptStarted)

    run(story())
