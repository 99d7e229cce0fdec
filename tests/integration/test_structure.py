"""The harness's own invariants on a real ledger's file, a real git repository and the files of Envoy's routes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from harness.adapters.envoy.router import EnvoyRouter
from harness.adapters.envoy.routes import EnvoyRoutes
from harness.adapters.worktree import ServiceRepository
from harness.bootstrap import CHECKOUT
from harness.core import events as e
from harness.core.deployment import NodeReport, RunningRelease
from harness.core.ids import lock_stream
from harness.core.record import StreamWrite
from harness.journal import encode
from harness.ledger.store import Ledger
from harness.structure import AGAIN, Structure
from tests.integration.git_world import GitWorld

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Hand:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def ledger(tmp_path: Path, clock: Hand) -> Iterator[Ledger]:
    with closing(Ledger.open(tmp_path / "ledger.db", now=clock.now)) as opened:
        yield opened


@pytest.fixture
def git(tmp_path: Path) -> GitWorld:
    world = GitWorld(tmp_path / "service.git")
    world.commit({"limits.yaml": "rate: 10\n"}, branch="main")
    return world


@pytest.fixture
def routes(tmp_path: Path) -> EnvoyRoutes:
    written = EnvoyRoutes(tmp_path / "xds", "http://127.0.0.1:9")
    written.prepare()
    return written


@pytest.fixture
def structure(ledger: Ledger, git: GitWorld, routes: EnvoyRoutes, clock: Hand, tmp_path: Path) -> Structure:
    repository = ServiceRepository(git.path, tmp_path / "worktrees")
    return Structure(ledger, repository, EnvoyRouter(routes), clock, "tiny", invariants=["headroom"])


def note(ledger: Ledger, clock: Hand, stream: str, event: e.Event) -> None:
    new = encode(f"{stream}/{ledger.head().position}", event, clock=clock, actor="test", correlation="test", cause=None)
    ledger.append([StreamWrite(stream, None, [new])])


def serving(git: GitWorld, commit: str, actor: str = "harness") -> NodeReport:
    release = RunningRelease(
        commit=commit, tree=git.git("rev-parse", f"{commit}^{{tree}}"), since=NOON, healthy=True, actor=actor
    )
    return NodeReport(
        node="n1", at=NOON, highest_token=0, slots={"stable": release}, cpu_percent=0.0, memory_total_bytes=1,
        memory_used_bytes=1, gpus=(),
    )  # fmt: skip


def edit(tmp_path: Path) -> None:
    """By another hand, past the triggers."""
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE events SET actor = 'mallory' WHERE position = 2")


def test_an_event_that_is_altered_in_the_file_is_found_when_all_is_walked_again(
    ledger: Ledger, structure: Structure, clock: Hand, tmp_path: Path
) -> None:
    # given a ledger that was walked to its end
    for _ in range(5):
        note(ledger, clock, "s", e.SignalEnded(fingerprint="0" * 16))
    assert structure.look([])["ledger_chain"].broken == ""
    # when an event in the middle is altered, and a day goes by
    edit(tmp_path)
    assert structure.look([])["ledger_chain"].broken == ""
    clock.at += AGAIN
    structure.look([])
    # then it is found, and stays found
    for _ in range(3):
        assert "position 2: hash does not match" in structure.look([])["ledger_chain"].broken


def test_events_that_are_cut_off_the_end_are_missed_also_when_others_take_their_place(
    ledger: Ledger, structure: Structure, clock: Hand, tmp_path: Path
) -> None:
    for _ in range(5):
        note(ledger, clock, "s", e.SignalEnded(fingerprint="0" * 16))
    structure.look([])
    edit(tmp_path)  # the triggers are gone with it
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        connection.execute("UPDATE events SET actor = 'test' WHERE position = 2")
        connection.execute("DELETE FROM events WHERE position > 3")
    assert "position 5 was walked, and is gone" in structure.look([])["ledger_chain"].broken
    for _ in range(4):
        note(ledger, clock, "t", e.SignalEnded(fingerprint="1" * 16))
    for _ in range(3):
        found = structure.look([])
    assert "position 5 was walked, and is gone or another by now" in found["ledger_chain"].broken


def test_a_release_of_another_tree_than_main_s_is_drift_and_one_of_the_same_tree_is_none(
    ledger: Ledger, structure: Structure, git: GitWorld, clock: Hand
) -> None:
    main = git.refs()["refs/heads/main"]
    assert structure.look([serving(git, main)])["declared_runs"].broken == ""
    same = git.commit({}, onto=main, message="the same files")
    assert structure.look([serving(git, same, "grace")])["declared_runs"].broken == ""
    # other limits are another tree
    other = git.commit({"limits.yaml": "rate: 99\n"}, onto=main)
    told = structure.look([serving(git, other, "grace")])["declared_runs"].broken
    assert told == f"n1 serves {other[:12]} by grace, and main is {main[:12]}"
    # in the harness's own name it has to be on record, too
    assert "no event has it" in structure.look([serving(git, other)])["releases_on_record"].broken
    note(ledger, clock, "ticket-X-1", e.MainMoved(before=main, after=other))
    assert structure.look([serving(git, other)])["releases_on_record"].broken == ""


def test_a_release_that_runs_by_other_limits_than_main_s_is_drift(structure: Structure, git: GitWorld) -> None:
    # given a service that declares its configuration
    manifest = (CHECKOUT / "services" / "ratelimiter" / "service.yaml").read_text()
    main = git.commit({"limits.yaml": "rate: 10\n", "service.yaml": manifest}, branch="main")
    right = sha256(b"rate: 10\n").hexdigest()

    def looked(altered: tuple[str, ...] | None, told: str | None) -> str:
        report = serving(git, main)
        release = report.slots["stable"].model_copy(update={"altered": altered, "told": told})
        return structure.look([report.model_copy(update={"slots": {"stable": release}})])["declared_runs"].broken

    assert looked((), right[:12]) == looked(None, None) == ""
    other = "0" * 12
    assert looked((), other) == f"n1 says it runs by limits.yaml {other}, and main's is {right[:12]}"
    assert looked(("a", "b"), right) == f"n1 serves {main[:12]} from a folder with a, b altered"


def test_a_share_that_the_routes_give_away_is_drift_unless_somebody_delivers(
    ledger: Ledger, structure: Structure, routes: EnvoyRoutes, clock: Hand
) -> None:
    routes.set_weights({"canary": 100, "baseline": 0}, 1, "by-hand")
    assert "canary has 10.0% of the traffic" in structure.look([])["declared_runs"].broken
    note(ledger, clock, lock_stream("tiny"), e.LockTaken(ticket_id="X-1", attempt=1))
    assert structure.look([])["declared_runs"].unknown == "X-1 delivers"
    note(ledger, clock, lock_stream("tiny"), e.LockFreed(ticket_id="X-1", attempt=1))
    routes.set_weights({"canary": 0, "baseline": 0}, 1, "mended")
    found = structure.look([])["declared_runs"]
    assert (found.broken, found.unknown) == ("", "")


def test_routes_that_cannot_be_read_are_drift_and_end_nothing(structure: Structure, tmp_path: Path) -> None:
    for file in (tmp_path / "xds").rglob("resource.json"):
        file.unlink()
    assert "can't be read" in structure.look([])["declared_runs"].broken
