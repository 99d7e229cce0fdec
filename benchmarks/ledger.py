"""Measures the ledger beside eventsourcing, in one run, and prints ratios. Touches only databases of its own.

``python -m benchmarks.ledger [--rounds N] [--seconds S] [--only sqlite|postgresql] [--million]``

Ours validates each event, writes canonical JSON, links it into the chain of hashes, and gives it back as recorded.
Theirs is measured twice: its recorder, which is given bytes ready made and stores four columns, and its event store,
which writes JSON as ours does. Both commit durably: WAL with synchronous=FULL, or synchronous_commit=on and fsync=on.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import (
    DatetimeAsISO,
    EventStore,
    JSONTranscoder,
    Mapper,
    StoredEvent,
    UUIDAsHex,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
from sqlalchemy import make_url

from harness.core.record import NewEvent, StreamWrite
from harness.ledger.store import Ledger
from tests.postgresql import server

SIZES = (1, 10, 100, 1_000)
WRITERS = 8
ROOT = Path(__file__).parents[1]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WAIT_S = 60.0


def now() -> datetime:
    return datetime.now(UTC)


def data(number: int) -> dict[str, Any]:
    """What an event of the harness says, about 200 bytes."""
    return {
        "ticket_id": f"INF-{number % 97}", "attempt": 1, "step": number, "action": "read_metric", "share": 0.25,
        "observation": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "waited_s": None,
    }  # fmt: skip


@dataclass(frozen=True)
class Seen(DomainEvent):
    data: dict[str, Any]


class Ours:
    """A stream that grows by batches."""

    name = "ours"

    def __init__(self, where: str) -> None:
        self._ledger = Ledger.open(where, now=now, busy_timeout_s=WAIT_S)
        self._stream = f"ticket-{uuid4()}"
        self._version = 0

    def batch(self, size: int) -> list[StreamWrite]:
        told = [
            NewEvent(id=str(uuid4()), type="ObservationRecorded", data=data(number), actor="harness", occurred_at=NOON,
                     causation_id="action-1", correlation_id="INF-1")
            for number in range(size)
        ]  # fmt: skip
        write = StreamWrite(self._stream, self._version, told)
        self._version += size
        return [write]

    def append(self, batch: list[StreamWrite]) -> None:
        self._ledger.append(batch)

    def read(self) -> int:
        position = 0
        while page := self._ledger.read_all(after_position=position):
            position = page[-1].position
        return position

    def close(self) -> None:
        self._ledger.close()


class Recorder:
    """Theirs, below the mapper: bytes ready made."""

    name = "recorder"

    def __init__(self, where: str) -> None:
        if "://" in where:
            url = make_url(where)
            self._store: Any = PostgresDatastore(
                url.database or "", url.host or "", url.port or 0, url.username or "", str(url.password),
                originator_id_type="uuid",
            )  # fmt: skip
            self.recorder: Any = PostgresApplicationRecorder(self._store, events_table_name="stored_events")
        else:
            self._store = SQLiteDatastore(where, lock_timeout=int(WAIT_S))
            self.recorder = SQLiteApplicationRecorder(self._store)
        self.recorder.create_table()
        self._originator = uuid4()
        self._version = 0

    def batch(self, size: int) -> list[Any]:
        told = [
            StoredEvent(self._originator, self._version + 1 + number, "harness:Seen", orjson.dumps(data(number)))
            for number in range(size)
        ]
        self._version += size
        return told

    def append(self, batch: list[Any]) -> None:
        self.recorder.insert_events(batch)

    def read(self) -> int:
        position = 0
        while page := self.recorder.select_notifications(position + 1, 1_000):
            position = page[-1].id
        return int(position)

    def close(self) -> None:
        self._store.close()


class Store(Recorder):
    """Theirs, as an application uses it: events are objects, the mapper writes JSON."""

    name = "store"

    def __init__(self, where: str) -> None:
        super().__init__(where)
        transcoder = JSONTranscoder()
        transcoder.register(UUIDAsHex())
        transcoder.register(DatetimeAsISO())
        self._events: EventStore[UUID] = EventStore(Mapper(transcoder), self.recorder)

    def batch(self, size: int) -> list[Any]:
        told = [
            Seen(originator_id=self._originator, originator_version=self._version + 1 + number, timestamp=NOON,
                 data=data(number))
            for number in range(size)
        ]  # fmt: skip
        self._version += size
        return told

    def append(self, batch: list[Any]) -> None:
        self._events.put(batch)


SIDES: tuple[type[Ours] | type[Recorder], ...] = (Ours, Recorder, Store)


def rate(side: Any, size: int, seconds: float) -> float:
    """Events per second of appending; making the events is not counted."""
    spent, events = 0.0, 0
    while spent < seconds:
        batch = side.batch(size)
        begun = time.perf_counter()
        side.append(batch)
        spent += time.perf_counter() - begun
        events += size
    return events / spent


def write_until(kind: type[Any], where: str, seconds: float, opening: Any, start: Any, told: Any) -> None:
    """One of several writers: a process. They open one after the other: theirs fails when two do so at once."""
    with opening:
        opened = kind(where)
    with closing(opened) as side:
        rate(side, 1, 0.05)
        start.wait()
        begun, events = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            side.append(side.batch(1))
            events += 1
        told.put(events / (time.perf_counter() - begun))


def rate_of_writers(kind: type[Any], where: str, seconds: float) -> float:
    """Commits per second of eight processes together, one event each."""
    kind(where).close()
    own = multiprocessing.get_context("spawn")
    opening, start, told = own.Lock(), own.Barrier(WRITERS), own.SimpleQueue()
    given = (kind, where, seconds, opening, start, told)
    writers = [own.Process(target=write_until, args=given) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    rates = [told.get() for _ in writers]
    for writer in writers:
        writer.join()
    return float(sum(rates))


def compare(title: str, measured: dict[str, list[float]]) -> None:
    """One line: medians, and the medians of the ratios within each round."""
    ours = measured["ours"]
    line = f"{title:<28}"
    for name, rates in measured.items():
        line += f"{statistics.median(rates):>12,.0f}"
        if name != "ours":
            ratios = [one / other for one, other in zip(ours, rates, strict=True)]
            line += f" {statistics.median(ratios):>5.2f}×"
    print(line, flush=True)


def appends(new: Callable[[], str], database: str, rounds: int, seconds: float) -> None:
    for size in SIZES:
        with ExitStack() as open_ones:
            sides = [open_ones.enter_context(closing(kind(new()))) for kind in SIDES]
            for side in sides:
                rate(side, size, seconds / 4)
            measured: dict[str, list[float]] = {side.name: [] for side in sides}
            for number in range(rounds):
                for side in sides if number % 2 == 0 else reversed(sides):
                    measured[side.name].append(rate(side, size, seconds))
            compare(f"{database}, {size} per commit", measured)
    together: dict[str, list[float]] = {kind.name: [] for kind in SIDES}
    for number in range(max(3, rounds // 2)):
        for kind in SIDES if number % 2 == 0 else reversed(SIDES):
            together[kind.name].append(rate_of_writers(kind, new(), seconds * 2))
    compare(f"{database}, {WRITERS} writers, 1 each", together)


def replay(new: Callable[[], str], database: str, rounds: int) -> None:
    """Reading everything in pages of a thousand: ours as events with their data, theirs as bytes."""
    with ExitStack() as open_ones:
        sides = [open_ones.enter_context(closing(kind(new()))) for kind in (Ours, Recorder)]
        for side in sides:
            for _ in range(50):
                side.append(side.batch(1_000))
        measured: dict[str, list[float]] = {side.name: [] for side in sides}
        for _ in range(rounds):
            for side in sides:
                begun = time.perf_counter()
                events = side.read()
                measured[side.name].append(events / (time.perf_counter() - begun))
    compare(f"{database}, replay", measured)


def million(where: str, database: str) -> None:
    """What a ledger of a million events costs: to open, to ask for one stream, to verify."""
    with closing(Ours(where)) as side:
        for _ in range(1_000):
            side.append(side.batch(1_000))
    begun = time.perf_counter()
    with closing(Ledger.open(where, now=now)) as ledger:
        ledger.head()
        opening_s = time.perf_counter() - begun
        ledger.append([StreamWrite("ticket-small", None, side.batch(20)[0].events)])
        begun = time.perf_counter()
        ledger.read_stream("ticket-small")
        stream_s = time.perf_counter() - begun
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.perf_counter()
        assert ledger.verify().ok
        verify_s = time.perf_counter() - begun
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{database}, 1,000,000 events: open {opening_s * 1e3:.1f} ms, a stream of 20 {stream_s * 1e3:.2f} ms, "
        f"verify {verify_s:.1f} s in {grown_mb:.1f} MB more",
        flush=True,
    )


def shown(rounds: int) -> None:
    """What the command `harness ticket show` takes, in turn in a ledger of 1,000 events and in one of a million."""
    counts, taken = (1_000, 1_000_000), dict[int, list[float]]()
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            home = Path(folder, str(count))
            with closing(Ours(str(home / "ledger.db"))) as side:
                command(home, "ticket", "file", "--file", str(ROOT / "docs" / "ticket.yaml"))
                for _ in range(count // 1_000):
                    side.append(side.batch(1_000))
        for _, count in itertools.product(range(rounds), counts):
            begun = time.perf_counter()
            command(Path(folder, str(count)), "ticket", "show", "INF-1", "--json")
            taken.setdefault(count, []).append(time.perf_counter() - begun)
    small, large = (statistics.median(taken[count]) for count in counts)
    print(f"ticket show: {small:.3f} s of 1,000 events, {large:.3f} s of 1,000,000: {large / small:.2f} times as long")


def command(home: Path, *words: str) -> None:
    """Types a command of the harness."""
    program = Path(sys.executable).with_name("harness")
    environment = os.environ | {"HARNESS_HOME": str(home)}
    subprocess.run([program, *words], env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds; medians are told")
    parser.add_argument("--seconds", type=float, default=0.5, help="of appending, for each side in each round")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--million", action="store_true", help="also a ledger of a million events: minutes")
    asked = parser.parse_args()

    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}; events/s, medians of "
        f"{asked.rounds} alternating rounds; × is ours against it, a median of the rounds' ratios"
    )
    print(f"{'':<28}{'ours':>12}{'recorder':>12}{'':>7}{'store':>12}")
    with ExitStack() as kept:
        for database, new in places(asked.only, kept):
            appends(new, database, asked.rounds, asked.seconds)
            replay(new, database, asked.rounds)
            if asked.million:
                million(new(), database)
    if asked.million:
        shown(asked.rounds)


def places(only: str | None, kept: ExitStack) -> Iterator[tuple[str, Callable[[], str]]]:
    """Each database with a function that names an empty place in it."""
    if only != "postgresql":
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory()))
        numbers = itertools.count()
        yield "SQLite", lambda: str(folder / f"{next(numbers)}.db")
    if only != "sqlite":
        yield "PostgreSQL", kept.enter_context(server()).url


if __name__ == "__main__":
    main()
