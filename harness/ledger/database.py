"""What the store asks of a database, and which one a place names. Speaks no dialect: each has its own file."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError

from harness.core.chain import Row
from harness.core.errors import Invalid, Refused
from harness.core.record import Head

_PLACES = "give a path, sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME"


class _Told(logging.Filter):
    """Leaves out interruptions: SQLAlchemy logs one that meets it giving back a connection, with its traceback, and
    raises it all the same."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], KeyboardInterrupt))


_TOLD = _Told()


def pooled(engine: Engine) -> Engine:
    """The engine, whose pool says nothing of interruptions."""
    logger = engine.pool.logger
    assert isinstance(logger, logging.Logger), "no echo of the pool is asked for"
    logger.addFilter(_TOLD)
    return engine


class Standing(NamedTuple):
    """Where a ledger stands while one holds its write lock.

    ``revision`` is that of its tables, ``versions`` are those of the streams asked for (0 when absent), ``recorded``
    says whether the event asked for is there.
    """

    head: Head
    revision: str
    versions: Mapping[str, int]
    recorded: bool


class Database(Protocol):
    """A dialect with its pool of connections. Connections are the driver's own, and begin nothing by themselves."""

    @property
    def engine(self) -> Engine:
        """The pool. A transaction begun by it, too, holds the write lock before anything is read."""

    @property
    def error(self) -> type[Exception]:
        """What the driver raises."""

    def fetched(self, connection: Any, sql: str, *parameters: str | int) -> list[Any]:
        """The rows that one statement gives, if any; its parameters stand as ``?``."""

    def rows_by_id(self, connection: Any, ids: Sequence[str]) -> dict[str, Row]:
        """Those of the events that are there."""

    def tables(self, connection: Any) -> set[str]:
        """The names of the tables that are there."""

    def locked(self, connection: Any, streams: Sequence[str], id: str | None) -> Standing:
        """Begins a transaction that holds the write lock, then looks: so commit order is position order."""

    def insert(self, connection: Any, rows: Sequence[Row]) -> None:
        """Inserts the rows; the transaction goes on."""

    def record(self, connection: Any, rows: Sequence[Row]) -> None:
        """Inserts the rows and commits; durable when it returns."""

    def every_event(self, connection: Any) -> Iterator[Sequence[object]]:
        """The columns of all events by position, as one view of the ledger, few at a time."""

    def damage(self, connection: Any) -> str | None:
        """What is wrong with the database below the events, as far as it can say."""

    def is_lost(self, connection: Any) -> bool:
        """Whether nothing can be asked by this connection any more."""


def database_at(where: str | Path, *, busy_timeout_s: float) -> Database:
    """The database that a path or URL names. Raises ``Invalid`` for what names none that holds a ledger."""
    url = _url(where)
    match url.drivername:
        case "sqlite":
            from harness.ledger.sqlite import Sqlite

            return Sqlite(url, busy_timeout_s=busy_timeout_s)
        case "postgresql+psycopg":
            from harness.ledger.postgresql import Postgresql

            return Postgresql(url, busy_timeout_s=busy_timeout_s)
        case other:
            raise Invalid(f"ledger URL: {other} cannot hold a ledger; {_PLACES}")


def _url(where: str | Path) -> URL:
    if isinstance(where, Path) or "://" not in where:
        try:
            Path(where).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"ledger {where}: {error}; name a place where a folder can be made") from error
        return URL.create("sqlite", database=str(where))
    try:
        return make_url(where)
    except ArgumentError as error:
        raise Invalid(f"ledger URL: {error}; {_PLACES}") from error
