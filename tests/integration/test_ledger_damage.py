"""Damage below the chain, in real files: free pages, an index, a write-ahead log; and what `verify` says of each."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from harness.core.errors import Broken
from tests.integration.ledger_homes import LedgerHome
from tests.integration.test_ledger_anchors import says

PAGE_BYTES = 4096
EVENTS = 60


@pytest.fixture
def home(tmp_path: Path) -> LedgerHome:
    home = LedgerHome(tmp_path / "var")
    home.append(0, EVENTS)
    return home


@contextmanager
def raw(home: LedgerHome) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        yield connection
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def free_some_pages(home: LedgerHome) -> tuple[int, int]:
    """A page of the list of free pages, and one that is on it and holds nothing."""
    with raw(home) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (zeroblob(?))", [(PAGE_BYTES - 100,)] * 20)
        connection.execute("DROP TABLE t")
    content = home.path.read_bytes()
    trunk = int.from_bytes(content[32:36], "big")
    return trunk, int.from_bytes(content[(trunk - 1) * PAGE_BYTES + 8 :][:4], "big")


def fill_with_rubbish(home: LedgerHome, page: int) -> None:
    with home.path.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(b"\xff" * PAGE_BYTES)


def verdict(home: LedgerHome) -> tuple[bool, int, str]:
    """Whether it holds, how many events do, and why not."""
    with closing(home.ledger()) as ledger:
        found = ledger.verify()
    assert found.first_bad_position is None  # nothing of this is damage of an event
    return found.ok, found.events, found.reason or ""


def test_rubbish_in_a_page_that_holds_nothing_is_no_damage(home: LedgerHome) -> None:
    _, empty = free_some_pages(home)
    fill_with_rubbish(home, empty)

    assert verdict(home) == (True, EVENTS, "")
    # and it is overwritten when the page is used
    home.append(EVENTS, 200)
    assert verdict(home) == (True, EVENTS + 200, "")


def test_rubbish_in_the_list_of_free_pages_is_found_before_it_costs_an_event(home: LedgerHome) -> None:
    trunk, _ = free_some_pages(home)
    fill_with_rubbish(home, trunk)

    ok, events, reason = verdict(home)

    assert (ok, events) == (False, EVENTS) and "integrity_check" in reason and "freelist" in reason
    # the next append that needs a page stops, and nothing of it is recorded
    with pytest.raises(Broken, match="restore a copy"):
        home.append(EVENTS, 500)
    assert verdict(home)[1] == EVENTS
    # so a backup, which reads events and no free pages, is the way out
    out = home.root.parent / "backup"
    assert says(home, "export", "--out", str(out)).exit_code == 0
    new = LedgerHome(home.root.parent / "new")
    assert says(new, "restore", str(out)).exit_code == 0
    assert new.rows() == home.rows() and verdict(new) == (True, EVENTS, "")


def test_an_index_that_lacks_a_row_hides_an_event_from_its_stream_and_is_found(home: LedgerHome) -> None:
    # given an index that was built without the event at position 5, by a hand or by a fault
    with raw(home) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'events_by_stream'").fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        change = "UPDATE sqlite_schema SET sql = ? WHERE name = 'events_by_stream'"
        connection.execute(change, (f"{sql} WHERE position <> 5",))
    with raw(home) as connection:
        connection.execute("REINDEX events_by_stream")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(change, (sql,))

    # when the stream is read by it, the event is missing; read in order of positions, it is there
    with closing(home.ledger()) as ledger:
        stream = ledger.read_all(after_position=4, limit=1)[0].stream
        assert 5 not in [one.position for one in ledger.read_stream(stream)]
    # then the chain holds, and the check of the file tells
    assert verdict(home) == (False, EVENTS, "integrity_check: row 5 missing from index events_by_stream")
    # and it can be mended in the file, for every event is there
    with raw(home) as connection:
        connection.execute("REINDEX")
    assert verdict(home) == (True, EVENTS, "")


def torn(home: LedgerHome, tmp_path: Path, name: str, damage: object) -> LedgerHome:
    """A copy of a ledger in use, as a loss of power leaves it; ``damage`` is done to its write-ahead log."""
    copy = LedgerHome(tmp_path / name)
    copy.root.mkdir()
    shutil.copy(home.path, copy.path)
    log = bytearray(Path(f"{home.path}-wal").read_bytes())
    assert len(log) > 4 * PAGE_BYTES
    if isinstance(damage, int):
        log[damage] ^= 1
    else:
        assert isinstance(damage, slice)
        log = log[damage]
    Path(f"{copy.path}-wal").write_bytes(log)
    return copy


@pytest.mark.parametrize(
    "damage", [slice(0, -100), slice(0, -2 * PAGE_BYTES), slice(0, 40), slice(0, 0), -PAGE_BYTES, 8 * PAGE_BYTES, 20],
    ids=["last frame cut", "frames cut", "header alone", "nothing", "bit at the end", "bit within", "bit in front"],
)  # fmt: skip
def test_a_torn_write_ahead_log_costs_the_last_events_and_only_an_anchor_shows_that(
    home: LedgerHome, tmp_path: Path, damage: object
) -> None:
    # given a ledger in use, whose last events are in the log and not yet in the file
    with closing(home.ledger()):
        for number in range(EVENTS, EVENTS + 10):
            home.append(number, 1)
        anchor = says(home, "anchor").stdout
        copy = torn(home, tmp_path, "torn", damage)
        rows = home.rows()

    # then whole appends are gone, from the end on, and what is left is a ledger that was once whole
    ok, events, _ = verdict(copy)
    assert ok and EVENTS <= events <= len(rows)
    assert copy.rows() == rows[:events]
    # and who has an anchor sees it
    answer = says(copy, "verify", "--anchor", "-", stdin=anchor)
    if events < len(rows):
        assert answer.exit_code == 1 and answer.stdout.startswith(
            f"damaged at position {events + 1}: truncated: the ledger ends at position {events}"
        )
    else:  # the frames that were damaged were left over from before, and held nothing new
        assert answer.exit_code == 0
