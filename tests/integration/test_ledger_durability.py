"""What a ledger keeps: through many writers, through kill -9, and what it notices of a hand in the file."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import pytest
import zstandard
from sqlalchemy.event import listen, remove
from sqlalchemy.pool import Pool

from harness.core.chain import Row
from harness.core.errors import Broken, HarnessError, Invalid, Refused, Retryable
from harness.core.record import NewEvent, StreamWrite
from harness.ledger.blobs import Blobs
from harness.ledger.faults import meaning
from harness.ledger.store import Ledger

PROGRAM = Path(__file__).with_name("ledger_writers.py")
ROOT = Path(__file__).parents[2]
NAMES = UUID("9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a113")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENTS = 7


def now() -> datetime:
    return NOON


def event(number: int) -> NewEvent:
    return NewEvent(
        id=str(uuid5(NAMES, str(number))),
        type="Seen",
        data={"number": number},
        actor="harness",
        occurred_at=NOON,
        causation_id="cause",
        correlation_id="INF-1",
    )


@contextmanager
def opened(path: Path | str, busy_timeout_s: float = 5.0) -> Iterator[Ledger]:
    with closing(Ledger.open(path, now=now, busy_timeout_s=busy_timeout_s)) as ledger:
        yield ledger


def writers(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})


def acknowledged(process: subprocess.Popen[str]) -> set[tuple[int, str, str]]:
    """What the writers said was recorded: position, id and hash of each event."""
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return {(int(position), id, hash) for position, id, hash in map(str.split, told.splitlines())}


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place where no ledger is yet."""
    if request.param == "sqlite":
        return str(tmp_path / "l.db")
    return str(request.getfixturevalue("postgresql").url())


def test_a_follower_of_eight_writers_misses_no_event_and_sees_none_twice(where: str) -> None:
    # given a ledger that does not exist yet, and eight processes that append to it at once
    process = writers("together", where, 8, 20)
    total = 8 * 20 * 3  # what they say has to fit into a pipe that is read at the end

    # when a follower reads along, always behind the last position that it has seen
    seen: list[tuple[int, str, str]] = []
    with opened(where) as ledger:
        while len(seen) < total and ledger.wait_past(len(seen), timeout_s=30):
            page = ledger.read_all(after_position=seen[-1][0] if seen else 0, limit=50)
            seen += [(one.position, one.id, one.hash) for one in page]
            assert ledger.verify().ok
        found = ledger.verify()

    # then it has seen exactly what was acknowledged, in the order of the positions
    assert set(seen) == acknowledged(process)
    assert [position for position, _, _ in seen] == list(range(1, total + 1))
    assert (found.ok, found.events) == (True, total)


