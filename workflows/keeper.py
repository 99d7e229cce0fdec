"""The keeper: sees that the watch and every live ticket have a workflow, also when Temporal has lost what it knew.

Holds no rule and remembers nothing. It acts when the worker begins, when the watch is gone (it never ends by itself, so
that its server has lost it), and when a stop of everything is over. A workflow that a person ended is left alone.
"""

from __future__ import annotations

import asyncio

import structlog

from harness.core.errors import Retryable
from harness.ports import Ledger, Workflows
from harness.recover import recover
from harness.stop import is_stopped

LOOK_EVERY_S = 1.0
log = structlog.get_logger()


async def look(ledger: Ledger, workflows: Workflows, was_stopped: bool = True) -> bool:
    """Begin what is missing where something may be; whether everything is stopped, for the next look."""
    stopped = is_stopped(ledger)
    if (was_stopped and not stopped) or not await workflows.watch_runs():
        found = await recover(ledger, workflows)
        if found.begun or found.watch == "begun":
            log.warning("keeper began anew what Temporal did not run", tickets=found.begun, watch=found.watch)
    return stopped


async def keep(ledger: Ledger, workflows: Workflows, was_stopped: bool) -> None:
    """Look for ever."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            was_stopped = await look(ledger, workflows, was_stopped)
        except Retryable as error:
            log.warning("keeper waits", reason=str(error))
