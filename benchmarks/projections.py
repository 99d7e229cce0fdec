"""How fast a ledger is folded into projections, beside what reading it alone takes in the same run.

``python -m benchmarks.projections [EVENTS]`` plays one incident on the modelled world and copies its events under new
tickets until there are so many, in a ledger in a folder of its own. Every figure is events for a second of the
processor, as a machine may be shared; ratios count. Touches nothing else.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson

from harness.core.ids import event_id
from harness.core.projections.projection import Projection
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.ledger.store import Ledger
from harness.projector import ALL, PAGE, follow, rebuild
from harness.simulation.clock import START, run
from tests.simulation.histories import repaired_at_the_second_try

GOAL = 200_000
ROUNDS = 3
NEW_EVENTS = 100


def main(events: int) -> None:
    """Prints the table."""
    operations = run(repaired_at_the_second_try())
    rows = operations.ledger.read_all(limit=100_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Ledger.open(Path(folder, "l.db"), now=lambda: START)) as ledger,
    ):
        copies = 0
        for share in (4, 1):
            while ledger.head().position < events // share:
                copies += 1
                ledger.append(copy(rows, copies))
            rebuild(ledger)
            print(f"{ledger.head().position:>9} events, {copies} tickets: peak memory after a rebuild "
                  f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")  # fmt: skip
        compared(ledger)
        copies += 1
        ledger.append(copy(rows, copies))
        took_ms = took_s(lambda: follow(ledger)) * 1000
        print(f"\nto follow {len(rows)} more events onto that: {took_ms:.1f} ms; with nothing new: "
              f"{took_s(lambda: follow(ledger)) * 1000:.1f} ms")  # fmt: skip


def compared(ledger: Ledger) -> None:
    """Every way through the whole ledger, in turns, the best of some rounds; beside the one that only reads."""
    ways: dict[str, Callable[[], object]] = {
        "read what projections need (the floor)": lambda: walked(ledger, ledger.replay),
        "read whole events": lambda: walked(ledger, ledger.read_all),
        **{f"rebuild {one.name}": rebuilt(ledger, [one]) for one in ALL},
        f"rebuild all {len(ALL)}": rebuilt(ledger, ALL),
    }
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            best[name] = min(best.get(name, float("inf")), took_s(way))
    events, floor_s = ledger.head().position, next(iter(best.values()))
    for name, seconds in best.items():
        print(f"{name:<40} {events / seconds:>9.0f} events/s   {seconds / floor_s:5.2f} × the floor")
    whole = events / best[f"rebuild all {len(ALL)}"]
    print(f"goal {GOAL} events/s: {'reached' if whole >= GOAL else 'not reached here'} with all of them")


def rebuilt(ledger: Ledger, projections: tuple[Projection, ...] | list[Projection]) -> Callable[[], object]:
    """Rebuilding these."""
    return lambda: rebuild(ledger, projections)


def walked(ledger: Ledger, page: Callable[..., list[Recorded]]) -> None:
    """Reads the whole ledger and keeps nothing."""
    position = 0
    while rows := page(after_position=position, limit=PAGE):
        position = rows[-1].position


def copy(rows: list[Recorded], number: int) -> list[StreamWrite]:
    """The incident under another ticket, as one append: its streams one after another."""
    writes: dict[str, list[NewEvent]] = {}
    for row in rows:
        data = orjson.loads(orjson.dumps(row.data).replace(b"INF-1", b"INF-%d" % number))
        told = NewEvent(
            id=event_id(f"{number}/{row.id}"), type=row.type, schema_version=row.schema_version, data=data,
            actor=row.actor, occurred_at=row.occurred_at, causation_id=row.causation_id, correlation_id=f"INF-{number}",
        )  # fmt: skip
        writes.setdefault(row.stream.replace("INF-1", f"INF-{number}"), []).append(told)
    return [StreamWrite(stream, None, told) for stream, told in writes.items()]


def took_s(way: Callable[[], object]) -> float:
    """Seconds of the processor, this process's own and the system's for it."""
    began_s = time.process_time()
    way()
    return time.process_time() - began_s


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else GOAL)
