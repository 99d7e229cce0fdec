"""The API of a node: an order is done once per key, a report is read. Workflows on the node's own task queue.

Anyone with a Temporal client may call them, the harness or another hand; the node keeps who it was.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from harness.adapters.node.agent import NodeAgent
    from harness.core import deployment
    from workflows.edge import HEARTBEAT_TIMEOUT, RETRY, at_the_edge

SCHEDULE_TO_START = timedelta(seconds=5)


@workflow.defn(name="NodeOrder")
class NodeOrder:
    """One order, once: the workflow's id is the order's key."""

    @workflow.run
    async def run(self, order: deployment.NodeOrder) -> deployment.NodeAnswer:
        """What the node did."""
        answer: deployment.NodeAnswer = await workflow.execute_activity(
            "node_order", order, result_type=deployment.NodeAnswer, retry_policy=RETRY,
            start_to_close_timeout=timedelta(seconds=90), heartbeat_timeout=HEARTBEAT_TIMEOUT,
        )  # fmt: skip
        return answer


@workflow.defn(name="NodeReport")
class NodeReport:
    """The node's account of itself."""

    @workflow.run
    async def run(self) -> deployment.NodeReport:
        """Releases, health, CPU, memory and GPUs of the node, now."""
        report: deployment.NodeReport = await workflow.execute_activity(
            "node_report", result_type=deployment.NodeReport, retry_policy=RETRY,
            schedule_to_start_timeout=SCHEDULE_TO_START, start_to_close_timeout=timedelta(seconds=5),
        )  # fmt: skip
        return report


class NodeActivities:
    """The shell around a node's agent."""

    def __init__(self, agent: NodeAgent) -> None:
        self._agent = agent

    @activity.defn(name="node_order")
    async def order(self, order: deployment.NodeOrder) -> deployment.NodeAnswer:
        """Do one order."""
        async with at_the_edge():
            return await self._agent.obey(order)

    @activity.defn(name="node_report")
    async def report(self) -> deployment.NodeReport:
        """Read the node."""
        async with at_the_edge():
            return await self._agent.report()
