"""Follows the ledger for ever, page by page, and keeps how far it came. Decides nothing: ``see`` does.

When the process dies, or the ledger does not answer, the page is begun again: what ``see`` does must come to the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from harness.core.errors import Retryable
from harness.core.record import Recorded
from harness.ledger.store import Ledger

WAIT_S = 0.5
RETRY_S = 0.5
log = structlog.get_logger()


async def follow(ledger: Ledger, name: str, see: Callable[[Recorded], Awaitable[None]]) -> None:
    """Give ``see`` every event in order, from where the follower of this name was."""
    while True:
        try:
            await _from_checkpoint(ledger, name, see)
        except Retryable as error:
            log.warning("follower waits", follower=name, reason=str(error))
            await asyncio.sleep(RETRY_S)


async def _from_checkpoint(ledger: Ledger, name: str, see: Callable[[Recorded], Awaitable[None]]) -> None:
    position = await asyncio.to_thread(ledger.checkpoint, name)
    while True:
        rows = await asyncio.to_thread(ledger.read_all, after_position=position)
        if not rows:
            await asyncio.to_thread(ledger.wait_past, position, timeout_s=WAIT_S)
            continue
        for row in rows:
            await see(row)
        position = rows[-1].position
        await asyncio.to_thread(ledger.save_checkpoint, name, position)
