"""A ledger's tables through the versions of the code: older ones are brought up, newer ones are left alone."""

from __future__ import annotations

import runpy
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from harness.core.chain import linked
from harness.core.errors import Refused
from harness.core.record import GENESIS, Head, NewEvent, StreamWrite, drafted
from harness.ledger.schema import MIGRATIONS, NEWEST
from harness.ledger.store import Ledger
from tests.postgresql import Postgresql

ROOT = Path(__file__).parents[2]
NAMES = UUID("9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a114")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

BEFORE_MIGRATIONS = """
CREATE TABLE events (
\tposition INTEGER NOT NULL, 
\tid TEXT NOT NULL, 
\tstream TEXT NOT NULL, 
\tversion INTEGER NOT NULL, 
\ttype TEXT NOT NULL, 
\tschema_version INTEGER NOT NULL, 
\tdata TEXT NOT NULL, 
\tactor TEXT NOT NULL, 
\tcausation_id TEXT, 
\tcorrelation_id TEXT, 
\toccurred_at_us INTEGER NOT NULL, 
\trecorded_at_us INTEGER NOT NULL, 
\tprev_hash TEXT NOT NULL, 
\thash TEXT NOT NULL, 
\tPRIMARY KEY (position), 
\tUNIQUE (id)
)
 STRICT

;
CREATE UNIQUE INDEX events_by_stream ON events (stream, version);
CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events \
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: UPDATE is refused'); END;
CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events \
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: DELETE is refused'); END;
CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events \
WHEN EXISTS (SELECT 1 FROM events WHERE position = NEW.position) \
OR EXISTS (SELECT 1 FROM events WHERE id = NEW.id) \
OR EXISTS (SELECT 1 FROM events WHERE stream = NEW.stream AND version = NEW.version) \
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: the position, id or stream version is taken'); END;
CREATE TABLE checkpoints (
\tname TEXT NOT NULL, 
\tposition INTEGER NOT NULL CHECK (position >= 0), 
\tPRIMARY KEY (name)
)
 STRICT

;
"""


def now() -> datetime:
    return NOON


def event(number: int) -> NewEvent:
    return NewEvent(
        id=str(uuid5(NAMES, str(number))), type="Seen", data={"number": number}, actor="harness", occurred_at=NOON
    )


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A ledger of three events as it was made before there were migrations."""
    path = tmp_path / "old.db"
    told = [StreamWrite("watch", 0, [event(number) for number in range(3)])]
    rows = linked(drafted(told), head=Head(0, GENESIS), versions={}, recorded_at=NOON)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(BEFORE_MIGRATIONS)
        connection.executemany(f"INSERT INTO events VALUES ({', '.join('?' * 14)})", rows)
        connection.execute("INSERT INTO checkpoints VALUES ('pump', 2)")
        connection.commit()
    return path


def tables_of(path: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place where no ledger is yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'l.db'}"
    return str(request.getfixturevalue("postgresql").url())


@pytest.fixture
def newer(where: str, request: pytest.FixtureRequest) -> Iterator[tuple[str, Ledger]]:
    """A place whose tables newer code has moved on, while a ledger of this code was open."""
    with closing(Ledger.open(where, now=now)) as ledger:
        ledger.append([StreamWrite("watch", 0, [event(0)])])
        moved_on = "UPDATE alembic_version SET version_num = '9999'"
        if where.startswith("sqlite"):
            with closing(sqlite3.connect(where.removeprefix("sqlite:///"), isolation_level=None)) as hand:
                hand.execute(moved_on)
        else:
            server: Postgresql = request.getfixturevalue("postgresql")
            with server.session(where) as session:
                session.execute(moved_on)
        yield where, ledger


def test_a_ledger_from_before_the_migrations_goes_on(old: Path) -> None:
    with closing(Ledger.open(old, now=now)) as ledger:
        ledger.append([StreamWrite("watch", 3, [event(3)])])

        assert [one.data["number"] for one in ledger.read_all()] == [0, 1, 2, 3]
        assert ledger.checkpoint("pump") == 2
        assert (ledger.verify().ok, ledger.verify().events) == (True, 4)


def test_an_old_ledger_and_a_new_one_have_the_same_tables(old: Path, tmp_path: Path) -> None:
    Ledger.open(old, now=now).close()
    Ledger.open(tmp_path / "new.db", now=now).close()

    assert tables_of(old) == tables_of(tmp_path / "new.db")


def test_an_old_ledger_opened_to_read_is_refused_until_it_was_brought_up(old: Path) -> None:
    to_read = f"sqlite:///file:{old}?mode=ro&uri=true"
    with pytest.raises(Refused, match="writable"):
        Ledger.open(to_read, now=now)

    Ledger.open(old, now=now).close()

    with closing(Ledger.open(to_read, now=now)) as ledger:
        assert ledger.verify().ok


def test_tables_of_newer_code_are_not_opened(newer: tuple[str, Ledger]) -> None:
    where, _ = newer

    with pytest.raises(Refused, match=f"of revision 9999, and this code knows them up to {NEWEST}.* harness "):
        Ledger.open(where, now=now)


def test_a_ledger_that_was_open_before_refuses_to_write_into_tables_of_newer_code(newer: tuple[str, Ledger]) -> None:
    _, ledger = newer

    with pytest.raises(Refused, match="of revision 9999"):
        ledger.append([StreamWrite("watch", 1, [event(1)])])
    with pytest.raises(Refused, match="of revision 9999"):
        ledger.save_checkpoint("pump", 1)

    assert ledger.head().position == 1
    assert ledger.checkpoint("pump") == 0


def test_opening_a_ledger_that_is_up_to_date_does_not_load_alembic(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "l.db", now=now).close()

    program = (
        "import sys; from harness.ledger.store import Ledger; "
        "Ledger.open(sys.argv[1], now=None).head(); print('alembic' in sys.modules)"
    )
    asked = [sys.executable, "-c", program, str(tmp_path / "l.db")]
    assert subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_migrations_are_a_line_in_the_order_of_their_files() -> None:
    files = sorted(MIGRATIONS.glob("versions/*.py"))
    told = [runpy.run_path(str(file)) for file in files]

    assert [one["revision"] for one in told] == [file.name[:4] for file in files]
    assert [one["down_revision"] for one in told] == [None, *(file.name[:4] for file in files[:-1])]
