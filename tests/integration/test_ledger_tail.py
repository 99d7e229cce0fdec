"""`harness ledger tail` as a process on a real ledger: lines come as events do, and it ends as its reader likes."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from pathlib import Path

import pytest

from harness.cli.ledger_tail import told
from harness.core.record import GENESIS
from tests.acceptance.newcomer import Newcomer
from tests.integration.ledger_homes import LedgerHome
from tests.integration.test_ledger_anchors import says


@pytest.fixture
def home(tmp_path: Path) -> LedgerHome:
    home = LedgerHome(tmp_path / "var")
    home.append(0, 15)
    return home


def test_the_newest_events_are_shown_one_line_each(home: LedgerHome) -> None:
    lines = says(home, "tail").stdout.splitlines()

    assert [int(line.split()[0]) for line in lines] == list(range(6, 16))
    assert "stream-2  Seen  harness  {" in lines[-1] and '"number":14' in lines[-1]
    assert len(says(home, "tail", "--after", "12").stdout.splitlines()) == 3
    assert says(home, "tail", "--after", "99").stdout == ""


def test_each_line_is_a_document_with_every_column(home: LedgerHome) -> None:
    documents = [json.loads(line) for line in says(home, "tail", "--after", "0", "--json").stdout.splitlines()]

    assert [one["hash"] for one in documents] == [row.hash for row in home.rows()]
    assert documents[0]["prev_hash"] == GENESIS and documents[0]["data"]["number"] == 0
    assert documents[0]["recorded_at"] == "2026-03-01T12:00:04+00:00"


def test_what_is_recorded_later_is_shown_until_it_is_interrupted(home: LedgerHome) -> None:
    process = Newcomer(home.root).starts("ledger", "tail", "--follow", "--after", "14")
    assert process.stdout is not None
    assert process.stdout.readline().split()[0] == "15"
    home.append(15, 2)
    assert [process.stdout.readline().split()[0] for _ in range(2)] == ["16", "17"]

    process.send_signal(signal.SIGINT)

    _, complaints = process.communicate()
    assert process.returncode == 130
    assert "harness ledger tail --follow --after 17" in complaints and "Traceback" not in complaints


@pytest.mark.parametrize("words", [(), ("--follow",)])
def test_it_ends_with_its_reader(home: LedgerHome, words: tuple[str, ...]) -> None:
    # given a reader that goes after the first line, as head does; more is recorded only in the first case
    home.append(15, 3_000 if not words else 0)
    process = Newcomer(home.root).starts("ledger", "tail", "--after", "0", *words)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    assert process.stderr.read() == ""
    assert process.wait() == 0


def test_nothing_in_an_event_commands_a_terminal(home: LedgerHome) -> None:
    with closing(home.ledger()) as ledger:
        (row,) = ledger.read_all(limit=1)
    hostile = row._replace(actor="a\x1b[2J\n\r\x07", data={"x": "\x9b31m \u202e \x1b]0;t\x07"})

    line = told(hostile)

    assert line.isprintable() and "\\x1b[2J\\n\\x0d" in line and "\\x202e" in line


def test_a_long_event_is_cut_and_still_one_line(home: LedgerHome) -> None:
    with closing(home.ledger()) as ledger:
        (row,) = ledger.read_all(limit=1)
    line = told(row._replace(data={"x": "long " * 1_000}))
    assert len(line) < 300 and line.endswith("…")
