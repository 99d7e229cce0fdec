"""The gateway to Temporal: orders to nodes, starts of ticket workflows. The only place of harness/ that speaks to it.

An order is a workflow on the node's own task queue whose id is the order's key: starting it twice attaches to the
first, so that an order has one effect however often its sender dies.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import orjson
from temporalio.api.common import v1 as common_pb
from temporalio.api.failure import v1 as failure_pb
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverter, PayloadCodec, PayloadConverter
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from harness.core.command import Command
from harness.core.deployment import NodeAnswer, NodeOrder, NodeReport
from harness.core.errors import KINDS, Broken, Retryable
from harness.core.redaction import Secrets

__all__ = ["HARNESS_QUEUE", "Client", "TemporalNodes", "TemporalWorkflows", "connect", "node_queue", "start_ticket",
           "tell_ticket", "wake_ticket"]  # fmt: skip

HARNESS_QUEUE = "harness"
WATCH = "watch"
"""The id of the watch's workflow."""
ORDER_TIMEOUT = timedelta(seconds=120)
REPORT_TIMEOUT = timedelta(seconds=5)
PICK_UP_TIMEOUT = timedelta(seconds=5)
"""A node that runs picks its order up within milliseconds; one that does not is named after this."""
TAKEN_UP_TIMEOUT = timedelta(seconds=15)
SAFE_POINT_TIMEOUT = timedelta(minutes=4)
"""A stage that must not be broken off comes to its end, and what is half done is taken back, well within this."""
STARTED_EVENTS = 3
"""Started, task scheduled, task started: a history as long as this was picked up by a worker."""


def node_queue(name: str) -> str:
    """The task queue of a node."""
    return f"node-{name}"


async def connect(address: str, namespace: str, secrets: Secrets) -> Client:
    """A client that sends no secret; Retryable when the server is not reachable."""
    try:
        return await Client.connect(address, namespace=namespace, data_converter=_without(secrets))
    except RuntimeError as error:
        raise Retryable(f"Temporal at {address} is not reachable ({error}); start it with `harness up`") from None


def _without(secrets: Secrets) -> DataConverter:
    """What goes to the server stays in its file: values, and what an error says with its traceback."""

    class Failures(DefaultFailureConverter):
        def to_failure(
            self, exception: BaseException, payload_converter: PayloadConverter, failure: failure_pb.Failure
        ) -> None:  # fmt: skip
            super().to_failure(exception, payload_converter, failure)
            failure.message = secrets.taken_from_text(failure.message)[0]
            failure.stack_trace = secrets.taken_from_text(failure.stack_trace)[0]

    return replace(pydantic_data_converter, payload_codec=_Door(secrets), failure_converter_class=Failures)


