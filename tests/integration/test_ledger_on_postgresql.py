"""What a ledger on PostgreSQL withstands: hands in its tables, a server that goes away, one that cannot or must not.

What both databases promise is in the contract tests and in those of the writers.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import psycopg
import pytest
from sqlalchemy.event import listen

from harness.core.errors import Refused, Retryable
from harness.core.record import NewEvent, StreamWrite
from harness.ledger.database import database_at
from harness.ledger.store import Ledger
from tests.postgresql import ROLE, Postgresql

ROOT = Path(__file__).parents[2]
NAMES = UUID("9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a115")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENTS = 7
LOCK = f"SELECT pg_advisory_xact_lock({int.from_bytes(b'ledger')})"


def event(number: int) -> NewEvent:
    return NewEvent(
        id=str(uuid5(NAMES, str(number))), type="Seen", data={"number": number}, actor="harness", occurred_at=NOON
    )


def write(number: int) -> list[StreamWrite]:
    return [StreamWrite("watch", None, [event(number)])]


@contextmanager
def opened(
    url: str, *, at_the_clock: Callable[[], object] | None = None, busy_timeout_s: float = 5.0
) -> Iterator[Ledger]:
    """A ledger; ``at_the_clock`` is done in the middle of every append, where it asks for the time."""

    def now() -> datetime:
        if at_the_clock is not None:
            at_the_clock()
        return NOON

    with closing(Ledger.open(url, now=now, busy_timeout_s=busy_timeout_s)) as ledger:
        yield ledger


@pytest.fixture
def url(postgresql: Postgresql) -> str:
    """A ledger of seven events over two streams."""
    url = postgresql.url()
    with opened(url) as ledger:
        for number in range(EVENTS):
            ledger.append([StreamWrite(f"stream-{number % 2}", None, [event(number)])])
    return url


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET actor = 'mallory' WHERE position = 1",
        "DELETE FROM events WHERE position = 7",
        "DELETE FROM events",
        "TRUNCATE events",
        "TRUNCATE events, checkpoints",
        "INSERT INTO events SELECT * FROM events WHERE position = 1 "
        "ON CONFLICT (position) DO UPDATE SET actor = 'mallory'",
        "MERGE INTO events USING (SELECT 1 AS position) AS one ON events.position = one.position "
        "WHEN MATCHED THEN UPDATE SET actor = 'mallory'",
        "SET session_replication_role = replica; DELETE FROM events",
    ],
)
def test_the_database_itself_refuses_to_change_what_is_recorded(
    postgresql: Postgresql, url: str, statement: str
) -> None:
    with postgresql.session(url) as session, pytest.raises(psycopg.IntegrityError, match="append-only"):
        session.execute(statement)

    with opened(url) as ledger:
        assert (ledger.verify().ok, ledger.head().position) == (True, EVENTS)


@pytest.mark.parametrize(
    ("damage", "position"),
    [
        ("UPDATE events SET data = '{\"number\":99}' WHERE position = 4", 4),
        ("UPDATE events SET causation_id = 'other' WHERE position = 7", 7),
        ("DELETE FROM events WHERE position = 3", 3),
        ("UPDATE events SET position = 99 WHERE position = 1", 1),
    ],
)
def test_a_hand_that_takes_off_the_triggers_is_named_by_the_first_bad_position(
    postgresql: Postgresql, url: str, damage: str, position: int
) -> None:
    with postgresql.session(url) as session:
        session.execute("ALTER TABLE events DISABLE TRIGGER events_refuse_change")
        session.execute(damage)

    with opened(url) as ledger:
        found = ledger.verify()

    assert (found.ok, found.first_bad_position) == (False, position)


def test_a_server_that_was_restarted_between_two_calls_is_not_noticed(postgresql: Postgresql, url: str) -> None:
    with opened(url) as ledger:
        ledger.head()

        postgresql.restart()

        assert ledger.head().position == EVENTS
        assert ledger.append(write(99))[0].position == EVENTS + 1
        assert ledger.verify().ok


def test_a_server_that_is_restarted_in_the_middle_of_an_append_leaves_nothing_and_the_same_append_goes_through(
    postgresql: Postgresql, url: str
) -> None:
    # given a server that goes down once, while an append holds the lock and has inserted nothing yet
    to_do = [postgresql.restart]

    with opened(url, at_the_clock=lambda: to_do and to_do.pop()()) as ledger:
        # when it does, then the append is worth a retry
        with pytest.raises(Retryable, match="see that the server runs") as lost:
            ledger.append(write(99))
        assert ROLE + "@" not in str(lost.value), "the password"

        # and nothing is recorded, until the same append comes again; once more is the first result again
        assert ledger.head().position == EVENTS
        recorded = ledger.append(write(99))
        assert recorded[0].position == EVENTS + 1
        assert ledger.append(write(99)) == recorded
        assert ledger.verify().ok


def test_a_connection_that_the_server_ends_in_the_middle_of_an_append_is_worth_a_retry(
    postgresql: Postgresql, url: str
) -> None:
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with postgresql.session(url) as session:
        to_do = [lambda: session.execute(end)]
        with opened(url, at_the_clock=lambda: to_do and to_do.pop()()) as ledger:
            with pytest.raises(Retryable):
                ledger.append(write(99))

            assert ledger.append(write(99))[0].position == EVENTS + 1


def test_an_append_that_the_server_ends_while_it_waits_is_worth_a_retry_and_logged_by_no_library(
    postgresql: Postgresql, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with opened(url) as ledger, ThreadPoolExecutor(1) as other, postgresql.session(url) as session:
        for number in range(99, 102):
            with postgresql.session(url) as holder, holder.transaction():
                holder.execute(LOCK)
                appending = other.submit(ledger.append, write(number))
                while not session.execute(f"SELECT pid {waiting}").fetchall() and not appending.done():
                    time.sleep(0.005)
                session.execute(f"SELECT pg_terminate_backend(pid) {waiting}")
            with pytest.raises(Retryable, match="see that the server runs"):
                appending.result()
        assert ledger.head().position == EVENTS and ledger.append(write(99))
    assert not caplog.records


def test_a_connection_that_does_not_come_out_of_its_pipeline_is_given_up(url: str) -> None:
    database = database_at(url, busy_timeout_s=5.0)
    with closing(database.engine.raw_connection()) as pooled:
        connection: Any = pooled.driver_connection
        assert not database.is_lost(connection)
        with connection.pipeline():
            assert database.is_lost(connection)
        assert not database.is_lost(connection)
    database.engine.dispose()


def test_a_server_that_ends_every_connection_at_once_is_worth_a_retry_at_each_call(
    postgresql: Postgresql, url: str
) -> None:
    # given a server that ends whatever rests for a millisecond, also what was made a moment ago
    name = url.rpartition("/")[2]
    with postgresql.session() as session:
        session.execute(f"ALTER DATABASE {name} SET idle_session_timeout = 1")
    database = database_at(url, busy_timeout_s=5.0)
    listen(database.engine, "connect", lambda connection, record: time.sleep(0.02))

    with closing(Ledger(database, now=lambda: NOON)) as ledger:
        lost = 0
        for _ in range(10):
            try:
                assert ledger.head().position == EVENTS
            except Retryable as error:
                assert "see that the server runs" in str(error)
                lost += 1
        assert lost

        # then it works again without a new ledger once the server lets connections rest
        with postgresql.session() as session:
            session.execute(f"ALTER DATABASE {name} RESET idle_session_timeout")
        assert ledger.append(write(99))[0].position == EVENTS + 1


def test_a_ledger_that_another_writer_holds_is_worth_a_retry(postgresql: Postgresql, url: str) -> None:
    with opened(url, busy_timeout_s=0.05) as ledger, postgresql.session(url) as holder:
        with holder.transaction():
            holder.execute(LOCK)
            with pytest.raises(Retryable, match="another writer holds it"):
                ledger.append(write(99))
            # readers go on meanwhile
            assert ledger.head().position == EVENTS

        assert ledger.append(write(99))[0].position == EVENTS + 1


def test_an_append_that_the_server_has_no_time_for_is_worth_a_retry_and_told_as_that(
    postgresql: Postgresql, url: str
) -> None:
    name = url.rpartition("/")[2]
    with postgresql.session() as session:
        session.execute(f"ALTER DATABASE {name} SET statement_timeout = 50")

    with opened(url) as ledger, postgresql.session(url) as holder, holder.transaction():
        holder.execute(LOCK)
        with pytest.raises(Retryable, match="statement timeout; a timeout of the server or a person ended it"):
            ledger.append(write(99))


def test_a_server_whose_machine_has_gone_is_given_up_within_seconds(url: str) -> None:
    database = database_at(url, busy_timeout_s=5.0)
    with closing(database.engine.raw_connection()) as connection:
        driver: Any = connection.driver_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as wire:
            for option, most in (
                (socket.TCP_USER_TIMEOUT, 20_000), (socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5),
                (socket.TCP_KEEPCNT, 2),
            ):  # fmt: skip
                assert wire.getsockopt(socket.IPPROTO_TCP, option) == most
    database.engine.dispose()


def test_a_role_that_may_only_read_reads_and_is_refused_when_it_writes(postgresql: Postgresql, url: str) -> None:
    with postgresql.session(url) as session:
        session.execute("DROP ROLE IF EXISTS reader")
        session.execute(f"CREATE ROLE reader LOGIN PASSWORD '{ROLE}'")
        session.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")

    with opened(url.replace(ROLE, "reader", 1)) as ledger:
        assert ledger.verify().ok
        assert len(ledger.read_all()) == EVENTS
        with pytest.raises(Refused, match=r"permission denied.*grant the role"):
            ledger.append(write(99))


def test_a_database_that_is_read_only_refuses_to_append(
    postgresql: Postgresql, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with postgresql.session() as session:
        session.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")

    with opened(url) as ledger:
        assert ledger.verify().ok
        with pytest.raises(Refused, match="read-only transaction"):
            ledger.append(write(99))
    assert not caplog.records, "the error says it, and no library beside it"


def test_a_full_disk_is_worth_a_retry_once_there_is_space(postgresql: Postgresql, url: str) -> None:
    # given a server that says, in the middle of an insert, what it says when its disk is full
    with postgresql.session(url) as session:
        session.execute(
            "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
        )
        session.execute("CREATE TRIGGER full_disk AFTER INSERT ON events EXECUTE FUNCTION no_space()")
        with opened(url) as ledger:
            with pytest.raises(Retryable, match="free some space"):
                ledger.append(write(99))

            session.execute("DROP TRIGGER full_disk ON events")

            assert ledger.append(write(99))[0].position == EVENTS + 1
            assert ledger.verify().ok


def test_a_database_that_cannot_hold_every_text_is_refused(postgresql: Postgresql) -> None:
    with postgresql.session() as session:
        session.execute("DROP DATABASE IF EXISTS latin")
        session.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")

    with pytest.raises(Refused, match="UTF8, this one is in LATIN1"), opened(postgresql.url_of("latin")):
        pass


def test_a_database_that_is_not_there_is_told_by_its_name(postgresql: Postgresql) -> None:
    with pytest.raises(Retryable, match='"nowhere" does not exist'), opened(postgresql.url_of("nowhere")):
        pass


def test_an_acknowledged_event_is_on_the_disk_whatever_the_server_does_for_others(
    postgresql: Postgresql, url: str
) -> None:
    with postgresql.session() as session:
        session.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")

    database = database_at(url, busy_timeout_s=5.0)
    with closing(database.engine.raw_connection()) as connection:
        assert database.fetched(connection.driver_connection, "SHOW synchronous_commit") == [("on",)]
    database.engine.dispose()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_long_ledger_is_verified_in_little_memory(database: str, postgresql: Postgresql, tmp_path: Path) -> None:
    where = postgresql.url() if database == "postgresql" else str(tmp_path / "l.db")
    with opened(where) as ledger:
        for first in range(0, 8_000, 1_000):
            told = [event(number) for number in range(first, first + 1_000)]
            for one in told:
                one.data["filling"] = "x" * 2_000
            ledger.append([StreamWrite("watch", first, told)])

    program = (
        "import sys; from resource import *; from harness.ledger.store import Ledger; "
        "ledger = Ledger.open(sys.argv[1], now=None); ledger.find('x'); before = getrusage(RUSAGE_SELF).ru_maxrss; "
        "assert ledger.verify().events == 8_000; print(getrusage(RUSAGE_SELF).ru_maxrss - before)"
    )
    asked = subprocess.run([sys.executable, "-c", program, where], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(asked.stdout) < 8_000, "KiB, for 16 MB of events"
