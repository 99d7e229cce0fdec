"""A program of writers for the durability tests: it says on stdout what was acknowledged, and touches only one ledger.

``ledger_writers.py together LEDGER WRITERS APPENDS`` (a path or URL) has several processes append at once.
``ledger_writers.py killed LEDGER TIMES SEED`` lets a writer append and kills it with SIGKILL, again and again.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from datetime import UTC, datetime
from uuid import uuid4

import alembic.command  # noqa: F401 - once, and not once a child

from harness.core.record import NewEvent, StreamWrite
from harness.ledger.store import Ledger

LONGEST_LIFE_S = 0.06


def now() -> datetime:
    return datetime.now(UTC)


def append_once(ledger: Ledger, writer: str) -> None:
    """Appends two events to a stream of one's own and one to a shared one, then says so in a single write."""
    told = [
        NewEvent(id=str(uuid4()), type="Written", data={"by": writer}, actor="harness", occurred_at=now())
        for _ in range(3)
    ]
    recorded = ledger.append([StreamWrite(f"writer-{writer}", None, told[:2]), StreamWrite("shared", None, told[2:])])
    os.write(1, "".join(f"{one.position} {one.id} {one.hash}\n" for one in recorded).encode())


def together(where: str, writers: int, appends: int) -> None:
    """Forks the writers, each with a ledger of its own, and waits for all."""
    children = []
    for number in range(writers):
        child = os.fork()
        if child == 0:
            ledger = Ledger.open(where, now=now)
            for _ in range(appends):
                append_once(ledger, str(number))
            os._exit(0)
        children.append(child)
    for child in children:
        _, status = os.waitpid(child, 0)
        if status != 0:
            raise SystemExit(f"a writer ended with wait status {status}")


def killed(where: str, times: int, seed: int) -> None:
    """Forks one writer after another and kills each at a moment that the seed decides, every second one as it opens."""
    chance = random.Random(seed)
    making = os.fork()
    if making == 0:  # which takes longer than most of the others live
        Ledger.open(where, now=now)
        os._exit(0)
    os.waitpid(making, 0)
    for number in range(times):
        opened, has_opened = os.pipe()
        child = os.fork()
        if child == 0:
            ledger = Ledger.open(where, now=now)
            os.write(has_opened, b".")
            while True:
                append_once(ledger, str(number))
        os.close(has_opened)
        if number % 2:
            os.read(opened, 1)
        os.close(opened)
        time.sleep(chance.uniform(0.0, LONGEST_LIFE_S))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    what, where, count, detail = sys.argv[1:]
    {"together": together, "killed": killed}[what](where, int(count), int(detail))
