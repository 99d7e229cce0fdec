"""A program of processes that put, collect and forget in one home, for the tests of blobs. Touches only that home.

``blob_keepers.py write HOME SEED`` puts old bodies again and appends events that refer to them.
``blob_keepers.py collect HOME TIMES`` collects in child processes and kills all but the last with SIGKILL; it says how
many files went.
``blob_keepers.py forget HOME REF`` is killed with SIGKILL right after the drop was recorded.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

from harness.adapters.clock import SystemClock
from harness.core.events import SignalAttached
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.retention import Retention
from harness.ledger.blobs import Blobs
from harness.ledger.bodies import drop_of
from harness.ledger.collect import collect, forget
from harness.ledger.store import Ledger

CLOCK = SystemClock()
POLICY = Retention.parse({"unreferenced": "1h"}, "retention.yaml")
LONGEST_LIFE_S = 0.15


class Killed(Ledger):
    """A ledger whose process is killed as soon as something is recorded."""

    def append(self, writes: Sequence[StreamWrite]) -> list[Recorded]:
        super().append(writes)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("not reached")


def blobs_of(home: Path, ledger: Ledger) -> Blobs:
    return Blobs(home / "blobs", drops=partial(drop_of, ledger))


def write(home: Path, seed: int) -> None:
    ledger = Ledger.open(home / "ledger.db", now=CLOCK.now)
    blobs, chance = blobs_of(home, ledger), random.Random(seed)
    for number in chance.sample(range(80), 20):
        ref = blobs.put_json({"text": f"body {number}"})
        data = SignalAttached(fingerprint="c", ticket_id="INF-1", evidence=ref).model_dump(mode="json")
        event = NewEvent(id=str(uuid4()), type="SignalAttached", data=data, actor="harness", occurred_at=CLOCK.now())
        ledger.append([StreamWrite("cause-c", None, [event])])


def collecting(home: Path, times: int) -> None:
    before = len(list((home / "blobs").glob("??/*")))
    chance = random.Random(20260301)
    for number in range(times):
        child = os.fork()
        if child == 0:
            ledger = Ledger.open(home / "ledger.db", now=CLOCK.now)
            collect(ledger, blobs_of(home, ledger), CLOCK, POLICY, dry_run=False)
            os._exit(0)
        if number < times - 1:  # the last one comes to its end
            time.sleep(chance.uniform(0.0, LONGEST_LIFE_S))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    print(before - len(list((home / "blobs").glob("??/*"))))


def forgetting(home: Path, ref: str) -> None:
    ledger = Killed.open(home / "ledger.db", now=CLOCK.now)
    forget(ledger, blobs_of(home, ledger), CLOCK, ref, why="it holds a token", by="ada")


if __name__ == "__main__":
    what, where, detail = sys.argv[1:]
    if what == "forget":
        forgetting(Path(where), detail)
    else:
        {"write": write, "collect": collecting}[what](Path(where), int(detail))
