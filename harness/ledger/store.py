"""The event ledger on SQLite: appends, reads and verifies. The rules are core's; this only keeps what they decide."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson
from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from harness.core.chain import Row, first_result, linked, opened
from harness.core.errors import Invalid, Refused, VersionConflict
from harness.core.record import GENESIS, Head, Recorded, StreamWrite, Verification, checked_limit, drafted
from harness.ledger.audit import audit
from harness.ledger.faults import explained
from harness.ledger.tables import create_tables, open_engine

POLL_S: Final = 0.02

# Plain SQL, run on the driver's cursor: an append of one event takes half the time that it took through Core.
_COLUMNS = ", ".join(Row._fields)
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join('?' * len(Row._fields))})"
_BY_IDS = f"SELECT {_COLUMNS} FROM events WHERE id IN (SELECT value FROM json_each(?))"
_IN_STREAM = f"SELECT {_COLUMNS} FROM events WHERE stream = ? AND version >= ? ORDER BY version"
_BEHIND = f"SELECT {_COLUMNS} FROM events WHERE position > ? ORDER BY position LIMIT ?"
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

    def __init__(self, engine: Engine, *, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._name = engine.url.render_as_string(hide_password=True)
        self._now = now
        # SQLite's own waiting starves: with 8 threads the slowest append took 431 ms without this lock, 20 ms with it.
        self._turn = threading.Lock()

    @classmethod
    def open(cls, where: str | Path, *, now: Callable[[], datetime], busy_timeout_s: float = 5.0) -> Ledger:
        """Opens the ledger at a path or a ``sqlite:///`` URL, and makes it where there is none.

        ``now`` gives aware times for ``recorded_at``. ``sqlite:///file:PATH?mode=ro&uri=true`` opens one to read only.
        """
        url = _url(where)
        engine = open_engine(url, busy_timeout_s=busy_timeout_s)
        with explained(url.render_as_string(hide_password=True)):
            create_tables(engine)
        return cls(engine, now=now)

    def close(self) -> None:
        """Gives back every connection; the last one folds the write-ahead log into the file."""
        self._engine.dispose()

    def append(self, writes: Sequence[StreamWrite]) -> list[Recorded]:
        """Records all events of all writes, or nothing, and gives them as recorded, in order.

        An append whose ids are all recorded gives the first result again, whatever versions it expects now. Raises
        ``Invalid`` for events of bad form, ``VersionConflict`` when a stream has moved on, ``Broken`` when an id stands
        for other content or only a part of the append is recorded.
        """
        drafts = drafted(writes)
        with self._writing() as connection:
            rows = first_result(drafts, _rows_by_id(connection, [draft.event.id for draft in drafts]))
            if rows is None:
                versions = _expected_versions(connection, writes)
                rows = linked(drafts, head=_head(connection), versions=versions, recorded_at=self._now())
                if rows:
                    connection.connection.cursor().executemany(_INSERT, rows)
        return [opened(row) for row in rows]

    def read_stream(self, stream: str, *, from_version: int = 1) -> list[Recorded]:
        """The events of a stream from a version on, in order; none when there is no such stream."""
        with self._reading() as connection:
            rows = _fetched(connection, _IN_STREAM, stream, from_version)
        return [opened(row) for row in rows]

    def read_all(self, *, after_position: int = 0, limit: int = 1_000) -> list[Recorded]:
        """At most ``limit`` events of all streams behind a position, in commit order: no gap, none later in between."""
        with self._reading() as connection:
            rows = _fetched(connection, _BEHIND, after_position, checked_limit(limit))
        return [opened(row) for row in rows]

    def find(self, id: str) -> Recorded | None:
        """The event with this id, or None."""
        with self._reading() as connection:
            row = _rows_by_id(connection, [id]).get(id)
        return None if row is None else opened(row)

    def head(self) -> Head:
        """The position and hash of the last event: the anchor of everything before it."""
        with self._reading() as connection:
            return _head(connection)

    def stream_version(self, stream: str) -> int:
        """The version of a stream's last event; 0 when there is no such stream."""
        with self._reading() as connection:
            return _stream_version(connection, stream)

    def streams(self, prefix: str = "") -> list[str]:
        """The names of all streams that begin with ``prefix``, sorted by code point."""
        with self._reading() as connection:
            return [stream for (stream,) in _fetched(connection, _STREAMS, prefix, len(prefix), prefix)]

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
            saved = _fetched(connection, _CHECKPOINT, name)
        return saved[0][0] if saved else 0

    def save_checkpoint(self, name: str, position: int) -> None:
        """Keeps how far a follower has come; it may go back. Raises ``Invalid`` for a position where no event is."""
        with self._writing() as connection:
            last = _head(connection).position
            if not 0 <= position <= last:
                raise Invalid(f"position: {position} of checkpoint {name!r} is not from 0 to the last event's, {last}")
            connection.connection.cursor().execute(_SAVE_CHECKPOINT, (name, position))

    def verify(self) -> Verification:
        """Walks every event and checks the file; takes a while on a long ledger and blocks no writer."""
        with self._reading() as connection:
            return audit(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with explained(self._name), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back on an error."""
        with self._turn, explained(self._name), self._engine.begin() as connection:
            yield connection


def _url(where: str | Path) -> URL:
    if isinstance(where, Path) or "://" not in where:
        try:
            Path(where).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"ledger {where}: {error}; name a place where a folder can be made") from error
        return URL.create("sqlite", database=str(where))
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise Invalid(f"ledger URL: {error}; give a path or sqlite:///PATH") from error
    if url.get_backend_name() != "sqlite":
        raise Invalid(f"ledger URL: {url.get_backend_name()} cannot hold a ledger; give a path or sqlite:///PATH")
    return url


def _rows_by_id(connection: Connection, ids: Sequence[str]) -> dict[str, Row]:
    found = _fetched(connection, _BY_IDS, orjson.dumps(ids).decode())
    return {row.id: row for row in map(Row._make, found)}


def _expected_versions(connection: Connection, writes: Sequence[StreamWrite]) -> dict[str, int]:
    versions = {}
    for write in writes:
        actual = _stream_version(connection, write.stream)
        if write.expected_version is not None and write.expected_version != actual:
            raise VersionConflict(stream=write.stream, expected=write.expected_version, actual=actual)
        versions[write.stream] = actual
    return versions


def _stream_version(connection: Connection, stream: str) -> int:
    ((version,),) = _fetched(connection, _STREAM_VERSION, stream)
    return version or 0


def _head(connection: Connection) -> Head:
    last = _fetched(connection, _HEAD)
    return Head(*last[0]) if last else Head(0, GENESIS)


def _fetched(connection: Connection, sql: str, *parameters: str | int) -> list[Any]:
    rows: list[Any] = connection.connection.cursor().execute(sql, parameters).fetchall()
    return rows
