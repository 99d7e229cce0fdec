"""Proves on a real Temporal server how tickets, sessions and the watch go on, whatever fails or is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from harness.adapters.temporal import HARNESS_QUEUE, TemporalWorkflows, connect, start_ticket, tell_ticket
from harness.core.command import Command, Verb
from harness.core.errors import Broken, Forbidden, Invalid, Refused, Retryable
from harness.core.lifecycle import ENDS, State
from harness.stages.observe import Memory
from tests.integration.temporal_world import (
    NO_SECRETS,
    SMOOTH,
    Server,
    Stages,
    eventually,
    left,
    serving,
    tickets_worked,
    until,
)
from workflows.edge import HEARTBEAT_TIMEOUT, at_the_edge
from workflows.watch import SETTLES, WatchWorkflow

SESSION = ["begin_attempt", ["think", 1], ["act", 1], ["think", 2], ["act", 2], "work"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


async def worked(client: Client, ticket_id: str, stages: Stages) -> str:
    """Where the ticket was left."""
    async with tickets_worked(client, stages):
        await start_ticket(client, ticket_id)
        state = await left(client, ticket_id, stages)
        if state not in ENDS:  # it would live on, and be worked by the stages of the next test
            await client.get_workflow_handle(ticket_id).terminate()
        return state


# --- tickets ---------------------------------------------------------------------------------------------------------


async def test_a_ticket_goes_from_stage_to_stage_until_it_is_resolved(server: Server, tmp_path: Path) -> None:
    stages = Stages(tmp_path, SMOOTH)

    assert await worked(await server.client(), "W-1", stages) == State.RESOLVED

    assert stages.calls() == ["admit", *SESSION, "test", "canary", "deploy", "verify"]


async def test_a_stage_that_sends_a_ticket_back_begins_another_attempt(server: Server, tmp_path: Path) -> None:
    # given a change whose checks fail, a second one whose canary fails, and one that is good
    script = SMOOTH | {
        "test": [State.WORKING, State.CANARYING], "canary": [State.WORKING, State.DEPLOYING],
    }  # fmt: skip
    stages = Stages(tmp_path, script)

    assert await worked(await server.client(), "W-2", stages) == State.RESOLVED

    rounds = [*SESSION, "test", *SESSION, "test", "canary", *SESSION, "test", "canary"]
    assert stages.calls() == ["admit", *rounds, "deploy", "verify"]


@pytest.mark.parametrize("state", [State.REJECTED, State.AWAITING_APPROVAL, State.PAUSED])
async def test_a_ticket_without_a_next_stage_is_left_where_it_is(state: State, server: Server, tmp_path: Path) -> None:
    stages = Stages(tmp_path, SMOOTH | {"admit": [state]})

    assert await worked(await server.client(), f"W-{state}", stages) == state

    assert stages.calls() == (["admit"] if state in ENDS else ["admit", "rest"])


async def test_a_ticket_that_waits_for_its_hours_goes_on_when_they_are_there(server: Server, tmp_path: Path) -> None:
    (tmp_path / "rest").write_text("0.3")
    stages = Stages(tmp_path, SMOOTH | {"admit": [State.WAITING], "open_window": [State.WAITING, State.WORKING]})

    assert await worked(await server.client(), "W-hours", stages) == State.RESOLVED

    assert stages.calls()[:5] == ["admit", "rest", "open_window", "rest", "open_window"]
    assert stages.calls()[5:] == [*SESSION, "test", "canary", "deploy", "verify"]


@pytest.mark.parametrize("state", [State.WAITING, State.AWAITING_APPROVAL])
async def test_a_wait_of_which_nobody_can_say_how_long_is_handed_to_a_person(
    state: State, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "no-rest-when").write_text(state)
    stages, client, ticket_id = Stages(tmp_path, SMOOTH | {"admit": [state]}), await server.client(), f"W-never-{state}"

    async with tickets_worked(client, stages):
        await start_ticket(client, ticket_id)
        await eventually(lambda: asyncio.sleep(0, stages.state() == State.ESCALATED and stages.rests_for_a_person()))
        await client.get_workflow_handle(ticket_id).terminate()

    assert stages.calls() == ["admit", "rest", ["escalate", "waiting: Invalid: its hours never end"], "rest"]


async def test_a_window_that_is_not_over_is_waited_for_outside_of_the_stage(server: Server, tmp_path: Path) -> None:
    (tmp_path / "rest").write_text("0.3")
    stages = Stages(tmp_path, SMOOTH | {"verify": [State.VERIFYING, State.VERIFYING, State.RESOLVED]})

    assert await worked(await server.client(), "W-window", stages) == State.RESOLVED

    assert stages.calls()[-5:] == ["verify", "rest", "verify", "rest", "verify"]


@pytest.mark.parametrize("error", [Refused, Invalid, Forbidden, Broken])
async def test_a_stage_that_cannot_be_completed_calls_a_human(
    error: type[Refused], server: Server, tmp_path: Path
) -> None:
    stages = Stages(tmp_path, SMOOTH | {"canary": [error("service.yaml: no guards")]})

    assert await worked(await server.client(), f"X-{error.__name__}", stages) == State.ESCALATED

    assert stages.calls()[-3:-1] == ["canary", ["escalate", f"canary: {error.__name__}: service.yaml: no guards"]]


async def test_a_human_is_called_however_often_the_call_itself_is_refused(server: Server, tmp_path: Path) -> None:
    # given a ledger that may only be read for a while, so that neither the stage nor the call can be recorded
    read_only = Refused("ledger: attempt to write a readonly database")
    stages = Stages(tmp_path, SMOOTH | {"test": [read_only], "escalate": [read_only, read_only]})

    # when the ticket is worked
    assert await worked(await server.client(), "W-7", stages) == State.ESCALATED

    # then its workflow did not end before a human was called: nothing would ever have begun it anew
    call = ["escalate", "test: Refused: ledger: attempt to write a readonly database"]
    assert stages.calls()[-4:] == [call] * 3 + ["rest"]


async def test_what_may_succeed_later_is_tried_until_it_does(server: Server, tmp_path: Path) -> None:
    trouble = Retryable("Prometheus does not answer")
    stages = Stages(tmp_path, SMOOTH | {"verify": [trouble, trouble, State.RESOLVED]})

    assert await worked(await server.client(), "W-3", stages) == State.RESOLVED

    assert stages.calls()[-3:] == ["verify"] * 3


async def test_a_stage_under_way_is_heard_of_twice_a_second(server: Server, tmp_path: Path) -> None:
    # given a stage that takes its time
    client, heard = await server.client(), []
    stages = Stages(tmp_path, SMOOTH)
    (tmp_path / "hold-canary").touch()

    async def heard_of(times: int) -> bool:
        description = await client.get_workflow_handle("W-pulse").describe()
        for pending in description.raw_description.pending_activities:
            at = pending.last_heartbeat_time.ToDatetime(UTC)
            if pending.activity_type.name == "canary" and pending.HasField("last_heartbeat_time") and at not in heard:
                heard.append(at)
        return len(heard) >= times

    async with tickets_worked(client, stages):
        await start_ticket(client, "W-pulse")
        await eventually(lambda: heard_of(4))
        (tmp_path / "hold-canary").unlink()
        await client.get_workflow_handle("W-pulse").result()

    # then the server hears of it as often as it says so, and not when its time is nearly over
    gaps = [later - before for before, later in pairwise(heard)]
    assert min(gaps) < HEARTBEAT_TIMEOUT / 2, "a stall of the machine makes some longer, but not all"


# --- people ----------------------------------------------------------------------------------------------------------


async def said(client: Client, ticket_id: str, verb: Verb, request: str = "one") -> str:
    return await tell_ticket(client, ticket_id, Command(verb=verb, request=f"{verb}-{request}", by="ada"))


async def test_an_escalated_ticket_lives_on_and_goes_back_to_work_when_it_is_answered(
    server: Server, tmp_path: Path
) -> None:
    client = await server.client()
    stages = Stages(tmp_path, SMOOTH | {"canary": [Broken("damaged"), State.DEPLOYING]})
    async with tickets_worked(client, stages):
        await start_ticket(client, "P-1")
        assert await left(client, "P-1", stages) == State.ESCALATED
        assert await said(client, "P-1", "answer") == State.WORKING
        assert await client.get_workflow_handle("P-1").result() == State.RESOLVED


@pytest.mark.parametrize("stage", ["work", "test"])
async def test_a_pause_breaks_off_what_leaves_nothing_half_done(stage: str, server: Server, tmp_path: Path) -> None:
    client, ticket_id = await server.client(), f"P-{stage}"
    stages = Stages(tmp_path, SMOOTH)
    (tmp_path / f"hold-{stage}").touch()
    async with tickets_worked(client, stages):
        await start_ticket(client, ticket_id)
        await eventually(lambda: asyncio.sleep(0, stage in stages.calls()))
        # the stage would never end by itself
        assert await said(client, ticket_id, "pause") == State.PAUSED
        (tmp_path / f"hold-{stage}").unlink()
        assert await said(client, ticket_id, "resume") == (State.WORKING if stage == "work" else State.TESTING)
        assert await client.get_workflow_handle(ticket_id).result() == State.RESOLVED


async def test_a_stage_that_must_not_be_broken_off_comes_to_its_end_before_the_ticket_is_told(
    server: Server, tmp_path: Path
) -> None:
    client = await server.client()
    stages = Stages(tmp_path, SMOOTH)
    (tmp_path / "hold-deploy").touch()
    async with tickets_worked(client, stages):
        await start_ticket(client, "P-deploy")
        await eventually(lambda: asyncio.sleep(0, "deploy" in stages.calls()))
        telling = asyncio.create_task(said(client, "P-deploy", "cancel"))
        await eventually(lambda: updates_accepted(client, "P-deploy"))
        assert stages.calls()[-1] == "deploy" and not telling.done()
        (tmp_path / "hold-deploy").unlink()
        assert await telling == State.CANCELLED
        assert await client.get_workflow_handle("P-deploy").result() == State.CANCELLED
    assert stages.calls()[-2:] == ["deploy", ["obey", "cancel"]]


async def nothing_is_done(client: Client, ticket_id: str) -> bool:
    """Whether the workflow took up what its last activity brought, and began none since."""
    events = client.get_workflow_handle(ticket_id).fetch_history_events()
    kinds = [event.event_type async for event in events]
    begun, done = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
    return kinds.count(begun) == kinds.count(done) and kinds[-1] == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED


async def updates_accepted(client: Client, ticket_id: str) -> int:
    accepted = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
    events = client.get_workflow_handle(ticket_id).fetch_history_events()
    return sum([event.event_type == accepted async for event in events])


async def test_what_a_tickets_state_does_not_allow_is_refused_with_what_it_does(server: Server, tmp_path: Path) -> None:
    client = await server.client()
    stages = Stages(tmp_path, SMOOTH | {"begin_attempt": [State.ESCALATED]})
    async with tickets_worked(client, stages):
        await start_ticket(client, "P-2")
        await left(client, "P-2", stages)
        await eventually(lambda: nothing_is_done(client, "P-2"))
        refusal = "resume: the ticket is escalated; it can be told: pause, cancel, answer"
        with pytest.raises(Forbidden, match=refusal):
            await said(client, "P-2", "resume")
        # by the workflow itself, which knows where the ticket is: nothing was asked, nothing was recorded
        assert ["obey", "resume"] not in stages.calls()
        # and the same telling twice is one
        assert await said(client, "P-2", "cancel") == State.CANCELLED
        await client.get_workflow_handle("P-2").result()
    assert stages.calls()[-1] == ["obey", "cancel"]


async def test_a_ticket_whose_workflow_was_lost_is_begun_anew_by_what_it_is_told(
    server: Server, tmp_path: Path
) -> None:
    # given a ticket that the ledger knows as escalated, and a Temporal that has never heard of it
    client = await server.client()
    stages = Stages(tmp_path, SMOOTH)
    (tmp_path / "state").write_text(State.ESCALATED)
    async with tickets_worked(client, stages):
        assert await said(client, "P-lost", "answer") == State.WORKING
        assert await client.get_workflow_handle("P-lost").result() == State.RESOLVED


async def test_a_workflow_that_somebody_ended_in_a_session_is_begun_anew_and_goes_on(
    server: Server, tmp_path: Path
) -> None:
    # given a ticket whose workflow is ended by hand while its agent is at work
    client = await server.client()
    stages, workflows = Stages(tmp_path, SMOOTH), TemporalWorkflows(client)
    (tmp_path / "hold-work").touch()
    async with tickets_worked(client, stages):
        assert await workflows.begin_ticket("P-ended")
        await eventually(lambda: asyncio.sleep(0, "work" in stages.calls()))
        assert not await workflows.begin_ticket("P-ended")
        await client.get_workflow_handle("P-ended").terminate()
        # when it is begun anew at once, while the session of the one before may still be ending
        assert await workflows.begin_ticket("P-ended")
        (tmp_path / "hold-work").unlink()
        # then it comes to its end
        assert await client.get_workflow_handle("P-ended").result() == State.RESOLVED


async def test_without_temporal_nobody_is_told_anything() -> None:
    with pytest.raises(Retryable, match="is not reachable"):
        await connect("127.0.0.1:9", "default", NO_SECRETS)


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_a_session_that_does_not_end_is_ended_by_its_limit(server: Server, tmp_path: Path) -> None:
    stages = Stages(tmp_path, SMOOTH, ends_at=99)

    assert await worked(await server.client(), "W-4", stages) == State.ESCALATED

    steps = [[what, step] for step in (1, 2, 3) for what in ("think", "act")]
    assert stages.calls() == ["admit", "begin_attempt", *steps, "give_up", "rest"]


async def test_where_a_human_was_called_instead_no_session_begins(server: Server, tmp_path: Path) -> None:
    stages = Stages(tmp_path, SMOOTH | {"begin_attempt": [State.ESCALATED]})

    assert await worked(await server.client(), "W-5", stages) == State.ESCALATED

    assert stages.calls() == ["admit", "begin_attempt", "rest"]


async def test_a_session_that_breaks_calls_a_human_with_the_reason(server: Server, tmp_path: Path) -> None:
    stages = Stages(tmp_path, SMOOTH | {"work": [Broken("blob sha256:1 is gone")]})

    assert await worked(await server.client(), "W-6", stages) == State.ESCALATED

    assert stages.calls()[-3:-1] == ["work", ["escalate", "work: Broken: blob sha256:1 is gone"]]


# --- the watch -------------------------------------------------------------------------------------------------------

PHASE = timedelta(milliseconds=250)


class Watched:
    """A tick that finds a sample at a quarter past every second; ``broken`` ticks find damaged data."""

    def __init__(self, *broken: int) -> None:
        self.memories: list[Memory | None] = []
        self._broken = broken

    @activity.defn
    async def watch_tick(self, memory: Memory | None) -> Memory:
        async with at_the_edge():
            self.memories.append(memory)
            if len(self.memories) in self._broken:
                raise Broken("position 7: damaged")
            now = datetime.now(UTC)
            second = now.replace(microsecond=0) - (timedelta(seconds=1) if now.microsecond < 250_000 else timedelta(0))
            return Memory(ticks=(memory.ticks if memory else 0) + 1, sampled_at=second + PHASE)


def watching(client: Client, watched: Watched) -> Worker:
    return Worker(client, task_queue=HARNESS_QUEUE, workflows=[WatchWorkflow], activities=[watched.watch_tick])


async def due_times(handle: WorkflowHandle[object, object]) -> list[datetime]:
    """When each timer of the workflow was to fire: the workflow's present at its setting, and its length."""
    present, due = datetime.min, []
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
            present = event.event_time.ToDatetime(UTC)
        if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED:
            length = event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            due.append(present + length)
    return due


