"""A backup of one database is brought back into the other, and back again: the same chain, byte for byte."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.core.chain import Row
from harness.core.errors import Broken, Forbidden
from harness.core.record import Head, NewEvent, StreamWrite
from harness.ledger.backup import EVENTS, check, export, restore
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger
from tests.integration.ledger_homes import NOON, LedgerHome, written_anew
from tests.integration.test_ledger_anchors import says
from tests.integration.test_ledger_durability import acknowledged, writers

if TYPE_CHECKING:
    from tests.postgresql import Postgresql

HOSTILE = {"tab": "a\tb", "line": "a\nb", "back": "\\N \\. \\", "quote": '"', "long": "é" * 5_000, "n": [1.5, None]}


def ledger_at(where: Path | str) -> Ledger:
    return Ledger.open(where, now=lambda: NOON)


def rows(where: Path | str) -> list[Row]:
    with closing(ledger_at(where)) as ledger:
        return list(ledger.rows(up_to=10**9))


def moved(source: Path | str, target: Path | str, folder: Path) -> bytes:
    """Exports one ledger and restores it into another; gives the lines between them."""
    blobs = Blobs(folder.parent / "blobs")
    with closing(ledger_at(source)) as ledger:
        export(ledger, blobs, folder, taken_at=NOON)
    with closing(ledger_at(target)) as ledger:
        restore(folder, check(folder), ledger, blobs)
        assert ledger.verify().ok
    return (folder / EVENTS).read_bytes()


def test_a_chain_goes_from_sqlite_to_postgresql_and_back(tmp_path: Path, postgresql: Postgresql) -> None:
    # given a ledger with what a database's own copying would stumble over
    home = LedgerHome(tmp_path / "var")
    home.append(0, 1_500)
    with closing(home.ledger()) as ledger:
        told = NewEvent(id="9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a118", type="Told", data=HOSTILE, actor="a\\b",
                        occurred_at=NOON)  # fmt: skip
        ledger.append([StreamWrite("back\\slash", None, [told])])
    url = postgresql.url()

    # when it moves to the server, goes on there, and comes back
    out = moved(home.path, url, tmp_path / "out")
    assert rows(url) == home.rows()
    with closing(ledger_at(url)) as ledger:
        assert ledger.append([StreamWrite("back\\slash", 1, [told])])[0].position == 1_501  # done before, as here
        ledger.append([StreamWrite("later", 0, [NewEvent(id="9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a119", type="Told",
                                                         data={}, actor="harness", occurred_at=NOON)])])  # fmt: skip
    back = moved(url, tmp_path / "back.db", tmp_path / "back")

    # then the chain is the same, and so are the bytes of what both have
    assert rows(tmp_path / "back.db") == rows(url)
    assert rows(url)[:-1] == home.rows()
    assert moved(tmp_path / "back.db", postgresql.url(), tmp_path / "again") == back != out


def test_a_backup_of_a_server_under_load_is_a_state_that_it_had(tmp_path: Path, postgresql: Postgresql) -> None:
    url = postgresql.url()
    process = writers("together", url, 3, 60)
    with closing(ledger_at(url)) as ledger:
        ledger.wait_past(0, timeout_s=30)
        taken = export(ledger, Blobs(tmp_path / "blobs"), tmp_path / "backup", taken_at=NOON)
    total = acknowledged(process)

    with closing(ledger_at(tmp_path / "new.db")) as ledger:
        restore(tmp_path / "backup", check(tmp_path / "backup"), ledger, Blobs(tmp_path / "blobs"))

    assert rows(tmp_path / "new.db") == rows(url)[: taken.events]
    assert 0 < taken.events <= len(total)


def test_a_server_takes_over_only_what_holds_and_only_once(tmp_path: Path, postgresql: Postgresql) -> None:
    home, url = LedgerHome(tmp_path / "var"), postgresql.url()
    home.append(0, 30)
    honest = home.rows()
    head = Head(30, honest[-1].hash)
    with closing(ledger_at(url)) as ledger:
        broken = [row._replace(actor="mallory") if row.position == 20 else row for row in honest]
        with pytest.raises(Broken, match="position 20: hash does not match"):
            ledger.take_over(broken, head)
        with pytest.raises(Broken, match="would not end at 30"):
            ledger.take_over(written_anew(honest, 20, actor="mallory"), head)
        assert ledger.head().position == 0  # nothing of either

        ledger.take_over(honest, head)

        with pytest.raises(Forbidden, match="holds 30 events"):
            ledger.take_over(honest, head)
    assert rows(url) == honest


def test_an_anchor_holds_whichever_database_the_ledger_is_in(
    tmp_path: Path, postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, url = LedgerHome(tmp_path / "var"), postgresql.url()
    home.append(0, 30)
    anchor = says(home, "anchor", "--json").stdout
    monkeypatch.setenv("HARNESS_LEDGER_URL", url)
    answer = says(home, "verify", "--anchor", "-", stdin=anchor)
    assert answer.exit_code == 1 and "truncated: the ledger ends at position 0" in answer.stdout

    moved(home.path, url, tmp_path / "backup")

    document = json.loads(says(home, "verify", "--anchor", "-", "--json", stdin=anchor).stdout)
    assert (document["ok"], document["anchors"], document["events"]) == (True, 1, 30)
