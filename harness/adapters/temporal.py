"""The gateway to Temporal: orders to nodes, starts of ticket workflows. The only place of harness/ that speaks to it.

An order is a workflow on the node's own task queue whose id is the order's key: starting it twice attaches to the
first, so that an order has one effect however often its sender dies.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, WorkflowAlreadyStartedError
from temporalio.service import RPCError

from harness.core.deployment import NodeAnswer, NodeOrder, NodeReport
from harness.core.errors import Broken, Forbidden, HarnessError, Invalid, Refused, Retryable

__all__ = ["HARNESS_QUEUE", "Client", "TemporalNodes", "connect", "node_queue", "start_ticket", "start_watch"]

HARNESS_QUEUE = "harness"
ORDER_TIMEOUT = timedelta(seconds=120)
REPORT_TIMEOUT = timedelta(seconds=5)


def node_queue(name: str) -> str:
    """The task queue of a node."""
    return f"node-{name}"


async def connect(address: str, namespace: str) -> Client:
    """A client; Retryable when the server is not reachable."""
    try:
        return await Client.connect(address, namespace=namespace, data_converter=pydantic_data_converter)
    except RuntimeError as error:
        raise Retryable(f"Temporal at {address} is not reachable ({error}); start it with `harness up`") from None


class TemporalNodes:
    """The fleet, reached through the nodes' task queues."""

    def __init__(self, client: Client, names: tuple[str, ...]) -> None:
        self._client = client
        self._names = names

    def names(self) -> tuple[str, ...]:
        """The nodes, in the order of failure domains."""
        return self._names

    async def order(self, node: str, order: NodeOrder) -> NodeAnswer:
        """Have a node do one thing; the same key again gives the first answer."""
        try:
            handle = await self._client.start_workflow(
                "NodeOrder", order, id=f"{node}/{order.key}", task_queue=node_queue(node), result_type=NodeAnswer,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY, execution_timeout=ORDER_TIMEOUT,
            )  # fmt: skip
        except WorkflowAlreadyStartedError:
            handle = self._client.get_workflow_handle(f"{node}/{order.key}", result_type=NodeAnswer)
        except RPCError as error:
            raise Retryable(f"node {node}: Temporal did not take the order {order.key} ({error})") from None
        return await _result(handle.result(), f"node {node}, order {order.key}")

    async def report(self, node: str) -> NodeReport:
        """The node's account of itself."""
        work = self._client.execute_workflow(
            "NodeReport", id=f"report-{node}", task_queue=node_queue(node), result_type=NodeReport,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE, execution_timeout=REPORT_TIMEOUT,
        )  # fmt: skip
        return await _result(work, f"node {node}, report")


async def start_ticket(client: Client, ticket_id: str) -> None:
    """Start the workflow of a ticket; one that runs or ran is left as it is."""
    try:
        await client.start_workflow(
            "TicketWorkflow", ticket_id, id=ticket_id, task_queue=HARNESS_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )  # fmt: skip
    except WorkflowAlreadyStartedError:
        return
    except RPCError as error:
        raise Retryable(f"ticket {ticket_id}: Temporal did not start its workflow ({error})") from None


async def start_watch(client: Client) -> None:
    """Start the watch; the one that runs is left as it is."""
    await client.start_workflow(
        "WatchWorkflow", id="watch", task_queue=HARNESS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    )  # fmt: skip


KINDS: dict[str, type[HarnessError]] = {
    kind.__name__: kind for kind in (Refused, Invalid, Forbidden, Retryable, Broken)
}
"""Errors by the name under which they travel through Temporal."""


T = TypeVar("T")


async def _result(work: Awaitable[T], what: str) -> T:
    """The result; a node's own error comes back as the harness error that it was, silence as Retryable."""
    try:
        return await work
    except WorkflowFailureError as failure:
        cause: BaseException | None = failure.cause
        while isinstance(cause, ActivityError):
            cause = cause.cause
        if isinstance(cause, ApplicationError) and cause.type in KINDS:
            raise KINDS[cause.type](f"{what}: {cause.message}") from None
        if isinstance(cause, TimeoutError):
            raise Retryable(f"{what}: no answer in time; `harness status` tells whether the node runs") from None
        raise Broken(f"{what}: {cause}") from None
    except RPCError as error:
        raise Retryable(f"{what}: Temporal is not reachable ({error}); `harness up` starts it") from None