def test_threads_of_one_process_share_a_ledger(where: str) -> None:
    with opened(where) as ledger:

        def write(first: int) -> None:
            for number in range(first, first + 20):
                ledger.append([StreamWrite("shared", None, [event(number)])])

        threads = [threading.Thread(target=write, args=(100 * n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert ledger.stream_version("shared") == 160
        assert ledger.verify().ok


def test_an_interruption_while_a_connection_is_given_back_is_raised_once_and_logged_nowhere(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with opened(where) as ledger:
        ledger.append([StreamWrite("s", 0, [event(1)])])
        listen(Pool, "reset", interrupted)
        try:
            with pytest.raises(KeyboardInterrupt):
                ledger.head()
        finally:
            remove(Pool, "reset", interrupted)
        assert caplog.records == []
        assert ledger.head().position == 1


def test_every_acknowledged_event_outlives_kill_9(where: str) -> None:
    # given writers that were killed at random moments, ten times
    told: set[tuple[int, str, str]] = set()
    for seed in range(20260301, 20260304):
        told |= acknowledged(writers("killed", where, 10, seed))
        if told:  # in a stall of the machine all ten may die while they open the ledger, but not time after time
            break
    assert told

    # when the ledger is opened again
    with opened(where) as ledger:
        recorded = ledger.read_all(limit=100_000)
        found = ledger.verify()

    # then what was acknowledged is there, whole appends only, and the chain holds
    assert told <= {(one.position, one.id, one.hash) for one in recorded}
    assert len(recorded) % 3 == 0
    assert found.ok, found.reason


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of seven events over two streams, folded into a single file."""
    path = tmp_path_factory.mktemp("kept") / "l.db"
    with opened(path) as ledger:
        for number in range(EVENTS):
            ledger.append([StreamWrite(f"stream-{number % 2}", None, [event(number)])])
    return path


@pytest.fixture
def path(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(kept, tmp_path / "l.db"))


@contextmanager
def raw_writer(path: Path, *, free: bool = True) -> Iterator[sqlite3.Connection]:
    """A hand in the file, which ends in the file itself; a ``free`` one has taken off the triggers and the types."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if free:
            connection.execute("CREATE TABLE copy AS SELECT * FROM events")
            connection.execute("DROP TABLE events")
            connection.execute(f"CREATE TABLE events ({', '.join(Row._fields)})")
            connection.execute("INSERT INTO events SELECT * FROM copy")
            connection.execute("DROP TABLE copy")
        yield connection
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


OTHER_VALUES = {
    "id": ["'9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a113'", "upper(id)"],
    "stream": ["'stream-9'", "CAST(stream AS BLOB)"],
    "version": ["version + 1", "CAST(version AS TEXT)", "CAST(version AS REAL)"],
    "type": ["'Unseen'", "NULL"],
    "schema_version": ["2", "'1'", "NULL"],
    "data": [
        "'{\"number\":99}'",
        "data || ' '",
        "'{'",
        "NULL",
        "CAST(data AS BLOB)",
        "7",
        "CAST(x'7b22ff227d' AS TEXT)",
    ],
    "actor": ["'mallory'", "actor || char(0)", "CAST(x'ff' AS TEXT)"],
    "causation_id": ["NULL", "'other'", "1"],
    "correlation_id": ["NULL", "'INF-2'", "x'00'"],
    "occurred_at_us": ["occurred_at_us + 1", "CAST(occurred_at_us AS TEXT)", "1e300"],
    "recorded_at_us": ["recorded_at_us - 1", "NULL"],
    "prev_hash": ["hash", "upper(prev_hash || 'a')", "NULL"],
    "hash": ["prev_hash", "upper(hash)", "NULL", "CAST(hash AS BLOB)"],
}


@pytest.mark.parametrize("position", [1, 4, EVENTS], ids=["first", "middle", "last"])
@pytest.mark.parametrize("column", OTHER_VALUES)
def test_an_altered_column_of_any_event_is_named_by_its_position(
    path: Path, tmp_path: Path, column: str, position: int
) -> None:
    for other in OTHER_VALUES[column]:
        altered = Path(shutil.copy(path, tmp_path / "altered.db"))
        with raw_writer(altered) as connection:
            connection.execute(f"UPDATE events SET {column} = {other} WHERE position = ?", (position,))

        with opened(altered) as ledger:
            found = ledger.verify()

        assert (found.ok, found.first_bad_position, found.events) == (False, position, position - 1), other
        assert found.reason is not None
        altered.unlink()


def test_every_column_is_tried() -> None:
    assert set(OTHER_VALUES) | {"position"} == set(Row._fields)


@pytest.mark.parametrize(
    ("damage", "position", "reason"),
    [
        ("UPDATE events SET position = 99 WHERE position = 4", 4, "position 4 is missing; the next event is at 5"),
        ("UPDATE events SET position = 99 WHERE position = 7", 7, "position 7 is missing; the next event is at 99"),
        ("UPDATE events SET position = 3 WHERE position = 4", 3, "position 3 stands where 4 belongs"),
        ("UPDATE events SET position = -1 WHERE position = 1", -1, "position -1 stands where 1 belongs"),
        ("UPDATE events SET position = '4' WHERE position = 4", 4, "position 4 is missing"),
        ("UPDATE events SET position = NULL WHERE position = 7", 1, "position holds NoneType where int belongs"),
        ("DELETE FROM events WHERE position = 4", 4, "position 4 is missing"),
        ("DELETE FROM events WHERE position = 1", 1, "position 1 is missing"),
        ("UPDATE events SET position = 9 - position WHERE position IN (4, 5)", 4, "prev_hash is not the hash"),
        ("INSERT INTO events SELECT 8, id, stream, version, type, 1, data, actor, NULL, NULL, 0, 0, hash, hash "
         "FROM events WHERE position = 7", 8, "hash does not match"),
    ],
)  # fmt: skip
def test_a_missing_moved_or_added_event_is_named_where_the_order_breaks(
    path: Path, damage: str, position: int, reason: str
) -> None:
    with raw_writer(path) as connection:
        connection.execute(damage)

    with opened(path) as ledger:
        found = ledger.verify()

    assert not found.ok
    assert found.first_bad_position == position
    assert reason in str(found.reason)


def test_an_untouched_ledger_verifies_also_after_a_raw_copy_of_its_rows(path: Path) -> None:
    # the copy in which the other tests do their damage is itself no damage
    with raw_writer(path):
        pass
    with opened(path) as ledger:
        assert (ledger.verify().ok, ledger.verify().events) == (True, EVENTS)


def test_damage_below_the_events_is_found_too(path: Path) -> None:
    # given an index that has lost an entry: every event is as it was, and yet a look-up by id misses one
    with raw_writer(path, free=False) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'version', 'version + 1') WHERE name = 'events_by_stream'"
        )

    with opened(path) as ledger:
        found = ledger.verify()

    assert (found.ok, found.events, found.first_bad_position) == (False, EVENTS, None)
    assert "integrity_check" in str(found.reason)


def test_a_page_of_rubbish_is_reported_and_not_raised(tmp_path: Path) -> None:
    # given a ledger of many pages
    path = tmp_path / "l.db"
    with opened(path) as ledger:
        ledger.append([StreamWrite("s", 0, [event(number) for number in range(500)])])
    content = bytearray(path.read_bytes())

    # when the page of an event in the middle is overwritten: indexes and other tables don't hold its data
    page = 4096 * (content.index(b'{"number":250}') // 4096)
    content[page : page + 4096] = b"\xff" * 4096
    path.write_bytes(content)

    with opened(path) as ledger:
        found = ledger.verify()

    assert (found.ok, found.events < 500) == (False, True)
    assert "cannot be read" in str(found.reason)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET actor = 'mallory' WHERE position = 1",
        "DELETE FROM events WHERE position = 7",
        "DELETE FROM events",
        # OR REPLACE, once for each of the three that must be unique
        "REPLACE INTO events SELECT 1, 'x', 'x', 1, type, 1, data, actor, NULL, NULL, 0, 0, hash, hash FROM one",
        "REPLACE INTO events SELECT 8, id, 'x', 1, type, 1, data, actor, NULL, NULL, 0, 0, hash, hash FROM one",
        "REPLACE INTO events SELECT 8, 'x', stream, 1, type, 1, data, actor, NULL, NULL, 0, 0, hash, hash FROM one",
        "INSERT INTO events SELECT * FROM events WHERE position = 1 ON CONFLICT DO UPDATE SET actor = 'mallory'",
    ],
)
def test_the_database_itself_refuses_to_change_what_is_recorded(path: Path, statement: str) -> None:
    with raw_writer(path, free=False) as connection:
        connection.execute("CREATE TEMP TABLE one AS SELECT * FROM events WHERE position = 1")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)

    with opened(path) as ledger:
        assert (ledger.verify().ok, ledger.head().position) == (True, EVENTS)