async def test_the_watch_ticks_once_a_second_just_after_the_sample_and_outlives_a_broken_tick(server: Server) -> None:
    # given a watch whose second tick finds something that must not be tried again
    client = await server.client()
    watched = Watched(2)
    handle = client.get_workflow_handle("watch")
    async with watching(client, watched):
        await TemporalWorkflows(client).begin_watch()
        await TemporalWorkflows(client).begin_watch()
        await eventually(lambda: asyncio.sleep(0, len(watched.memories) >= 4))
        due = await due_times(handle)
    await handle.terminate()

    # then it goes on with what it remembered before, and nothing of the broken tick
    ticks = [memory.ticks if memory else None for memory in watched.memories[:4]]
    assert ticks == [None, 1, 1, 2]

    # and every tick but the first, which knows no sample yet, was due so long after a sample
    offsets_s = [(time - PHASE - SETTLES).timestamp() % 1 for time in due[1:4]]
    assert [round(offset_s, 3) % 1 for offset_s in offsets_s] == [0, 0, 0], "the server keeps microseconds"
    assert all(timedelta(seconds=0.9) < later - before for before, later in pairwise(due[1:4]))


# --- kill -9 ---------------------------------------------------------------------------------------------------------


@contextmanager
def worker_process(server: Server, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.integration.temporal_world", server.address, str(folder)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_session_goes_on_where_its_worker_was_killed_in_a_local_activity(
    server: Server, tmp_path: Path
) -> None:
    # given a worker process that dies in the act that ends a session, which no heartbeat watches over
    client = await server.client()
    record = Stages(tmp_path, SMOOTH)
    (tmp_path / "hold-work").touch()
    with worker_process(server, tmp_path) as first:
        await start_ticket(client, "K-2")
        await asyncio.to_thread(until, lambda: "work" in record.calls(), 40)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    (tmp_path / "hold-work").unlink()

    # when another one is started
    with worker_process(server, tmp_path):
        async with asyncio.timeout(60):
            state = await client.get_workflow_handle("K-2").result()

    # then the local activities since the last whole one are done again: they look first whether they are done
    assert state == State.RESOLVED
    again = [["think", 2], ["act", 2], "work"]
    assert record.calls() == ["admit", *SESSION, *again, "test", "canary", "deploy", "verify"]


async def test_another_worker_goes_on_where_one_was_killed(server: Server, tmp_path: Path) -> None:
    # given a worker process in the middle of the canary
    client = await server.client()
    record = Stages(tmp_path, SMOOTH)
    (tmp_path / "hold-canary").touch()
    with worker_process(server, tmp_path) as first:
        await start_ticket(client, "K-1")
        await asyncio.to_thread(until, lambda: "canary" in record.calls(), 40)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    (tmp_path / "hold-canary").unlink()

    # when another one is started
    with worker_process(server, tmp_path) as second:
        async with asyncio.timeout(60):
            state = await client.get_workflow_handle("K-1").result()

    # then it takes the canary up again, once, and nothing that was done before
    assert state == State.RESOLVED
    assert record.calls() == ["admit", *SESSION, "test", "canary", "canary", "deploy", "verify"]
    pids = record.calls(by="pid")
    assert pids == [first.pid] * 9 + [second.pid] * 3
