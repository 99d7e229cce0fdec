"""The event ledger in a database: appends, reads, verifies. The rules are core's; this only keeps what they decide."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

from harness.core.chain import Row, Walk, first_result, linked, opened
from harness.core.errors import Broken, Forbidden, Invalid, VersionConflict
from harness.core.record import (
    GENESIS,
    Draft,
    Head,
    Kept,
    Projected,
    Recorded,
    StreamWrite,
    Told,
    Verification,
    checked_limit,
    drafted,
)
from harness.ledger.audit import audit
from harness.ledger.database import Database, Standing, database_at
from harness.ledger.faults import Taken, explained
from harness.ledger.projected import stepped, stored
from harness.ledger.schema import bring_up, refuse_unknown

POLL_S: Final = 0.02
_PAGE = 1_000
_LAST = 2**63 - 1

# Plain SQL, run on the driver's cursor: an append of one event takes half the time that it took through Core.
_COLUMNS = ", ".join(Row._fields)
_IN_STREAM = f"SELECT {_COLUMNS} FROM events WHERE stream = ? AND version >= ? ORDER BY version"
_BEHIND = f"SELECT {_COLUMNS} FROM events WHERE position > ? ORDER BY position LIMIT ?"
_UP_TO = f"SELECT {_COLUMNS} FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
_TOLD = f"SELECT {', '.join(Told._fields)} FROM events WHERE position > ? ORDER BY position LIMIT ?"
_HEAD = "SELECT position, hash FROM events ORDER BY position DESC LIMIT 1"
_STREAM_VERSION = "SELECT max(version) FROM events WHERE stream = ?"
_STREAMS = "SELECT stream FROM events WHERE stream >= ? AND substr(stream, 1, ?) = ? AND version = 1 ORDER BY stream"
_CHECKPOINT = "SELECT position FROM checkpoints WHERE name = ?"
_SAVE_CHECKPOINT = (
    "INSERT INTO checkpoints (name, position) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET position = excluded.position"
)


class Ledger:
    """An append-only ledger; safe to share between threads, and between processes that each open their own.

    Every method raises ``Retryable`` when the database is busy, full or failing, ``Refused`` when it may not be used
    so, and ``Broken`` when it is damaged.
    """

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._name = database.engine.url.render_as_string(hide_password=True)
        self._now = now
        # SQLite's own waiting starves: with 8 threads the slowest append took 431 ms without this lock, 20 ms with it.
        self._turn = threading.Lock()

    @classmethod
    def open(cls, where: str | Path, *, now: Callable[[], datetime], busy_timeout_s: float = 5.0) -> Self:
        """Opens the ledger at a path, a ``sqlite:///`` or a ``postgresql+psycopg://`` URL, and makes it where there
        is none.

        ``now`` gives aware times for ``recorded_at``; ``busy_timeout_s`` is how long an append waits for its turn.
        ``sqlite:///file:PATH?mode=ro&uri=true`` opens one to read only. Raises ``Refused`` for tables that newer code
        has made.
        """
        ledger = cls(database_at(where, busy_timeout_s=busy_timeout_s), now=now)
        with explained(ledger._name, ledger._database.error):
            bring_up(ledger._database, ledger._name)
        return ledger

    def close(self) -> None:
        """Gives back every connection; the last one of a file folds its write-ahead log into it."""
        self._database.engine.dispose()

    def append(self, writes: Sequence[StreamWrite]) -> list[Recorded]:
        """Records all events of all writes, or nothing, and gives them as recorded, in order.

        An append whose ids are all recorded gives the first result again, whatever versions it expects now. Raises
        ``Invalid`` for events of bad form, ``VersionConflict`` when a stream has moved on, ``Broken`` when an id stands
        for other content or only a part of the append is recorded.
        """
        drafts = drafted(writes)
        first_id = drafts[0].event.id if drafts else None
        try:
            with self._writing([write.stream for write in writes], first_id) as (connection, standing):
                # An append is recorded whole or not at all, so one id tells; any other is met by what must be unique.
                if standing.recorded:
                    raise Taken(f"ledger {self._name}: event {first_id} is recorded already")
                _refuse_moved(writes, standing.versions)
                rows = linked(drafts, head=standing.head, versions=standing.versions, recorded_at=self._now())
                if rows:
                    self._database.record(connection, rows)
        except (Taken, VersionConflict):
            done = self._first_result(drafts)
            if done is None:
                raise
            return done
        return [opened(row, draft.copy) for row, draft in zip(rows, drafts, strict=True)]

    def _first_result(self, drafts: Sequence[Draft]) -> list[Recorded] | None:
        """What the same append gave before; None when it is new."""
        with self._reading() as connection:
            recorded = self._database.rows_by_id(connection, [draft.event.id for draft in drafts])
        rows = first_result(drafts, recorded)
        return None if rows is None else [opened(row) for row in rows]

    def read_stream(self, stream: str, *, from_version: int = 1) -> list[Recorded]:
        """The events of a stream from a version on, in order; none when there is no such stream."""
        with self._reading() as connection:
            rows = self._database.fetched(connection, _IN_STREAM, stream, from_version)
        return [opened(row) for row in rows]

    def read_all(self, *, after_position: int = 0, limit: int = 1_000) -> list[Recorded]:
        """At most ``limit`` events of all streams behind a position, in commit order: no gap, none later in between."""
        with self._reading() as connection:
            rows = self._database.fetched(connection, _BEHIND, after_position, checked_limit(limit))
        return [opened(row) for row in rows]

    def rows(self, *, up_to: int) -> Iterator[Row]:
        """The rows as they are stored up to a position, read page by page: nothing is held between two pages."""
        with self._reading() as connection:
            page = self._page(connection, 0, up_to)
        while page:
            yield from page
            with self._reading() as connection:
                page = self._page(connection, page[-1].position, up_to)

    def take_over(self, rows: Iterable[Row], head: Head) -> None:
        """Records the rows of another ledger as they are, all in one transaction, where no event is yet.

        Raises ``Forbidden`` when there are events, ``Broken`` when what then stands here does not hold or does not end
        at ``head``. After either nothing is recorded.
        """
        with self._writing() as (connection, standing):
            if there := standing.head.position:
                raise Forbidden(f"ledger {self._name}: holds {there} events; only an empty one takes over others")
            left = iter(rows)
            while batch := list(islice(left, _PAGE)):
                self._database.insert(connection, batch)
            # Read back and walked before it is committed: what is here afterwards holds, or is not here.
            walk, page = Walk(), self._page(connection, 0, _LAST)
            while page:
                for row in page:
                    if (fault := walk.step(row)) is not None:
                        raise Broken(f"ledger {self._name}: {fault.reason}; nothing was taken over")
                page = self._page(connection, page[-1].position, _LAST)
            found = walk.held()
            if (found.events, found.head) != head:
                raise Broken(f"ledger {self._name}: would not end at {head.position}; nothing was taken over")
            connection.commit()

    def _page(self, connection: Any, after: int, up_to: int) -> list[Row]:
        return [Row._make(columns) for columns in self._database.fetched(connection, _UP_TO, after, up_to, _PAGE)]

    def stored(self, *, after_position: int, limit: int) -> list[Row]:
        """The next rows as they are stored and hashed, for whoever walks the chain."""
        with self._reading() as connection:
            rows = self._database.fetched(connection, _BEHIND, after_position, checked_limit(limit))
        return [Row._make(columns) for columns in rows]

    def replay(self, *, after_position: int, limit: int) -> list[Told]:
        """As ``read_all``, but what a projection needs of each event: in half the time."""
        with self._reading() as connection:
            rows = self._database.fetched(connection, _TOLD, after_position, checked_limit(limit))
        return [Told._make(row) for row in rows]

    def find(self, id: str) -> Recorded | None:
        """The event with this id, or None."""
        with self._reading() as connection:
            row = self._database.rows_by_id(connection, [id]).get(id)
        return None if row is None else opened(row)

    def head(self) -> Head:
        """The position and hash of the last event: the anchor of everything before it."""
        with self._reading() as connection:
            last = self._database.fetched(connection, _HEAD)
        return Head(*last[0]) if last else Head(0, GENESIS)

    def stream_version(self, stream: str) -> int:
        """The version of a stream's last event; 0 when there is no such stream."""
        with self._reading() as connection:
            ((version,),) = self._database.fetched(connection, _STREAM_VERSION, stream)
        return version or 0

    def streams(self, prefix: str = "") -> list[str]:
        """The names of all streams that begin with ``prefix``, sorted by code point."""
        with self._reading() as connection:
            found = self._database.fetched(connection, _STREAMS, prefix, len(prefix), prefix)
        return [stream for (stream,) in found]

    def wait_past(self, position: int, *, timeout_s: float) -> bool:
        """Blocks until an event behind ``position`` is recorded, by whatever process; False when none was in time."""
        deadline = time.monotonic() + timeout_s
        while self.head().position <= position:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(POLL_S, left_s))
        return True

    def checkpoint(self, name: str) -> int:
        """The position that a follower saved last; 0 when it never did."""
        with self._reading() as connection:
            saved = self._database.fetched(connection, _CHECKPOINT, name)
        return saved[0][0] if saved else 0

    def save_checkpoint(self, name: str, position: int) -> None:
        """Keeps how far a follower has come; it may go back. Raises ``Invalid`` for a position where no event is."""
        with self._writing() as (connection, standing):
            last = standing.head.position
            if not 0 <= position <= last:
                raise Invalid(f"position: {position} of checkpoint {name!r} is not from 0 to the last event's, {last}")
            self._database.fetched(connection, _SAVE_CHECKPOINT, name, position)
            connection.commit()

    def projected(self, names: Collection[str], keys: Collection[str] | None = None) -> dict[str, Kept]:
        """What is stored of these projections as of one moment: all documents, or those with one of these keys."""
        with self._reading() as connection:
            return stored(partial(self._database.fetched, connection), names, keys)

    def project(self, steps: Sequence[Projected]) -> bool:
        """Stores all of the steps in one transaction, or nothing and False when one begins where none is stored."""
        with self._writing() as (connection, _):
            done = stepped(partial(self._database.fetched, connection), steps)
            connection.commit()
        return done

    def verify(self) -> Verification:
        """Walks every event and checks what is below them; takes a while on a long ledger and blocks no writer."""
        with self._reading() as connection:
            return audit(self._database, connection)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """A connection of the driver's; what it began and did not commit is rolled back at the end."""
        with explained(self._name, self._database.error):
            pooled = self._database.engine.raw_connection()
            try:
                yield pooled.driver_connection
            finally:
                if self._database.is_lost(pooled.driver_connection):
                    pooled.invalidate()
                pooled.close()

    @contextmanager
    def _writing(self, streams: Sequence[str] = (), id: str | None = None) -> Iterator[tuple[Any, Standing]]:
        """A transaction that holds the write lock, and where the ledger stands in it."""
        with self._turn, self._reading() as connection:
            standing = self._database.locked(connection, streams, id)
            refuse_unknown(standing.revision, self._name)
            yield connection, standing


def _refuse_moved(writes: Sequence[StreamWrite], versions: Mapping[str, int]) -> None:
    for write in writes:
        actual = versions[write.stream]
        if write.expected_version is not None and write.expected_version != actual:
            raise VersionConflict(stream=write.stream, expected=write.expected_version, actual=actual)
