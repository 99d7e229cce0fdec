"""Proves on a real ledger and a real Temporal server that every filed ticket gets its workflow, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from harness.adapters.clock import SystemClock
from harness.adapters.temporal import start_ticket
from harness.core import events as e
from harness.core.ids import PAUSE_STREAM, cause_stream, fingerprint, signal_stream, ticket_stream
from harness.core.lifecycle import State
from harness.core.record import Recorded, StreamWrite
from harness.journal import HARNESS, encode
from harness.ledger.store import Ledger
from harness.stop import record_stop
from tests.integration.temporal_world import SMOOTH, Server, Stages, eventually, serving, tickets_worked
from workflows.pump import NAME, pump

NOW = SystemClock().now()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db", now=SystemClock().now)
    yield opened
    opened.close()


def append(ledger: Ledger, ticket_id: str, *events: e.Event) -> None:
    """Filing and its kind: events at the end of the ticket's stream."""
    stream = ticket_stream(ticket_id)
    version = ledger.stream_version(stream)
    new = [
        encode(
            f"{ticket_id}/{version + n}", event, clock=SystemClock(), actor=HARNESS, correlation=ticket_id, cause=None
        )
        for n, event in enumerate(events)
    ]
    ledger.append([StreamWrite(stream, version, new)])


def filed(ticket_id: str) -> e.TicketFiled:
    return e.TicketFiled(
        ticket_id=ticket_id, type="incident", service="tiny", priority="P1", source="human", spec="sha256:" + "0" * 64,
    )  # fmt: skip


@asynccontextmanager
async def pumping(ledger: Ledger, client: Client) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(pump(ledger, client))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def described(client: Client, ticket_id: str) -> WorkflowExecutionDescription | None:
    """The latest run of the ticket's workflow; None as long as there is none that the server could show."""
    try:
        return await client.get_workflow_handle(ticket_id).describe()
    except RPCError as error:
        assert error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAVAILABLE), error
        return None


async def test_every_filed_ticket_gets_a_workflow_of_its_name(server: Server, ledger: Ledger) -> None:
    # given one ticket that was filed before the pump, and one after
    client = await server.client()
    append(ledger, "A-1", filed("A-1"))
    async with pumping(ledger, client):
        first = await eventually(lambda: described(client, "A-1"))
        append(ledger, "A-2", filed("A-2"))
        second = await eventually(lambda: described(client, "A-2"))

    assert (first.workflow_type, first.task_queue, first.status) == (
        "TicketWorkflow", "harness", WorkflowExecutionStatus.RUNNING,
    )  # fmt: skip
    assert second.id == "A-2"


async def test_a_finished_ticket_is_not_started_again(server: Server, ledger: Ledger) -> None:
    # given a ledger that is read from its start, as with a new Temporal: a ticket that ended, one that waits for a
    # person, and a new one
    client = await server.client()
    append(ledger, "B-1", filed("B-1"), e.TicketRejected(reasons=("no such service",)))
    help_wanted = e.HelpRequested(attempt=0, exit_status="broken", question="sha256:" + "0" * 64)
    append(ledger, "B-2", filed("B-2"), help_wanted)
    append(ledger, "B-3", filed("B-3"))

    async with pumping(ledger, client):
        await eventually(lambda: described(client, "B-3"))

    assert await described(client, "B-1") is None
    assert await described(client, "B-2") is None


class LedgerOfADyingPump(Ledger):
    """Where the process dies before it can note how far it has read."""

    def save_checkpoint(self, name: str, position: int) -> None:
        raise SystemError("killed")