def test_reading_a_damaged_event_is_broken_and_names_it(path: Path) -> None:
    with raw_writer(path) as connection:
        connection.execute("UPDATE events SET data = '{' WHERE position = 4")

    with opened(path) as ledger, pytest.raises(Broken, match="position 4 is damaged"):
        ledger.read_all()


def test_a_ledger_that_another_writer_holds_is_worth_a_retry(path: Path) -> None:
    with opened(path, busy_timeout_s=0.05) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Retryable, match=r"l\.db.*locked"):
            ledger.append([StreamWrite("s", None, [event(99)])])
        # readers go on meanwhile
        assert ledger.head().position == EVENTS

        holder.execute("ROLLBACK")
        assert ledger.append([StreamWrite("s", None, [event(99)])])[0].position == EVENTS + 1


def test_a_ledger_opened_to_read_refuses_to_append(path: Path) -> None:
    with opened(f"sqlite:///file:{path}?mode=ro&uri=true") as ledger:
        assert ledger.verify().ok
        with pytest.raises(Refused, match="readonly"):
            ledger.append([StreamWrite("s", None, [event(99)])])


def test_a_full_disk_is_worth_a_retry_once_there_is_space(tmp_path: Path) -> None:
    # a real error of SQLite's, from a database that may not grow
    with closing(sqlite3.connect(tmp_path / "full.db")) as connection:
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("CREATE TABLE t (x)")
        with pytest.raises(sqlite3.OperationalError) as full:
            connection.execute("INSERT INTO t VALUES (zeroblob(100000))")

    said = meaning(full.value, "l.db")
    assert isinstance(said, Retryable)
    assert "free some space" in str(said)


