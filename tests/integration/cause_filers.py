"""A program of filers for the test of causes: a hundred file one at once. Touches one ledger and one folder of bodies.

``cause_filers.py LEDGER FOLDER FILERS WORDS``: as many threads of four processes as said, each with WORDS as its
evidence, and a number of its own where WORDS has ``{}``. Says on stdout which ticket each was told.
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import alembic.command  # noqa: F401 - once, and not once a child

from harness.adapters.clock import SystemClock
from harness.bootstrap import read_rules
from harness.core.signal import Signal
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger
from harness.stages.file import file

PROCESSES = 4
SEEN_AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


def filed(where: str, folder: Path, numbers: range, words: str, ready: int, go: int) -> None:
    """One process: a thread for each number, all let go at once."""
    clock, rules, start = SystemClock(), read_rules(), threading.Event()
    ledger, blobs = Ledger.open(where, now=clock.now, busy_timeout_s=30), Blobs(folder)

    def one(number: int) -> None:
        signal = Signal(
            kind="slo", name="latency", service="ratelimiter", sampled_at=SEEN_AT, began_at=SEEN_AT,
            evidence={"reason": words.format(number)},
        )  # fmt: skip
        start.wait()
        ticket = file(
            signal,
            slos=rules.slos,
            invariants=rules.invariants,
            sustained_s=10,
            policy=rules.profile.causes,
            ledger=ledger,
            blobs=blobs,
            clock=clock,
        )
        os.write(1, f"{ticket}\n".encode())

    threads = [threading.Thread(target=one, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    os.write(ready, b".")
    os.read(go, 1)
    start.set()
    for thread in threads:
        thread.join()


def main(where: str, folder: Path, filers: int, words: str) -> None:
    """Forks the processes, lets them go once all are ready, and waits for them."""
    (is_ready, ready), (go, let_go) = os.pipe(), os.pipe()
    each = filers // PROCESSES
    children = []
    for number in range(PROCESSES):
        child = os.fork()
        if child == 0:
            filed(where, folder, range(number * each, (number + 1) * each), words, ready, go)
            os._exit(0)
        children.append(child)
    for _ in children:
        os.read(is_ready, 1)
    os.write(let_go, b"." * PROCESSES)
    for child in children:
        _, status = os.waitpid(child, 0)
        if status != 0:
            raise SystemExit(f"a process of filers ended with wait status {status}")


if __name__ == "__main__":
    place, bodies, count, told = sys.argv[1:]
    main(place, Path(bodies), int(count), told)
