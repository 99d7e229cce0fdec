"""The edge between the harness and Temporal: errors by name, heartbeats while a stage waits. No rule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from harness.core.errors import Broken, HarnessError, Refused

HEARTBEAT_EVERY_S = 0.5
HEARTBEAT_TIMEOUT = timedelta(seconds=2)
"""A worker that was killed is noticed after this; its activity goes on elsewhere from the ledger."""

RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=1.5, maximum_interval=timedelta(seconds=5)
)


@asynccontextmanager
async def at_the_edge() -> AsyncIterator[None]:
    """Heartbeat while the body runs; what it refuses or breaks on is not retried, everything else is."""
    pulse = asyncio.create_task(_beat())
    try:
        yield
    except HarnessError as error:
        final = isinstance(error, Refused | Broken)
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=final) from error
    finally:
        pulse.cancel()


async def _beat() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(HEARTBEAT_EVERY_S)
