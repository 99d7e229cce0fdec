"""A follower outlives a ledger that does not answer for a while, and begins its page again."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from harness.adapters.clock import SystemClock
from harness.core.record import Recorded
from harness.ledger.store import Ledger
from tests.integration.notices import lived, rows
from workflows.follow import follow


async def test_a_ledger_that_another_writer_holds_makes_a_follower_wait_and_not_end(tmp_path: Path) -> None:
    path, seen = tmp_path / "l.db", list[int]()

    async def see(row: Recorded) -> None:
        seen.append(row.position)

    with closing(Ledger.open(path, now=SystemClock().now, busy_timeout_s=0.05)) as ledger:
        lived(ledger, events=20, seed=1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            following = asyncio.create_task(follow(ledger, "somebody", see))
            async with asyncio.timeout(30):
                while len(seen) < 2 * len(rows(ledger)) and not following.done():
                    await asyncio.sleep(0.01)
            # then it has begun the page again, for how far it came could not be kept
            assert not following.done() and seen[:20] == seen[20:40]
            assert ledger.checkpoint("somebody") == 0
            other.execute("ROLLBACK")

        async with asyncio.timeout(30):
            while ledger.checkpoint("somebody") < 20 and not following.done():
                await asyncio.sleep(0.01)
        assert ledger.checkpoint("somebody") == 20
        following.cancel()