class _Door(PayloadCodec):
    """Takes secrets out of the JSON that is sent; what comes is left as it is."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def encode(self, payloads: Sequence[common_pb.Payload]) -> list[common_pb.Payload]:
        return [self._clean(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[common_pb.Payload]) -> list[common_pb.Payload]:
        return list(payloads)

    def _clean(self, payload: common_pb.Payload) -> common_pb.Payload:
        if payload.metadata.get("encoding") != b"json/plain":
            return payload
        clean, found = self._secrets.taken_from(orjson.loads(payload.data))
        return common_pb.Payload(metadata=payload.metadata, data=orjson.dumps(clean)) if found else payload


class TemporalNodes:
    """The fleet, reached through the nodes' task queues; ``fleet`` says which nodes there are now."""

    def __init__(
        self, client: Client, fleet: Callable[[], tuple[str, ...]], *, order_timeout: timedelta = ORDER_TIMEOUT,
        pick_up_timeout: timedelta = PICK_UP_TIMEOUT, report_timeout: timedelta = REPORT_TIMEOUT,
    ) -> None:  # fmt: skip
        self._client = client
        self._fleet = fleet
        self._order_timeout = order_timeout
        self._pick_up_timeout = pick_up_timeout
        self._report_timeout = report_timeout

    def names(self) -> tuple[str, ...]:
        """The nodes, in the order of failure domains."""
        return self._fleet()

    async def order(self, node: str, order: NodeOrder) -> NodeAnswer:
        """Have a node do one thing; the same key again gives the first answer, or tries anew what failed.

        Raises what the node raised; Retryable when the node does not pick the order up, or does not finish it, in
        time. An order that was not picked up stays in the queue: the node does it when it is back, or refuses it if a
        newer token has been there meanwhile.
        """
        what = f"node {node}, order {order.key}"
        try:
            handle = await self._client.start_workflow(
                "NodeOrder", order, id=f"{node}/{order.key}", task_queue=node_queue(node), result_type=NodeAnswer,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                execution_timeout=self._order_timeout,
            )  # fmt: skip
        except WorkflowAlreadyStartedError:
            handle = self._client.get_workflow_handle(f"{node}/{order.key}", result_type=NodeAnswer)
        except RPCError as error:
            raise Retryable(f"node {node}: Temporal did not take the order {order.key} ({error})") from None
        try:
            async with asyncio.timeout(self._pick_up_timeout.total_seconds()):
                return await _result(handle.result(), what)
        except builtins.TimeoutError:
            await _require_picked_up(handle, what)
        return await _result(handle.result(), what)

    async def report(self, node: str) -> NodeReport:
        """The node's account of itself."""
        work = self._client.execute_workflow(
            "NodeReport", id=f"report-{node}", task_queue=node_queue(node), result_type=NodeReport,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE, execution_timeout=self._report_timeout,
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


async def wake_ticket(client: Client, ticket_id: str) -> None:
    """Have a ticket that waits look again whether it still has to. Nothing where no workflow runs: one that is begun
    looks anyway. Raises Retryable when Temporal is away."""
    try:
        await client.get_workflow_handle(ticket_id).signal("wake")
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise Retryable(f"ticket {ticket_id}: Temporal did not wake its workflow ({error})") from None


async def tell_ticket(
    client: Client, ticket_id: str, command: Command, safe_point_within: timedelta = SAFE_POINT_TIMEOUT
) -> str:
    """Tell a live ticket something, by an update of its workflow; the state that it is in then.

    A workflow that is not there (its Temporal was lost) is begun: it goes on from the ledger. The same request again
    gives the first answer. Raises what the ticket's life or the way back refuses, Retryable when Temporal is away.
    """
    begin: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "TicketWorkflow", ticket_id, id=ticket_id, task_queue=HARNESS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    )  # fmt: skip
    what = f"{command.verb} {ticket_id}"
    try:
        async with asyncio.timeout(TAKEN_UP_TIMEOUT.total_seconds()):
            handle = await client.start_update_with_start_workflow(
                "tell", command, start_workflow_operation=begin, id=command.request, result_type=str,
                wait_for_stage=WorkflowUpdateStage.ACCEPTED,
            )  # fmt: skip
        return str(await _outcome(handle, safe_point_within))
    except builtins.TimeoutError:
        raise Retryable(
            f"{what}: the worker did not do it in time; `harness status` tells whether it runs. It is not forgotten: "
            "it is done at the ticket's next safe point"
        ) from None
    except WorkflowUpdateFailedError as failure:
        cause = failure.cause
        if isinstance(cause, ApplicationError) and cause.type in KINDS:
            raise KINDS[cause.type](cause.message) from None
        raise Broken(f"{what}: {cause}") from None
    except (WorkflowUpdateRPCTimeoutOrCancelledError, RPCError) as error:
        raise Retryable(f"{what}: Temporal or the worker did not answer ({error}); `harness up` starts them") from None


async def _outcome(update: WorkflowUpdateHandle[Any], timeout: timedelta) -> Any:
    """What an update came to. Raises TimeoutError when it takes longer: the client tells of that as of a server that
    is away."""
    limit = asyncio.timeout(timeout.total_seconds())
    try:
        async with limit:
            return await update.result()
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        if limit.expired():
            raise builtins.TimeoutError from None
        raise


class TemporalWorkflows:
    """The workflows of tickets and of the watch, begun where none runs; of two who begin one, the server lets one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def begin_ticket(self, ticket_id: str) -> bool:
        """The ticket's workflow, which goes on from the ledger."""
        return await self._begin("TicketWorkflow", ticket_id, ticket_id)

    async def begin_watch(self) -> bool:
        """The watch, which remembers nothing then."""
        return await self._begin("WatchWorkflow", WATCH)

    async def watch_runs(self) -> bool:
        """By the server's own account, which a worker that is away does not change."""
        try:
            seen = await self._client.get_workflow_handle(WATCH).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise Retryable(f"the watch: Temporal does not tell whether it runs ({error})") from None
        return seen.status is WorkflowExecutionStatus.RUNNING

    async def _begin(self, workflow: str, name: str, *arguments: str) -> bool:
        try:
            await self._client.start_workflow(
                workflow, args=arguments, id=name, task_queue=HARNESS_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL, id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            )  # fmt: skip
        except WorkflowAlreadyStartedError:
            return False
        except RPCError as error:
            raise Retryable(f"{name}: Temporal did not start its workflow ({error}); `harness up` starts it") from None
        return True


T = TypeVar("T")


async def _require_picked_up(handle: WorkflowHandle[Any, Any], what: str) -> None:
    try:
        seen = await handle.describe()
    except RPCError as error:
        raise Retryable(f"{what}: Temporal is not reachable ({error}); `harness up` starts it") from None
    if seen.history_length < STARTED_EVENTS:
        raise Retryable(f"{what}: the node does not pick it up; `harness status` tells whether it runs")


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