@pytest.mark.parametrize(
    ("where", "error", "says"),
    [
        ("postgresql://ada:secret@db/ledger", Invalid, r"postgresql cannot hold .* postgresql\+psycopg://"),
        ("postgresql+psycopg://ada:secret@127.0.0.1:1/ledger", Retryable, "see that the server runs"),
        ("mysql://ada:secret@db/ledger", Invalid, "mysql cannot hold a ledger"),
        ("://", Invalid, "ledger URL"),
        ("sqlite://", Refused, "write-ahead log"),
        ("sqlite:////proc/none/l.db", Refused, "unable to open"),
        ("/proc/none/l.db", Refused, "a folder can be made"),
    ],
)
def test_what_cannot_be_a_ledger_is_refused_with_a_way_out(where: str, error: type[HarnessError], says: str) -> None:
    with pytest.raises(error, match=says) as refused:
        Ledger.open(where, now=now)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_broken(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_bytes(b"some other file\n" * 1000)
    with pytest.raises(Broken, match="not a database"):
        Ledger.open(tmp_path / "l.db", now=now)


def stored_at(folder: Path) -> Path:
    """The single file of a store of blobs that holds one."""
    (file,) = (path for path in folder.rglob("*") if path.is_file())
    return file


def test_a_blob_is_stored_once_compressed_and_under_its_hash(tmp_path: Path) -> None:
    body = b"the same line\n" * 10_000
    ref = Blobs(tmp_path).put(body)
    assert Blobs(tmp_path).put(body) == ref

    file = stored_at(tmp_path)
    assert "sha256:" + "".join(file.relative_to(tmp_path).parts) == ref
    assert file.stat().st_size < len(body) / 100


@pytest.mark.parametrize(
    "altered",
    [
        b"",
        b"rubbish",
        zstandard.compress(b"another body"),
        zstandard.compress(b"a body")[:-1],
        zstandard.compress(b"a body") + b"more",
        b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 7 + b"\x00" * 9,  # a header that promises 64 PiB
    ],
    ids=["empty", "rubbish", "other", "cut", "longer", "boastful"],
)
def test_an_altered_blob_is_broken_until_it_is_put_again(tmp_path: Path, altered: bytes) -> None:
    blobs = Blobs(tmp_path)
    ref = blobs.put(b"a body")
    stored_at(tmp_path).write_bytes(altered)

    with pytest.raises(Broken, match=f"{ref} is altered"):
        blobs.get(ref)

    assert blobs.put(b"a body") == ref
    assert blobs.get(ref) == b"a body"


def test_a_folder_of_blobs_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"")
    with pytest.raises(Refused, match="folder of blobs"):
        Blobs(tmp_path / "blobs").put(b"a body")
