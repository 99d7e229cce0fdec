"""Records histories of the workflows as they are now, from a real Temporal server, for the test beside. Run by people.

    python -m tests.replay.record

Record anew when a workflow was changed on purpose such that old histories don't replay, and no such history is alive:
a change that has to live beside histories in flight needs ``workflow.patched`` instead.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from harness.adapters.temporal import TemporalNodes, TemporalWorkflows, start_ticket, tell_ticket
from harness.core.command import Command
from harness.core.errors import Broken, Retryable
from harness.core.lifecycle import State
from tests.integration.temporal_world import SMOOTH, Stages, eventually, left, serving, tickets_worked
from tests.integration.test_temporal_gateway import Agent, node, order
from tests.integration.test_workflows import Watched, watching

HISTORIES = Path(__file__).parent / "histories"
TROUBLED = SMOOTH | {
    "test": [State.WORKING, Retryable("the sandbox is busy"), State.CANARYING],
    "deploy": [Broken("main is gone"), State.VERIFYING],
}


async def save(client: Client, workflow_id: str, name: str) -> None:
    """Write the history, without the stack traces: they hold paths of the machine that it was recorded on."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    document = _without(history.to_json_dict(), {"stackTrace"})
    (HISTORIES / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(f"{name}: {len(history.events)} events")


def _without(document: object, names: set[str]) -> object:
    if isinstance(document, dict):
        return {key: _without(value, names) for key, value in document.items() if key not in names}
    if isinstance(document, list):
        return [_without(value, names) for value in document]
    return document


async def record_tickets(client: Client) -> None:
    """One ticket on a smooth way; one with a failed check, a retry and a stage that breaks, which people then tell
    something; the session of each."""
    for ticket_id, script in {"ticket": SMOOTH, "troubled-ticket": TROUBLED}.items():
        with tempfile.TemporaryDirectory() as folder:
            stages = Stages(Path(folder), script)
            async with tickets_worked(client, stages):
                await start_ticket(client, ticket_id)
                if await left(client, ticket_id, stages) is State.ESCALATED:
                    for verb in ("pause", "resume", "answer"):
                        command = Command(verb=verb, request=f"recorded-{verb}", by="recorder")
                        await tell_ticket(client, ticket_id, command)
                await client.get_workflow_handle(ticket_id).result()
        await save(client, ticket_id, ticket_id)
    session = await anext(client.list_workflows("WorkflowType = 'AgentSession'"))
    await save(client, session.id, "session")
    with tempfile.TemporaryDirectory() as folder:
        async with tickets_worked(client, Stages(Path(folder), SMOOTH, ends_at=99)):
            await client.execute_workflow("AgentSession", "limited", id="limited-session", task_queue="harness")
    await save(client, "limited-session", "limited-session")


async def record_nodes(client: Client) -> None:
    """An order that is done at its second try, and a report."""
    async with node(client, Agent("n1", Retryable("uv does not answer"))):
        nodes = TemporalNodes(client, lambda: ("n1",))
        await nodes.order("n1", order("INF-1/1/deploy/n1"))
        await nodes.report("n1")
    await save(client, "n1/INF-1/1/deploy/n1", "order")
    await save(client, "report-n1", "report")


async def record_watch(client: Client) -> None:
    """The first ticks of a watch, one of them broken."""
    watched = Watched(3)
    async with watching(client, watched):
        await TemporalWorkflows(client).begin_watch()
        await eventually(lambda: asyncio.sleep(0, len(watched.memories) >= 5))
    await save(client, "watch", "watch")


async def main() -> None:
    """Record everything anew."""
    HISTORIES.mkdir(exist_ok=True)
    with serving() as server:
        client = await Client.connect(server.address, data_converter=pydantic_data_converter, identity="recorder")
        await record_tickets(client)
        await record_nodes(client)
        await record_watch(client)


if __name__ == "__main__":
    asyncio.run(main())
