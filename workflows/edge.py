"""The edge between the harness and Temporal: errors by name, heartbeats while a stage waits. No rule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from harness.core.errors import Broken, HarnessError, Refused, Retryable

HEARTBEAT_EVERY_S = 0.5
HEARTBEATS_TOLD_EVERY = timedelta(seconds=HEARTBEAT_EVERY_S)
"""A worker has to be told so: by itself it holds heartbeats back for 0.8 of their timeout, so that the server hears one
every 1.6 s, and a stall of 0.4 s takes a living stage for a dead one."""
LONGEST_WAIT_S = 600.0
"""The longest wait that the world may ask for before the next try."""
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
        asked_s = error.retry_after_s if isinstance(error, Retryable) else None
        raise ApplicationError(
            str(error), type=type(error).__name__, non_retryable=final,
            next_retry_delay=timedelta(seconds=min(asked_s, LONGEST_WAIT_S)) if asked_s is not None else None,
        ) from error  # fmt: skip
    finally:
        pulse.cancel()


async def _beat() -> None:
    """A local activity has nobody to tell: it is missed when its workflow task is."""
    while not activity.info().is_local:
        activity.heartbeat()
        await asyncio.sleep(HEARTBEAT_EVERY_S)
