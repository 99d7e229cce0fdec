"""A node's process: a Temporal worker on ``node-<name>`` around the agent that keeps its releases. A process edge."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from datetime import timedelta

import structlog
from temporalio.worker import Worker

from harness.adapters.logs import log_without
from harness.adapters.temporal import connect, node_queue
from harness.bootstrap import build_node
from harness.core.errors import HarnessError
from harness.settings import Settings
from workflows.edge import HEARTBEATS_TOLD_EVERY
from workflows.node_api import NodeActivities, NodeOrder, NodeReport
from workflows.worker import STICKY_TIMEOUT, until_stopped


async def run(name: str) -> None:
    """Keep the node's releases, and answer orders, until TERM or INT. Releases outlive this process."""
    settings = Settings.load()
    log_without(settings.secrets)
    agent = build_node(settings, name)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client, _ = await asyncio.gather(
        connect(settings.temporal_address, settings.temporal_namespace, settings.secrets), agent.resume()
    )
    activities = NodeActivities(agent)
    watching = asyncio.create_task(agent.watch())
    worker = Worker(
        client, task_queue=node_queue(name), workflows=[NodeOrder, NodeReport],
        activities=[activities.order, activities.report], sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        graceful_shutdown_timeout=timedelta(seconds=1), max_heartbeat_throttle_interval=HEARTBEATS_TOLD_EVERY,
    )  # fmt: skip
    async with worker:
        settings.announce_ready(f"node-{name}")
        await until_stopped(stop, watching)


def main() -> int:
    """Process edge: an error that we know is one line, not a traceback."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    name = parser.parse_args().name
    try:
        asyncio.run(run(name))
    except HarnessError as error:
        structlog.get_logger().error("node stops", node=name, reason=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
