"""A ticket that its hours hold for a week: the real workflow, stages and ledger on a real server that skips the time.

The server gives every workflow a clock of its own, by which its activities are dated; the harness reads that one here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio import activity
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from harness.adapters.stack.programs import find_programs
from harness.adapters.temporal import HARNESS_QUEUE
from harness.bootstrap import Harness, Record, open_record
from harness.core import events as e
from harness.core.command import Command
from harness.core.constraint import DAYS
from harness.core.lifecycle import State
from harness.core.ticket_spec import TicketSpec
from harness.journal import Journal
from harness.settings import Settings
from harness.simulation.world import World
from harness.stages.file import file_by_hand
from tests.integration.temporal_world import eventually
from tests.simulation.operations import MANIFEST, RULES
from workflows.activities import Activities
from workflows.agent_session import AgentSession
from workflows.ticket import TicketWorkflow

SKIPPING = ["--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"]


class WorkflowClock:
    """The port ``Clock``: the workflow's time where one is worked for, else this machine's."""

    def now(self) -> datetime:
        return activity.info().started_time if activity.in_activity() else datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def at_work(record: Record) -> AsyncIterator[WorkflowEnvironment]:
    """A worker with the harness's own activities, and a server on which nobody waits."""
    world = World(MANIFEST)
    harness = Harness(
        record=record, rules=RULES, agent="runbook", metrics=world.metrics, nodes=world.nodes, provider=world.provider,
        router=world.router, repository=world.repository, checks=world.checks,
    )  # fmt: skip
    does = Activities(harness)
    temporal = find_programs(own_temporal=True, own_prometheus=False).temporal
    async with (
        await WorkflowEnvironment.start_time_skipping_v2(
            dev_server_existing_path=temporal, dev_server_extra_args=SKIPPING, data_converter=pydantic_data_converter
        ) as server,
        Worker(
            server.client, task_queue=HARNESS_QUEUE, workflows=[TicketWorkflow, AgentSession],
            activities=[does.look, does.begin_attempt, does.rest, does.open_window, does.obey, does.escalate],
        ),
    ):  # fmt: skip
        yield server


def but_two_minutes_a_week(now: datetime) -> list[str]:
    """Constraints that forbid every minute of the week but two, which were over ten minutes ago at least."""
    opened = (now - timedelta(minutes=20)).replace(second=0)
    opened -= timedelta(minutes=opened.minute % 10)
    shut = opened + timedelta(minutes=2)
    day, after, before = (DAYS[(opened.weekday() + n) % 7] for n in (0, 1, 6))
    written = [f"no changes 00:00-24:00 {after}-{before} UTC", f"no changes {shut:%H:%M}-24:00 {day} UTC"]
    return written + [f"no changes 00:00-{opened:%H:%M} {day} UTC"] * (opened.time() != datetime.min.time())


def admitted(record: Record, constraints: list[str]) -> Journal:
    """A ticket on which the next thing is to begin its work."""
    criteria = [{"metric": "slow_share", "condition": "< 10%"}]
    given = {
        "type": "maintenance", "objective": {"description": "wanted"}, "acceptance_criteria": criteria,
        "constraints": constraints, "change": "feedbeef",
    }  # fmt: skip
    spec = TicketSpec.read({"ticket": given}, "ticket.yaml", service="ratelimiter")
    ticket_id = file_by_hand(
        spec, by="ada", request="1", ledger=record.ledger, blobs=record.blobs, clock=record.clock
    )  # fmt: skip
    journal = journal_of(record, ticket_id)
    frozen = e.FrozenCriterion(metric="slow_share", condition="< 10%", baseline=None, duration="10s")
    journal.record("admit", e.TicketAdmitted(policy="0" * 64, criteria=(frozen,), sick=(), attempts_allowed=1))
    return journal


def journal_of(record: Record, ticket_id: str) -> Journal:
    return Journal(ticket_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock)


async def test_seven_days_of_waiting_are_one_timer_and_take_no_time(tmp_path: Path) -> None:
    # given a ticket that may change something next week, for two minutes
    record = replace(open_record(Settings.model_validate({"HARNESS_HOME": tmp_path})), clock=WorkflowClock())
    began = datetime.now(UTC)
    ticket_id = admitted(record, but_two_minutes_a_week(began)).ticket_id

    async def worked_on() -> bool:
        return journal_of(record, ticket_id).state is State.ESCALATED

    async with at_work(record) as server:
        begun_s = time.monotonic()
        handle = await server.client.start_workflow(
            TicketWorkflow.run, ticket_id, id=ticket_id, task_queue=HARNESS_QUEUE
        )
        await eventually(worked_on)
        took_s = time.monotonic() - begun_s
        await handle.execute_update(TicketWorkflow.tell, Command(verb="cancel", request="enough", by="ada"))
        assert await handle.result() == State.CANCELLED
        timers = [
            told.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            async for told in handle.fetch_history_events()
            if told.HasField("timer_started_event_attributes")
        ]

    # then it waited that long by its own clock, once, and was worked on in the two minutes (to find no such commit)
    ticket = journal_of(record, ticket_id).ticket
    assert ticket.waits_until is not None and ticket.waits_until - began > timedelta(days=6, hours=23)
    assert timedelta(0) <= ticket.attempt.started_at - ticket.waits_until < timedelta(minutes=2)
    assert [timer for timer in timers if timer > timedelta(minutes=1)] == timers[:1]
    assert took_s < 20
