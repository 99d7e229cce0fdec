"""The harness's worker process: workflows of tickets and the watch, activities, pump and other followers. An edge."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta

import structlog
from prometheus_client import start_http_server
from temporalio.worker import Worker

from harness.adapters.logs import log_without
from harness.adapters.stack.addresses import LOOPBACK
from harness.adapters.temporal import HARNESS_QUEUE, TemporalWorkflows, connect
from harness.bootstrap import build_harness, build_webhooks
from harness.core.errors import HarnessError
from harness.settings import Settings
from workflows.activities import Activities
from workflows.agent_session import AgentSession
from workflows.edge import HEARTBEATS_TOLD_EVERY
from workflows.family import NAME as FAMILY
from workflows.family import Family
from workflows.follow import follow
from workflows.keeper import keep, look
from workflows.notifier import Notifier
from workflows.pump import pump
from workflows.ticket import TicketWorkflow
from workflows.watch import WatchWorkflow

STICKY_TIMEOUT = timedelta(seconds=1)
"""A killed worker's sticky queue is given up after this; the default costs 10 s."""


async def run() -> None:
    """Work until TERM or INT."""
    settings = Settings.load()
    log_without(settings.secrets)
    client = await connect(settings.temporal_address, settings.temporal_namespace, settings.secrets)
    harness = build_harness(settings, client)
    activities = Activities(harness)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    worker = Worker(
        client, task_queue=HARNESS_QUEUE, workflows=[TicketWorkflow, AgentSession, WatchWorkflow],
        activities=[
            activities.look, activities.escalate, activities.admit, activities.begin_attempt, activities.think,
            activities.ask, activities.act, activities.give_up, activities.test, activities.canary, activities.deploy,
            activities.verify, activities.rest, activities.open_window, activities.obey, activities.watch_tick,
        ],
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT, graceful_shutdown_timeout=timedelta(seconds=1),
        max_heartbeat_throttle_interval=HEARTBEATS_TOLD_EVERY,
    )  # fmt: skip
    async with worker:
        ledger, workflows = harness.record.ledger, TemporalWorkflows(client)
        keeper = asyncio.create_task(keep(ledger, workflows, await look(ledger, workflows)))
        follower = asyncio.create_task(pump(ledger, client))
        family = Family(client, ledger=ledger, blobs=harness.record.blobs, clock=harness.record.clock)
        passing = asyncio.create_task(follow(ledger, FAMILY, family.see))
        notifiers = [
            Notifier(
                receiver, webhook, ledger=ledger, blobs=harness.record.blobs, clock=harness.record.clock,
                give_up_after_s=harness.rules.notifications.give_up_after_s,
            )
            for receiver, webhook in build_webhooks(harness.rules.notifications.receivers)
        ]  # fmt: skip
        telling = [asyncio.create_task(follow(ledger, one.name, one.see)) for one in notifiers]
        preparing = asyncio.create_task(harness.checks.prepare())
        start_http_server(settings.addresses.ports["worker_metrics"], addr=LOOPBACK)
        settings.announce_ready("worker")
        await until_stopped(stop, follower, passing, keeper, *telling)
        preparing.cancel()


async def until_stopped(stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
    """Return when asked to stop; raise what ended a task: they are meant to run for ever."""
    await asyncio.wait({*tasks, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()


def main() -> int:
    """Process edge: an error that we know is one line, not a traceback."""
    try:
        asyncio.run(run())
    except HarnessError as error:
        structlog.get_logger().error("worker stops", reason=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
