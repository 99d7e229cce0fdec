"""A program of notifiers for the tests of notices: two tell one receiver, and are killed all the time.

``killed_notifiers.py LEDGER URL KILLS SEED``: one pair after the other follows the ledger, each killed with SIGKILL at
a moment that the seed decides. Says on stdout how many lives ended before all was told. Touches only that ledger and
that address.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from random import Random

import structlog

from harness.adapters.clock import SystemClock
from harness.adapters.webhook import Webhook
from harness.ledger.store import Ledger
from harness.simulation.ledger import MemoryBlobs
from tests.integration.notices import PEOPLE, Hurried, handled
from tests.webhooks import SECRET
from workflows.follow import follow
from workflows.notifier import Notifier

NOTIFIERS = 2
LONGEST_LIFE_S = 0.25


def killed(path: Path, url: str, kills: int, seed: int) -> int:
    """How many lives ended before everything was told."""
    chance, early = Random(seed), 0
    for _ in range(kills):
        children = [begun(path, url) for _ in range(NOTIFIERS)]
        time.sleep(chance.uniform(0.0, LONGEST_LIFE_S))
        for child in children:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                raise SystemExit(f"a notifier ended by itself, with wait status {status}")
        with closing(Ledger.open(path, now=SystemClock().now)) as ledger:
            early += not handled(ledger)
    return early


def begun(path: Path, url: str) -> int:
    """A process that tells for ever."""
    child = os.fork()
    if child == 0:
        ledger = Ledger.open(path, now=SystemClock().now)
        notifier = Notifier(
            PEOPLE, Webhook(url, SECRET), ledger=ledger, blobs=MemoryBlobs(), clock=Hurried(), give_up_after_s=1e9
        )
        asyncio.run(follow(ledger, notifier.name, notifier.see))
    return child


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    place, address, count, number = sys.argv[1:]
    print(killed(Path(place), address, int(count), int(number)))
