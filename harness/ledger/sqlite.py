"""The ledger's database as a file of SQLite's: how it is opened, locked and written. Holds no rule of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from sqlalchemy import URL, Connection, create_engine, event

from harness.core.chain import Row
from harness.core.errors import Refused
from harness.core.record import GENESIS, Head
from harness.ledger.database import Standing, pooled

_COLUMNS = ", ".join(Row._fields)
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join('?' * len(Row._fields))})"
_BY_IDS = f"SELECT {_COLUMNS} FROM events WHERE id IN (SELECT value FROM json_each(?))"
_EVERY_EVENT = f"SELECT {_COLUMNS} FROM events ORDER BY position"
_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table'"
# hash is that of the row with the highest position: SQLite says so of columns beside a lone max().
_STANDING = (
    "SELECT max(position), hash, (SELECT version_num FROM alembic_version), "
    "EXISTS (SELECT 1 FROM events WHERE id = ?) FROM events"
)
_VERSION = "SELECT max(version) FROM events WHERE stream = ?"
_CHECKPOINT_PAGES = 10_000
"""The log is folded into the file when it is so long, 40 MB. Ids are random, so an event dirties a page of their index
that hardly another one does, and with SQLite's own 1,000 pages each is written to the file for few events. Measured at
1,000 events a commit: 6.3 kB written for an event instead of 9.1, in two thirds of the time."""


class Sqlite:
    """One file, with a write-ahead log beside it."""

    error = sqlite3.Error

    def __init__(self, url: URL, *, busy_timeout_s: float) -> None:
        # isolation_level=None: the driver begins nothing by itself; a lone SELECT runs as it is.
        self.engine = pooled(create_engine(url, connect_args={"timeout": busy_timeout_s, "isolation_level": None}))
        event.listen(self.engine, "connect", _settle)
        event.listen(self.engine, "begin", _begin)

    def fetched(self, connection: Any, sql: str, *parameters: str | int) -> list[Any]:
        rows: list[Any] = connection.execute(sql, parameters).fetchall()
        return rows

    def rows_by_id(self, connection: Any, ids: Sequence[str]) -> dict[str, Row]:
        found = connection.execute(_BY_IDS, (orjson.dumps(ids).decode(),)).fetchall()
        return {row.id: row for row in map(Row._make, found)}

    def tables(self, connection: Any) -> set[str]:
        return {name for (name,) in connection.execute(_TABLES)}

    def locked(self, connection: Any, streams: Sequence[str], id: str | None) -> Standing:
        # IMMEDIATE waits for the write lock before anything is read.
        connection.execute("BEGIN IMMEDIATE")
        position, hash, revision, recorded = connection.execute(_STANDING, (id,)).fetchone()
        return Standing(
            Head(0, GENESIS) if position is None else Head(position, hash),
            revision,
            {stream: connection.execute(_VERSION, (stream,)).fetchone()[0] or 0 for stream in streams},
            bool(recorded),
        )

    def insert(self, connection: Any, rows: Sequence[Row]) -> None:
        connection.executemany(_INSERT, rows)

    def record(self, connection: Any, rows: Sequence[Row]) -> None:
        self.insert(connection, rows)
        connection.execute("COMMIT")

    def every_event(self, connection: Any) -> Iterator[Sequence[object]]:
        connection.execute("BEGIN")
        cursor = connection.execute(_EVERY_EVENT)
        # One by one: in a batch, an unreadable text would take the good events before it along.
        while (columns := cursor.fetchone()) is not None:
            yield columns

    def damage(self, connection: Any) -> str | None:
        (integrity,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        return None if integrity == "ok" else f"integrity_check: {integrity}"

    def is_lost(self, connection: Any) -> bool:
        return False


def _settle(connection: sqlite3.Connection, _record: object) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise Refused(f"the ledger needs a write-ahead log, here is only {mode!r}; keep it in a file on a local disk")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
