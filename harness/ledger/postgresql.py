"""The ledger's database on a PostgreSQL server: how it is reached, locked and written. Holds no rule of its own."""

from __future__ import annotations

import logging
import select
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import InvalidatePoolError

from harness.core.chain import Row
from harness.core.errors import Refused
from harness.core.record import GENESIS, Head
from harness.ledger.database import Standing, pooled

OLDEST_SERVER: Final = 15
CONNECT_TIMEOUT_S: Final = 10
_LOST: Final = {"tcp_user_timeout": 20_000, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2}
"""After 20 s in which its machine acknowledges nothing a server is lost. The system's own 15 minutes and more would be
waited by everyone: appends of a process take turns."""

_COLUMNS = ", ".join(Row._fields)
_COPY = f"COPY events ({_COLUMNS}) FROM STDIN WITH (NULL '')"
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join(['%s'] * len(Row._fields))})"
_FEW: Final = 4
"""Rows that are sooner inserted in one round trip with the COMMIT than copied in two."""
_BY_IDS = f"SELECT {_COLUMNS} FROM events WHERE id = ANY(%s)"
_EVERY_EVENT = f"SELECT {_COLUMNS} FROM events ORDER BY position"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = ANY(current_schemas(false))"
_STANDING = (
    "SELECT position, hash, (SELECT version_num FROM alembic_version), "
    "EXISTS (SELECT 1 FROM events WHERE id = %s) FROM (SELECT 1) AS always "
    "LEFT JOIN (SELECT position, hash FROM events ORDER BY position DESC LIMIT 1) AS last ON true"
)
_VERSIONS = (
    "SELECT stream, (SELECT max(version) FROM events WHERE events.stream = asked.stream) "
    "FROM unnest(%s::text[]) AS asked (stream)"
)
# Its own statement before all others: each reads what was committed before it began, so after the lock was had.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_LOCK = f"SELECT pg_advisory_xact_lock({int.from_bytes(b'ledger')})"
_NEW = "new"
_VIEW = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Postgresql:
    """One database of a server; the ledger is in the first schema of its search path."""

    error = psycopg.Error

    def __init__(self, url: URL, *, busy_timeout_s: float) -> None:
        asked = {"autocommit": True, "client_encoding": "utf8", "connect_timeout": CONNECT_TIMEOUT_S, **_LOST}
        self.engine = pooled(create_engine(url, connect_args=asked))
        self._busy_timeout_ms = max(1, round(busy_timeout_s * 1_000))
        # A pipeline that an error ends is told there, beside the error, to whoever reads the log: with its address.
        logging.getLogger("psycopg").setLevel(logging.ERROR)
        event.listen(self.engine, "connect", self._settle)
        event.listen(self.engine, "checkout", _refuse_ended)
        event.listen(self.engine, "begin", _begin)

    def fetched(self, connection: Any, sql: str, *parameters: str | int) -> list[Any]:
        cursor = connection.execute(sql.replace("?", "%s"), parameters)
        return cursor.fetchall() if cursor.description else []

    def rows_by_id(self, connection: Any, ids: Sequence[str]) -> dict[str, Row]:
        return {row.id: row for row in map(Row._make, connection.execute(_BY_IDS, (list(ids),)))}

    def tables(self, connection: Any) -> set[str]:
        return {name for (name,) in connection.execute(_TABLES)}

    def locked(self, connection: Any, streams: Sequence[str], id: str | None) -> Standing:
        with connection.pipeline():  # one round trip for all four
            connection.execute(_BEGIN)
            connection.execute(_LOCK)
            standing = connection.execute(_STANDING, (id,))
            versions = connection.execute(_VERSIONS, (list(streams),))
            position, hash, revision, recorded = standing.fetchone()
            return Standing(
                Head(0, GENESIS) if position is None else Head(position, hash),
                revision,
                {stream: version or 0 for stream, version in versions.fetchall()},
                recorded,
            )

    def insert(self, connection: Any, rows: Sequence[Row]) -> None:
        with connection.cursor().copy(_COPY) as copy:
            copy.write(_copied(rows))

    def record(self, connection: Any, rows: Sequence[Row]) -> None:
        if len(rows) > _FEW:
            self.insert(connection, rows)
            connection.commit()
            return
        with connection.pipeline():
            connection.cursor().executemany(_INSERT, rows)
            connection.execute("COMMIT")

    def every_event(self, connection: Any) -> Iterator[Sequence[object]]:
        connection.execute(_VIEW)
        with connection.cursor(name="every_event") as cursor:
            cursor.itersize = 1_000
            yield from cursor.execute(_EVERY_EVENT)

    def damage(self, connection: Any) -> str | None:
        return None  # pages and indexes are the server's: data checksums, and amcheck for who may run it

    def is_lost(self, connection: Any) -> bool:
        # Ended in the middle of a pipeline it may stay in it, not closed and of no use: "cannot exit … while busy".
        return bool(connection.closed or connection.info.pipeline_status)

    def _settle(self, connection: Any, record: Any) -> None:
        if connection.info.server_version < OLDEST_SERVER * 10_000:
            raise Refused(f"the ledger needs PostgreSQL {OLDEST_SERVER} or newer; use another server")
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise Refused(f"the ledger needs a database in UTF8, this one is in {encoding}; make another")
        connection.execute(
            # Acknowledged is on disk, whatever the server does for others; and who died in the middle holds nobody up.
            f"SET synchronous_commit = on; SET lock_timeout = {self._busy_timeout_ms}; "
            "SET idle_in_transaction_session_timeout = '60s'"
        )
        record.info[_NEW] = True


def _copied(rows: Sequence[Row]) -> str:
    """The rows in the text form of COPY, an empty column for None.

    No column holds a tab or a line end (names are printable, JSON writes both as escapes), and none is empty.
    """
    lines = ["\t".join(["" if column is None else str(column) for column in row]) for row in rows]
    return "\n".join(lines).replace("\\", "\\\\")


def _refuse_ended(connection: Any, record: Any, _proxy: object) -> None:
    """Costs no round trip: at rest there is nothing to read, unless the server has said good-bye or is gone.

    One that was made a moment ago is not asked: a server that ends that, too, is told of by the statement that meets
    it, and not by a pool that has tried often enough.
    """
    if record.info.pop(_NEW, False):
        return
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        raise InvalidatePoolError()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(_BEGIN)
    connection.exec_driver_sql(_LOCK)