async def test_a_crash_before_the_checkpoint_starts_nothing_twice(
    server: Server, ledger: Ledger, tmp_path: Path
) -> None:
    # given a pump that dies after it has started two workflows, one of which is then done
    client = await server.client()
    append(ledger, "C-1", filed("C-1"))
    append(ledger, "C-2", filed("C-2"))
    dying = LedgerOfADyingPump.open(tmp_path / "ledger.db", now=SystemClock().now)
    with pytest.raises(SystemError):
        await pump(dying, client)
    dying.close()
    assert ledger.checkpoint(NAME) == 0
    before = [await described(client, name) for name in ("C-1", "C-2")]
    stages = Stages(tmp_path, SMOOTH)
    async with tickets_worked(client, stages):
        assert await client.get_workflow_handle("C-1").result() == State.RESOLVED
        assert await client.get_workflow_handle("C-2").result() == State.RESOLVED
    done = len(stages.calls())

    # when another pump begins where the first one had begun
    async with pumping(ledger, client):
        await eventually(lambda: asyncio.sleep(0, ledger.checkpoint(NAME) == ledger.head().position))

    # then both tickets have the one run that they had, and nothing was done again
    after = [await described(client, name) for name in ("C-1", "C-2")]
    assert [run.run_id for run in after if run] == [run.run_id for run in before if run]
    assert [run.status for run in after if run] == [WorkflowExecutionStatus.COMPLETED] * 2
    assert len(stages.calls()) == done


async def test_what_is_filed_while_temporal_is_down_starts_when_it_is_up(server: Server, ledger: Ledger) -> None:
    # given a pump that has lost its Temporal, and a ticket that is filed then
    client = await Client.connect(
        server.address, data_converter=pydantic_data_converter, retry_config=RetryConfig(max_retries=1)
    )
    with capture_logs() as said:
        async with pumping(ledger, client) as task:
            server.stop()
            try:
                append(ledger, "D-1", filed("D-1"))
                await eventually(lambda: asyncio.sleep(0, said))
                assert ledger.checkpoint(NAME) == 0 and not task.done()
            finally:
                server.start()

            # then it says that it waits, and once the server is back the ticket is started and read past
            started = await eventually(lambda: described(client, "D-1"), within_s=40)
            await eventually(lambda: asyncio.sleep(0, ledger.checkpoint(NAME) == 1))

    assert {(line["event"], line["ticket"]) for line in said} == {("pump waits", "D-1")}
    assert started.status is WorkflowExecutionStatus.RUNNING


class LedgerThatIsAsked(Ledger):
    """Counts how often it was asked whether everything is stopped."""

    asked = 0

    def read_stream(self, stream: str, *, from_version: int = 1) -> list[Recorded]:
        self.asked += stream == PAUSE_STREAM
        return super().read_stream(stream, from_version=from_version)


async def test_while_everything_is_stopped_no_ticket_is_begun_and_none_is_forgotten(
    server: Server, ledger: Ledger, tmp_path: Path
) -> None:
    # given a person who stopped everything, twice, and a ticket that is filed then
    client = await server.client()
    for _ in range(2):
        record_stop(ledger, SystemClock(), stopped=True, by="ada")
    append(ledger, "E-1", filed("E-1"))
    asked = LedgerThatIsAsked.open(tmp_path / "ledger.db", now=SystemClock().now)
    async with pumping(asked, client) as task:
        # then the pump, which looks again and again, does not begin it
        await eventually(lambda: asyncio.sleep(0, asked.asked >= 3))
        assert await described(client, "E-1") is None and not task.done()
        # until they let it go on
        record_stop(ledger, SystemClock(), stopped=False, by="ada")
        await eventually(lambda: described(client, "E-1"))
    asked.close()

    assert [row.type for row in ledger.read_stream(PAUSE_STREAM)] == ["EverythingPaused", "EverythingResumed"]


