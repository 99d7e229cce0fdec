"""A program of followers for the tests of projections: they fold one ledger that grows, and are killed all the time.

``projection_followers.py LEDGER KILLS SEED`` appends a history by chance, bit by bit, while one pair of followers after
another folds it; each pair is killed with SIGKILL at a moment that the seed decides. Says on stdout in how many lives
something was stored, and how many ended in the middle of the work. Touches only that ledger.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import closing
from itertools import islice
from pathlib import Path
from random import Random

from harness.core.errors import Retryable
from harness.ledger.store import Ledger
from harness.projector import TICKETS, follow
from harness.simulation.lives import BEGAN_AT, history

FOLLOWERS = 2
AT_ONCE = 4
MOST_EVENTS_A_LIFE = 25
LONGEST_DELAY_S = 0.004


def killed(path: Path, kills: int, seed: int) -> tuple[int, int]:
    """In how many of so many lives something was stored, and how many ended with events that were not folded yet."""
    chance, stored, behind, before = Random(seed), 0, 0, 0
    writes = history(Random(seed), events=kills * MOST_EVENTS_A_LIFE, at_once=AT_ONCE)
    for _ in range(kills):
        children = [begun(path) for _ in range(FOLLOWERS)]
        with closing(Ledger.open(path, now=lambda: BEGAN_AT)) as ledger:
            for write in islice(writes, chance.randint(1, MOST_EVENTS_A_LIFE)):
                ledger.append([write])
            time.sleep(chance.uniform(0.0, LONGEST_DELAY_S))
            for child in children:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                if not os.WIFSIGNALED(status):
                    raise SystemExit(f"a follower ended by itself, with wait status {status}")
            after, head = reached(ledger), ledger.head().position
        stored, behind, before = stored + (after > before), behind + (after < head), after
    return stored, behind


def reached(ledger: Ledger) -> int:
    """How far the tickets are folded; all projections go together."""
    kept = ledger.projected([TICKETS.name], keys=())
    return kept[TICKETS.name].progress.position if kept else 0


def begun(path: Path) -> int:
    """A process that follows for ever."""
    child = os.fork()
    if child == 0:
        ledger = Ledger.open(path, now=lambda: BEGAN_AT)
        while True:
            try:
                follow(ledger)
            except Retryable:
                continue
    return child


if __name__ == "__main__":
    place, count, number = sys.argv[1:]
    print(*killed(Path(place), int(count), int(number)))
