"""The ledger's tables, the triggers that keep them append-only, and how SQLite is opened. Holds no rule of its own."""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy import (
    DDL,
    URL,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
)

from harness.core.chain import Row
from harness.core.errors import Refused

METADATA: Final = MetaData()

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("stream", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("data", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("causation_id", Text),
    Column("correlation_id", Text),
    Column("occurred_at_us", Integer, nullable=False),
    Column("recorded_at_us", Integer, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("events_by_stream", "stream", "version", unique=True),
    sqlite_strict=True,
)
assert tuple(column.name for column in EVENTS.columns) == Row._fields

CHECKPOINTS: Final = Table(
    "checkpoints",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("position", Integer, CheckConstraint("position >= 0"), nullable=False),
    sqlite_strict=True,
)

_APPEND_ONLY = (
    "CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: UPDATE is refused'); END",
    "CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: DELETE is refused'); END",
    # INSERT OR REPLACE deletes the old row without firing the delete trigger.
    "CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events "
    "WHEN EXISTS (SELECT 1 FROM events WHERE position = NEW.position) "
    "OR EXISTS (SELECT 1 FROM events WHERE id = NEW.id) "
    "OR EXISTS (SELECT 1 FROM events WHERE stream = NEW.stream AND version = NEW.version) "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: the position, id or stream version is taken'); END",
)
for _trigger in _APPEND_ONLY:
    event.listen(EVENTS, "after_create", DDL(_trigger))  # type: ignore[no-untyped-call]


def open_engine(url: URL, *, busy_timeout_s: float) -> Engine:
    """An engine whose transactions hold the write lock from their start and are durable once committed."""
    # isolation_level=None: the driver begins nothing by itself; a lone SELECT runs as it is, _begin does the rest.
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s, "isolation_level": None})
    event.listen(engine, "connect", _settle)
    event.listen(engine, "begin", _begin)
    return engine


def create_tables(engine: Engine) -> None:
    """Makes the tables where there are none. Two processes may do so at once."""
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        there = cursor.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (EVENTS.name,)).fetchone()
    if there is None:
        with engine.begin() as connection:
            METADATA.create_all(connection)


def _settle(connection: sqlite3.Connection, _record: object) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise Refused(f"the ledger needs a write-ahead log, here is only {mode!r}; keep it in a file on a local disk")
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    # IMMEDIATE waits for the write lock before anything is read, so that commit order is position order.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
