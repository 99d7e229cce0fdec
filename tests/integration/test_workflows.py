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

from harness.adapters.temporal import HARNESS_QUEUE, start_ticket, start_watch
from harness.core.errors import Broken, Forbidden, Invalid, Refused, Retryable
from harness.core.lifecycle import State
from harness.stages.observe import Memory
from tests.integration.temporal_world import SMOOTH, Server, Stages, eventually, serving, tickets_worked, until
from workflows.edge import at_the_edge
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
        return str(await client.get_workflow_handle(ticket_id).result())


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


@pytest.mark.parametrize("state", [State.REJECTED, State.WAITING, State.AWAITING_APPROVAL, State.PAUSED])
async def test_a_ticket_without_a_next_stage_is_left_where_it_is(state: State, server: Server, tmp_path: Path) -> None:
    stages = Stages(tmp_path, SMOOTH | {"admit": [state]})

    assert await worked(await server.client(), f"W-{state}", stages) == state

    assert stages.calls() == ["admit"]


@pytest.mark.parametrize("error", [Refused, Invalid, Forbidden, Broken])
async def test_a_stage_that_cannot_be_completed_calls_a_human(
    error: type[Refused], server: Server, tmp_path: Path
) -> None:
    stages = Stages(tmp_path, SMOOTH | {"canary": [error("service.yaml: no guards")]})

    assert await worked(await server.client(), f"X-{error.__name__}", stages) == State.ESCALATED

    assert stages.calls()[-2:] == ["canary", ["escalate", f"canary: {error.__name__}: service.yaml: no guards"]]


async def test_a_human_is_called_however_often_the_call_itself_is_refused(server: Server, tmp_path: Path) -> None:
    # given a ledger that may only be read for a while, so that neither the stage nor the call can be recorded
    read_only = Refused("ledger: attempt to write a readonly database")
    stages = Stages(tmp_path, SMOOTH | {"test": [read_only], "escalate": [read_only, read_only]})

    # when the ticket is worked
    assert await worked(await server.client(), "W-7", stages) == State.ESCALATED

    # then its workflow did not end before a human was called: nothing would ever have begun it anew
    call = ["escalate", "test: Refused: ledger: attempt to write a readonly database"]
    assert stages.calls()[-3:] == [call] * 3


async def test_what_may_succeed_later_is_tried_until_it_does(server: Server, tmp_path: Path) -> None:
    trouble = Retryable("Prometheus does not answer")
    stages = Stages(tmp_path, SMOOTH | {"verify": [trouble, trouble, State.RESOLVED]})

    assert await worked(await server.client(), "W-3", stages) == State.RESOLVED

    assert stages.calls()[-3:] == ["verify"] * 3


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_a_session_that_does_not_end_is_ended_by_its_limit(server: Server, tmp_path: Path) -> None:
    stages = Stages(tmp_path, SMOOTH, ends_at=99)

    assert await worked(await server.client(), "W-4", stages) == State.ESCALATED

    steps = [[what, step] for step in (1, 2, 3) for what in ("think", "act")]
    assert stages.calls() == ["admit", "begin_attempt", *steps, "give_up"]


async def test_where_a_human_was_called_instead_no_session_begins(server: Server, tmp_path: Path) -> None:
    stages = Stages(tmp_path, SMOOTH | {"begin_attempt": [State.ESCALATED]})

    assert await worked(await server.client(), "W-5", stages) == State.ESCALATED

    assert stages.calls() == ["admit", "begin_attempt"]


async def test_a_session_that_breaks_calls_a_human_with_the_reason(server: Server, tmp_path: Path) -> None:
    stages = Stages(tmp_path, SMOOTH | {"work": [Broken("blob sha256:1 is gone")]})

    assert await worked(await server.client(), "W-6", stages) == State.ESCALATED

    assert stages.calls()[-2:] == ["work", ["escalate", "work: Broken: blob sha256:1 is gone"]]


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
        await start_watch(client)
        await start_watch(client)
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