@pytest.mark.parametrize(
    "moved",
    [
        e.MainMoved(before="a" * 40, after="b" * 40),
        e.ReleaseObserved(node="n1", before="a" * 40, after="b" * 40, actor="external", since=NOW),
        e.SignalEnded(fingerprint="0" * 16),
    ],
    ids=["by-a-delivery", "by-another-hand", "a-violation-is-over"],
)
async def test_a_ticket_that_waits_looks_again_when_main_has_moved_or_a_signal_has_ended(
    moved: e.Event, server: Server, ledger: Ledger, tmp_path: Path
) -> None:
    # given a ticket that waits for an hour
    waits = f"H-{type(moved).__name__}"
    (tmp_path / "rest").write_text("3600")
    (tmp_path / "state").write_text(State.WAITING)
    stages = Stages(tmp_path, SMOOTH)
    client = await server.client()
    append(
        ledger, waits, filed(waits), e.TicketAdmitted(policy="0" * 64, criteria=(), sick=(), attempts_allowed=1),
        e.WindowAwaited(constraint="no changes during peak hours", until=NOW + timedelta(hours=1)),
    )  # fmt: skip
    async with tickets_worked(client, stages), pumping(ledger, client):
        await start_ticket(client, waits)
        await eventually(lambda: timers(client, waits))
        # when main moves, and with it the hours, or what blocked it is over
        (tmp_path / "rest").write_text("0")
        append(ledger, "H-other", filed("H-other"), e.TicketRejected(reasons=()))
        new = encode(f"moved-{waits}", moved, clock=SystemClock(), actor=HARNESS, correlation=waits, cause=None)
        ledger.append([StreamWrite("service-tiny", None, [new])])
        # then it goes on, an hour early
        assert await client.get_workflow_handle(waits).result() == State.RESOLVED
    assert "open_window" in stages.calls() and SystemClock().now() < NOW + timedelta(minutes=30)


@pytest.mark.parametrize("first", ["asked", "back"])
async def test_a_ticket_that_asks_for_data_is_told_once_that_they_are_back(
    first: str, server: Server, ledger: Ledger, tmp_path: Path
) -> None:
    # given a ticket that was filed because something is not measured
    ticket_id, cause = f"N-{first}", fingerprint("no_data", "tiny", first)
    nothing = "sha256:" + "0" * 64
    stages = Stages(tmp_path, SMOOTH)
    client = await server.client()

    def tell(stream: str, event: e.Event) -> None:
        version = ledger.stream_version(stream)
        new = encode(f"{stream}/{version}", event, clock=SystemClock(), actor=HARNESS, correlation="x", cause=None)
        ledger.append([StreamWrite(stream, version, [new])])

    wanting = filed(ticket_id).model_copy(update={"source": "no_data", "fingerprint": cause})
    append(ledger, ticket_id, wanting, e.TicketAdmitted(policy="0" * 64, criteria=(), sick=(), attempts_allowed=1))
    append(ledger, ticket_id, e.AttemptStarted(attempt=1, agent="runbook", runbook=None, base="a" * 40))
    tell(cause_stream(cause), e.CauseOpened(fingerprint=cause, ticket_id=ticket_id))
    tell(signal_stream(cause), e.SignalStarted(
        kind="no_data", name=first, service="tiny", fingerprint=cause, evidence=nothing, waits=(),
    ))  # fmt: skip
    (tmp_path / "state").write_text(State.ESCALATED)
    asked = e.HelpRequested(attempt=1, exit_status="asked", question=nothing)
    async with tickets_worked(client, stages), pumping(ledger, client):
        # when a person was called and data come back, whichever is first on record
        for step in ("asked", "back") if first == "asked" else ("back", "asked"):
            if step == "asked":
                append(ledger, ticket_id, asked)
            else:
                tell(signal_stream(cause), e.SignalEnded(fingerprint=cause))
        # then it goes on without the person, and is told once
        await eventually(lambda: asyncio.sleep(0, ledger.checkpoint(NAME) == ledger.head().position))
        assert await client.get_workflow_handle(ticket_id).result() == State.RESOLVED
    assert stages.calls().count(["obey", "answer"]) == 1


async def timers(client: Client, ticket_id: str) -> list[timedelta]:
    """How long the ticket's workflow waited, or waits, each time."""
    return [
        told.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
        async for told in client.get_workflow_handle(ticket_id).fetch_history_events()
        if told.HasField("timer_started_event_attributes")
    ]
