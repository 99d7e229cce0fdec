"""`harness ledger anchor` and `verify --anchor` on real files: what the chain alone cannot show is told by its name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from harness.adapters.clock import SystemClock
from harness.adapters.worktree import ServiceRepository
from harness.cli import app
from harness.core.anchor import TRAILER, read_anchor
from harness.core.errors import Invalid
from harness.journal import Journal
from harness.ledger.store import Ledger
from harness.simulation.clock import run
from tests.integration.git_world import GitWorld
from tests.integration.ledger_homes import LedgerHome, written_anew
from tests.integration.test_ticket_watch import Home
from tests.simulation.histories import repaired

EVENTS = 9


@pytest.fixture
def home(tmp_path: Path) -> LedgerHome:
    home = LedgerHome(tmp_path / "var")
    home.append(0, EVENTS)
    return home


def says(home: LedgerHome | Path, *words: str, stdin: str = "") -> Result:
    root = home if isinstance(home, Path) else home.root
    return CliRunner().invoke(app, ["ledger", *words], env={"HARNESS_HOME": str(root)}, input=stdin)


@pytest.fixture
def kept(home: LedgerHome, tmp_path: Path) -> Path:
    """Anchors that somebody kept elsewhere: one in words, one as JSON, one as `head` prints it."""
    home.append(EVENTS, 3)
    early = says(home, "anchor").stdout
    home.append(EVENTS + 3, 3)
    file = tmp_path / "anchors"
    file.write_text(f"# ours\n{early}{says(home, 'anchor', '--json').stdout}\n{says(home, 'head').stdout}")
    return file


def test_an_anchor_says_where_the_head_is_of_which_ledger_and_since_when(home: LedgerHome) -> None:
    last = home.rows()[-1]
    anchor = read_anchor(says(home, "anchor").stdout)
    assert (anchor.position, anchor.hash) == (EVENTS, last.hash)
    assert anchor.at is not None and anchor.ledger is not None
    assert json.loads(says(home, "anchor", "--json").stdout) == {
        "position": EVENTS, "hash": last.hash, "ledger": anchor.ledger, "at": anchor.at.isoformat(),
    }  # fmt: skip
    # the ledger keeps its name while it grows
    home.append(EVENTS, 1)
    assert read_anchor(says(home, "anchor").stdout).ledger == anchor.ledger


def test_a_ledger_that_went_on_matches_what_was_kept_of_it(home: LedgerHome, kept: Path) -> None:
    home.append(EVENTS + 6, 4)

    answer = says(home, "verify", "--anchor", str(kept))

    assert (answer.exit_code, "3 anchors hold" in answer.stdout) == (0, True)
    document = json.loads(says(home, "verify", "--anchor", "-", "--json", stdin=kept.read_text()).stdout)
    assert document["ok"] is True and document["anchors"] == 3 and document["events"] == EVENTS + 10


@pytest.mark.parametrize(
    ("tampering", "says_so", "position"),
    [
        ("truncated", "truncated: the ledger ends at position 13", 14),
        ("emptied", "truncated: the ledger ends at position 0", 1),
        ("rewritten", "rewritten: the event at position 12 has the hash ", 12),
        ("rewritten since", "first that is another stands between position 13 and 15", 15),
        ("edited", "hash does not match the other columns", 4),
        ("reordered", "prev_hash is not the hash of the event", 5),
        ("without one", "position 7 is missing", 7),
        ("replaced", "replaced: this is ledger ", 1),
    ],
)
def test_what_was_done_to_the_file_is_named(
    home: LedgerHome, kept: Path, tmp_path: Path, tampering: str, says_so: str, position: int
) -> None:
    rows = home.rows()
    if tampering in ("edited", "reordered", "without one"):  # no ledger takes such rows over: written past the harness
        by_hand(home, tampering)
    elif tampering == "replaced":
        home.path.unlink()
        LedgerHome(home.root, "another one").append(0, 20)
    else:
        home.holds_instead(
            {"truncated": rows[:13], "emptied": [], "rewritten": written_anew(rows, 4, actor="mallory"),
             "rewritten since": written_anew(rows, 14, actor="mallory")}[tampering]
        )  # fmt: skip
    if tampering not in ("edited", "reordered", "without one"):
        assert says(home, "verify").exit_code == 0  # the chain alone holds

    answer = says(home, "verify", "--anchor", str(kept), "--json")

    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["ok"]) == (1, False)
    assert says_so in document["reason"] and document["first_bad_position"] == position
    assert says_so in says(home, "verify", "--anchor", str(kept)).stdout


def by_hand(home: LedgerHome, tampering: str) -> None:
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in {
            "edited": ["UPDATE events SET actor = 'mallory' WHERE position = 4"],
            "without one": ["DELETE FROM events WHERE position = 7"],
            "reordered": [f"UPDATE events SET position = {to} WHERE position = {at}"
                          for at, to in ((5, 99), (6, 5), (99, 6))],
        }[tampering]:  # fmt: skip
            connection.execute(statement)


def test_an_anchor_of_another_ledger_is_told_from_a_ledger_of_another_anchor(
    home: LedgerHome, kept: Path, tmp_path: Path
) -> None:
    other = LedgerHome(tmp_path / "theirs", "another one")
    other.append(0, 4)
    both = says(other, "anchor").stdout + kept.read_text()

    answer = says(home, "verify", "--anchor", "-", stdin=both)

    assert answer.exit_code == 1 and answer.stdout.startswith("foreign anchor: stdin: 1 is of ledger ")
    alone = says(home, "verify", "--anchor", "-", stdin=says(other, "anchor").stdout)
    assert alone.exit_code == 1 and "or the anchor is not of this ledger" in alone.stdout


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("seven", "1 words are no anchor; allowed is POSITION HASH"),
        (f"seven {'a' * 64}", "position 'seven' is no whole number"),
        (f"-1 {'a' * 64}", "position '-1' is no whole number"),
        (f"{9**30} {'a' * 64}", "is no whole number"),
        (f"7 {'A' * 64}", "is not 64 hex digits in lower case"),
        ("7 abc", "hash 'abc' is not 64 hex digits"),
        (f"0 {'a' * 64}", "at position 0, where no event is"),
        (f"7 {'a' * 64} ours", "ledger 'ours' is no UUID"),
        (f"7 {'a' * 64} 9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a116 noon", "time 'noon' is none"),
        ('{"position": 7}', "lacks position or hash"),
        ('{"position": 7, "hash": "x", "more": 1}', "'more' is no key of an anchor"),
        ('{"position": 7.5, "hash": "x"}', "position '7.5' is no whole number"),
        ("{", "is no JSON"),
        ("\x1b[2J 7", r"position '\x1b[2J' is no whole number"),
    ],
)
def test_a_line_that_is_no_anchor_is_refused_with_its_place(
    home: LedgerHome, tmp_path: Path, line: str, reason: str
) -> None:
    file = tmp_path / "anchors"
    file.write_text(f"# a comment\n\n{line}\n")

    with pytest.raises(Invalid) as refused:
        raise says(home, "verify", "--anchor", str(file)).exception or AssertionError

    assert str(refused.value).startswith(f"{file}: 3: ") and reason in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"# nothing but this\n", b"\xff\xfe\x00"])
def test_a_file_without_an_anchor_is_refused(home: LedgerHome, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "anchors").write_bytes(content)
    assert isinstance(says(home, "verify", "--anchor", str(tmp_path / "anchors")).exception, Invalid)
    missing = says(home, "verify", "--anchor", str(tmp_path / "none")).exception
    assert isinstance(missing, Invalid) and "none: No such file" in str(missing)


# --- anchors nobody has to remember ---------------------------------------------------------------------------------


@pytest.fixture
def worked(tmp_path: Path) -> Iterator[LedgerHome]:
    """A home whose ticket was worked; a commit of its attempt is in its repository, as the harness makes them."""
    root = tmp_path / "worked"
    told = Home(root, run(repaired()))
    told.append(told.rows)
    git = GitWorld(make(root / "repos") / "tiny.git")
    git.git("tag", "shipped", git.commit({"limit.txt": "10\n"}, branch="main"))
    journal = Journal("INF-1", ledger=told.ledger, blobs=LedgerHome(root).blobs, clock=SystemClock())
    repository = ServiceRepository(git.path, root / "worktrees")
    repository.roll_back("shipped", "main", "INF-1/1/rollback/main", f"Roll back\n\n{journal.trailers()}")
    merged = repository.merge(
        git.commit({"side.txt": "1"}, onto="shipped"), git.commit({"b.txt": "1"}, onto="main"), "INF-1/1/test",
        journal.trailers(),
    )  # fmt: skip
    assert git.git("show", "--no-patch", "--format=%(trailers:key=Harness-Key)", merged) == "Harness-Key: INF-1/1/test"
    yield LedgerHome(root)
    told.ledger.close()


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_the_commits_of_an_attempt_carry_an_anchor_that_a_retry_says_again(worked: LedgerHome) -> None:
    repository = ServiceRepository(worked.root / "repos/tiny.git", worked.root / "worktrees")
    with closing(worked.ledger()) as ledger:
        last = ledger.read_stream("ticket-INF-1")[-1]
        said = Journal("INF-1", ledger=ledger, blobs=worked.blobs, clock=SystemClock()).trailers()
    # given that the ledger went on meanwhile: the watch, other tickets
    worked.append(10_000, 3)
    # when the attempt is retried
    with closing(worked.ledger()) as ledger:
        again = Journal("INF-1", ledger=ledger, blobs=worked.blobs, clock=SystemClock()).trailers()
    # then it says the same, and both commits have it
    assert again == said
    values = dict(repository.trailers(TRAILER))
    assert values.keys() == {"INF-1/1/rollback/main", "INF-1/1/test"} and len(set(values.values())) == 1
    anchor = read_anchor(values["INF-1/1/test"])
    assert (anchor.position, anchor.hash) == (last.position, last.hash)


def test_a_wholesale_rewriting_is_noticed_though_nobody_kept_a_file(worked: LedgerHome) -> None:
    assert "2 anchors hold" in says(worked, "verify").stdout
    # when an actor is told otherwise, every hash is computed anew, and the harness goes on
    worked.holds_instead(written_anew(worked.rows(), 5, actor="mallory"))
    worked.append(10_000, 3)

    answer = says(worked, "verify")

    assert answer.exit_code == 1
    assert "rewritten: the event at position" in answer.stdout
    assert "by commit INF-1/1/rollback/main of tiny.git" in answer.stdout
    # who knows why may ask for the chain alone
    assert "every one as it was recorded" in says(worked, "verify", "--no-repository").stdout


def test_a_trailer_that_another_hand_wrote_is_no_alarm(worked: LedgerHome) -> None:
    git = GitWorld(worked.root / "repos/tiny.git")
    for name, value in (("by-hand", "nonsense"), ("theirs", f"7 {'a' * 64} 9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a116")):
        commit = git.commit({"x": "1"}, onto="main", message=f"A change\n\n{TRAILER}: {value}\n")
        git.git("update-ref", f"refs/harness/{name}", commit)

    assert "2 anchors hold" in says(worked, "verify").stdout


def test_a_home_without_a_repository_is_held_against_nothing_and_says_so(home: LedgerHome) -> None:
    answer = says(home, "verify")
    assert (answer.exit_code, "no anchor is at hand" in answer.stdout) == (0, True)


def test_an_empty_ledger_has_an_anchor_too(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "ledger.db", now=SystemClock().now).close()
    assert says(tmp_path, "anchor").stdout == f"0 {'0' * 64}\n"
    assert says(tmp_path, "verify", "--anchor", "-", stdin=f"0 {'0' * 64}").exit_code == 0
