"""Proves without a server that workflows in flight can go on under today's code: recorded histories still replay."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from workflows.agent_session import AgentSession
from workflows.node_api import NodeOrder, NodeReport
from workflows.ticket import TicketWorkflow
from workflows.watch import WatchWorkflow

HISTORIES = Path(__file__).parent / "histories"
WORKFLOWS = [TicketWorkflow, AgentSession, WatchWorkflow, NodeOrder, NodeReport]


def recorded(name: str) -> WorkflowHistory:
    return WorkflowHistory.from_json(name, (HISTORIES / f"{name}.json").read_text())


@pytest.mark.parametrize("name", sorted(path.stem for path in HISTORIES.glob("*.json")))
async def test_a_recorded_history_still_replays(name: str) -> None:
    replayer = Replayer(workflows=WORKFLOWS, data_converter=pydantic_data_converter)

    await replayer.replay_workflow(recorded(name))


def test_every_workflow_has_a_recorded_history() -> None:
    names = {path.stem for path in HISTORIES.glob("*.json")}
    kinds = {recorded(name).events[0].workflow_execution_started_event_attributes.workflow_type.name for name in names}

    assert kinds == {"TicketWorkflow", "AgentSession", "WatchWorkflow", "NodeOrder", "NodeReport"}


@workflow.defn(name="TicketWorkflow")
class ImpatientTicketWorkflow:
    """Another order of activities, as a careless change would bring it."""

    @workflow.run
    async def run(self, ticket_id: str) -> str:
        await workflow.sleep(1)
        return ticket_id


async def test_a_workflow_that_went_another_way_is_noticed() -> None:
    replayer = Replayer(workflows=[ImpatientTicketWorkflow, AgentSession], data_converter=pydantic_data_converter)

    with pytest.raises(NondeterminismError):
        await replayer.replay_workflow(recorded("ticket"))
