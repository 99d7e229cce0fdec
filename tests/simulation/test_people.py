"""When the harness asks a person instead of acting, on a modelled world in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from harness.core import events as e
from harness.core.errors import Broken
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.metrics import MemoryMetrics
from harness.simulation.service import Behaviour, Change
from harness.simulation.world import World
from tests.simulation.operations import RULES, SLOW, days_work, incident


@pytest.mark.parametrize(
    ("signal", "trouble"),
    [("slo:availability", lambda world: world.disturb(Behaviour(wrong_denial_share=0.3)))],
)
def test_a_signal_for_which_there_is_no_runbook_is_handed_to_a_person(
    signal: str, trouble: Callable[[World], None]
) -> None:
    async def story() -> None:
        operations = await incident([], rules=replace(RULES, runbooks=()))
        trouble(operations.world)
        await operations.settle()
        ticket = operations.ticket("INF-1")
        assert ticket.state is State.ESCALATED and ticket.filed.signal == signal
        assert operations.question() == f"No runbook fits a ticket raised by {signal}. What should be done?"
        assert operations.world.effects == []

    run(story())


def test_slowness_that_no_release_is_to_blame_for_is_handed_to_a_person() -> None:
    async def story() -> None:
        operations = await incident([])
        operations.world.disturb(SLOW)
        await operations.settle()
        assert "no release of the service changed" in operations.question()
        assert operations.world.effects == []

    run(story())


def test_a_commit_that_cannot_be_taken_back_by_itself_is_handed_to_a_person() -> None:
    async def story() -> None:
        operations = await incident([*days_work(2, of=3), Change("change-3", on_top_of="change-2")])
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED
        assert "later changes stand in the way in change-3" in operations.question()

    run(story())


def test_a_session_that_takes_too_many_steps_is_handed_to_a_person() -> None:
    async def story() -> None:
        session = RULES.profile.session.model_copy(update={"steps": 3})
        rules = replace(RULES, profile=RULES.profile.model_copy(update={"session": session}))
        operations = await incident(days_work(4), rules=rules)
        await operations.settle()
        assert operations.reached(State.ESCALATED)
        assert operations.last("INF-1", e.HelpRequested).exit_status == "limits"
        assert "ended at a limit after 3 steps" in operations.question()

    run(story())


class Damaged:
    """A world whose metrics are of no use: what they tell can't be read."""

    def __init__(self, metrics: MemoryMetrics) -> None:
        self._metrics = metrics
        self.damaged = True

    def __getattr__(self, name: str) -> Any:
        if self.damaged:
            raise Broken("the answer is no JSON")
        return getattr(self._metrics, name)


def test_a_person_is_called_each_time_a_stage_breaks_also_in_the_same_state_of_the_same_attempt() -> None:
    async def story() -> None:
        # given a ticket whose admission breaks, and a person who answers without having mended anything
        operations = await incident(days_work(2, of=4))
        metrics = Damaged(operations.world.metrics)
        ticket_id = operations.file()
        operations.harness = replace(operations.harness, metrics=cast(Any, metrics))
        await operations.carry_to_a_person(ticket_id)
        assert operations.state(ticket_id) is State.ESCALATED
        await operations.tell("answer", ticket_id, text="try again")
        await operations.carry_to_a_person(ticket_id)
        # then the second break is told as the first one was, and the ticket waits for a person again
        asked = [one for one in operations.events(f"ticket-{ticket_id}") if isinstance(one, e.HelpRequested)]
        assert operations.state(ticket_id) is State.ESCALATED
        assert [(one.attempt, one.exit_status) for one in asked] == [(0, "broken")] * 2
        # and when it is mended, an answer lets it go on
        metrics.damaged = False
        await operations.tell("answer", ticket_id, text="mended")
        await operations.watch(lambda: operations.happened(e.TicketAdmitted, ticket_id))

    run(story())
