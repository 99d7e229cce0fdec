"""Bodies on the disk, with real ledgers, real processes and kill -9: what is needed stays, what is dropped is gone."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import zstandard
from typer.testing import CliRunner

from harness.adapters.clock import SystemClock
from harness.cli import app
from harness.core import events as e
from harness.core.canonical import canonical_bytes
from harness.core.dropping import Drop
from harness.core.errors import Broken, Dropped, HarnessError, Invalid, Refused
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.retention import Retention
from harness.ledger.blobs import Blobs
from harness.ledger.bodies import audit_bodies, drop_of
from harness.ledger.collect import collect, forget
from harness.ledger.store import Ledger

PROGRAM = Path(__file__).with_name("blob_keepers.py")
ROOT = Path(__file__).parents[2]
POLICY = Retention.parse({"unreferenced": "1h"}, "retention.yaml")
LONG_AGO_NS = 2 * 3600 * 10**9
UNKNOWN = "sha256:" + "0" * 64
CLOCK = SystemClock()


@dataclass
class Kept:
    """A ledger with its bodies, in a home."""

    ledger: Ledger
    blobs: Blobs
    home: Path

    def says(self, text: str) -> str:
        """Put a body and append an event that refers to it; its reference."""
        ref = self.blobs.put_json({"text": text})
        event = e.SignalAttached(fingerprint="c", ticket_id="INF-1", evidence=ref)
        self.ledger.append([StreamWrite("cause-c", None, [new(event)])])
        return ref

    def file_of(self, ref: str) -> Path:
        return self.home / "blobs" / ref[7:9] / ref[9:]

    def is_old(self, ref: str) -> None:
        then = time.time_ns() - LONG_AGO_NS
        os.utime(self.file_of(ref), ns=(then, then))

    def collects(self, *, dry_run: bool = False) -> dict[str, int]:
        return dict(collect(self.ledger, self.blobs, CLOCK, POLICY, dry_run=dry_run).files)

    def forgets(self, ref: str, why: str = "it holds a token") -> tuple[Drop, bool]:
        return forget(self.ledger, self.blobs, CLOCK, ref, why=why, by="ada")


def new(event: e.Event) -> NewEvent:
    data = event.model_dump(mode="json")
    return NewEvent(id=str(uuid4()), type=type(event).__name__, data=data, actor="harness", occurred_at=CLOCK.now())


@contextmanager
def opened(home: Path) -> Iterator[Kept]:
    ledger = Ledger.open(home / "ledger.db", now=CLOCK.now)
    try:
        yield Kept(ledger, Blobs(home / "blobs", drops=partial(drop_of, ledger)), home)
    finally:
        ledger.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    with opened(tmp_path) as one:
        yield one


# --- collecting ----------------------------------------------------------------------------------------------------


def test_what_no_event_refers_to_goes_once_it_is_old_and_nothing_else(kept: Kept) -> None:
    # given bodies: referred to, of a process that died long ago, and of one that has yet to append
    needed, waste, young = kept.says("a"), kept.blobs.put(b"waste"), kept.blobs.put(b"young")
    kept.is_old(needed)
    kept.is_old(waste)

    # when a collection is asked what it would do, nothing is done; then it is done
    said = {"kept": 1, "unreferenced": 1, "young": 1}
    assert kept.collects(dry_run=True) == said and kept.blobs.get(waste)
    assert kept.collects() == said

    # then only the waste is gone, and a put makes a body young again that was old
    assert [kept.file_of(ref).exists() for ref in (needed, waste, young)] == [True, False, True]
    kept.is_old(young)
    kept.blobs.put(b"young")
    assert kept.collects() == {"kept": 1, "young": 1}


def test_what_a_killed_put_left_half_written_goes_and_the_files_of_others_stay(kept: Kept) -> None:
    shelf = kept.file_of(kept.says("a")).parent
    for name in (".half", "README"):
        (shelf / name).write_bytes(b"")
        os.utime(shelf / name, ns=(0, 0))

    kept.collects()

    assert not (shelf / ".half").exists() and (shelf / "README").exists()


def test_nothing_is_collected_with_the_ledger_of_another_home(kept: Kept, tmp_path: Path) -> None:
    # given a ledger whose bodies are elsewhere, and one that knows of none
    kept.says("a")
    other = Blobs(tmp_path / "others")
    kept_by_other = other.put(b"needed by somebody")
    os.utime(tmp_path / "others" / kept_by_other[7:9] / kept_by_other[9:], ns=(0, 0))

    with pytest.raises(Broken, match=r"nothing is collected: blob sha256:\w+ is missing, .*position 1"):
        collect(kept.ledger, other, CLOCK, POLICY, dry_run=False)
    with opened(tmp_path / "empty") as empty, pytest.raises(Refused, match="HARNESS_LEDGER_URL"):
        collect(empty.ledger, other, CLOCK, POLICY, dry_run=False)

    assert other.get(kept_by_other)


def test_the_age_is_counted_from_before_the_events_are_read(kept: Kept) -> None:
    # whoever appended within the time after the clock was read is then seen, however long the reading takes
    order = []

    class Told(Blobs):
        def now_ns(self) -> int:
            order.append("clock")
            return super().now_ns()

    class Read(Ledger):
        def read_all(self, *, after_position: int = 0, limit: int = 1_000) -> list[Recorded]:
            order.append("events")
            return super().read_all(after_position=after_position, limit=limit)

    kept.says("a")
    ledger = Read.open(kept.home / "ledger.db", now=CLOCK.now)
    collect(ledger, Told(kept.home / "blobs"), CLOCK, POLICY, dry_run=False)
    ledger.close()

    assert order[0] == "clock" and "events" in order


def test_who_takes_and_who_puts_keep_out_of_each_others_way(tmp_path: Path) -> None:
    # given somebody who asks, in the middle of a put, whether the body was dropped
    def holds(shelf: Path, how: int) -> bool:
        handle = os.open(shelf, os.O_RDONLY)
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True

    seen = []

    def asked(ref: str) -> None:
        shelf = tmp_path / ref[7:9]
        seen.append((holds(shelf, fcntl.LOCK_EX), holds(shelf, fcntl.LOCK_SH)))

    # then nobody could take meanwhile, and others could put; and nobody puts where one takes
    blobs = Blobs(tmp_path, drops=asked)
    name = blobs.put(b"a body")[7:9]
    assert seen == [(False, True)]
    with blobs.shelf(name):
        assert not holds(tmp_path / name, fcntl.LOCK_SH)
    assert holds(tmp_path / name, fcntl.LOCK_EX)


def test_nothing_is_lost_while_writers_write_and_collectors_are_killed(tmp_path: Path) -> None:
    # given old bodies that nobody refers to, writers that put some of them again, and collectors at work on them
    with opened(tmp_path) as kept:
        kept.says("first")
        for number in range(80):
            kept.is_old(kept.blobs.put_json({"text": f"body {number}"}))
    environment = {"PYTHONPATH": str(ROOT)}
    run = partial(subprocess.Popen, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    writers = [run([sys.executable, str(PROGRAM), "write", str(tmp_path), str(seed)]) for seed in (1, 2)]
    collector = run([sys.executable, str(PROGRAM), "collect", str(tmp_path), "8"])

    # when all have come to their end
    told, _ = collector.communicate(timeout=100)
    for writer in writers:
        writer.communicate(timeout=100)
    assert [one.returncode for one in (collector, *writers)] == [0, 0, 0] and int(told) > 0

    # then every body that an event refers to is there; and of the others a last collection leaves none
    with opened(tmp_path) as kept:
        found = audit_bodies(kept.ledger, kept.blobs)
        kept.collects()
        after = audit_bodies(kept.ledger, kept.blobs)
        files = [one for one in (tmp_path / "blobs").glob("??/*") if not one.name.startswith(".")]
    assert found.faults == after.faults == () and found.proven == after.proven > 20
    assert len(files) == after.proven


# --- forgetting ----------------------------------------------------------------------------------------------------


def test_a_forgotten_body_is_told_with_who_and_why_and_the_ledger_verifies(kept: Kept) -> None:
    ref, other = kept.says("password"), kept.says("other")

    drop, now = kept.forgets(ref)

    assert now and drop.actor == "human:ada" and not kept.file_of(ref).exists()
    with pytest.raises(Dropped, match=rf"{ref} was dropped on .* by human:ada because: it holds a token"):
        kept.blobs.get(ref)
    assert kept.blobs.get_json(other) == {"text": "other"} and kept.ledger.verify().ok
    found = audit_bodies(kept.ledger, kept.blobs)
    assert (found.proven, found.dropped, found.faults, found.unfinished) == (2, 1, (), ())  # the reason is one, too


def test_a_body_is_forgotten_once_and_its_reason_can_be_forgotten_as_well(kept: Kept) -> None:
    ref = kept.says("password")
    first, _ = kept.forgets(ref)

    again, now = kept.forgets(ref, why="another reason")
    assert (again, now) == (first, False) and kept.ledger.stream_version(f"blob-{ref[7:]}") == 1

    assert first.event.why is not None
    kept.forgets(first.event.why, why="it said the password")
    with pytest.raises(Dropped, match="who gave a reason that is dropped as well"):
        kept.blobs.get(ref)


def test_a_forgotten_body_does_not_come_back_whoever_says_it_again(kept: Kept) -> None:
    ref = kept.says("password")
    kept.forgets(ref)

    assert kept.says("password") == ref

    assert not kept.file_of(ref).exists()
    with pytest.raises(Dropped, match="because: it holds a token"):
        kept.blobs.get(ref)
    assert audit_bodies(kept.ledger, kept.blobs).faults == ()
    # not even from a copy of the folder that is brought back: it is found, and a collection finishes it
    kept.file_of(ref).write_bytes(zstandard.compress(canonical_bytes({"text": "password"})))
    assert audit_bodies(kept.ledger, kept.blobs).unfinished == (ref,)
    assert kept.collects()["finished"] == 1 and not kept.file_of(ref).exists()


@pytest.mark.parametrize("finish", ["gc", "forget"])
def test_who_is_killed_between_the_record_and_the_file_is_finished_by_the_next(kept: Kept, finish: str) -> None:
    # given a process that is killed with -9 right after the drop was recorded
    ref = kept.says("password")
    kept.ledger.close()
    process = subprocess.run(
        [sys.executable, str(PROGRAM), "forget", str(kept.home), ref], cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL and kept.file_of(ref).exists()

    with opened(kept.home) as after:
        assert after.ledger.verify().ok
        assert audit_bodies(after.ledger, after.blobs).unfinished == (ref,)
        if finish == "gc":
            assert after.collects()["finished"] == 1
        else:
            assert after.forgets(ref)[1] is False
        assert not after.file_of(ref).exists() and after.ledger.stream_version(f"blob-{ref[7:]}") == 1
        assert audit_bodies(after.ledger, after.blobs).unfinished == ()


@pytest.mark.parametrize("why", ["", "  ", "password"])
def test_a_reason_that_is_none_or_is_the_secret_itself_is_refused(kept: Kept, why: str) -> None:
    ref = kept.says("password")

    with pytest.raises(Invalid, match="--why"):
        kept.forgets(ref, why=why)

    assert kept.blobs.get(ref) and kept.ledger.stream_version(f"blob-{ref[7:]}") == 0


def test_a_damaged_body_can_be_forgotten_and_then_the_ledger_verifies(kept: Kept) -> None:
    ref = kept.says("lost")
    kept.file_of(ref).unlink()
    assert len(audit_bodies(kept.ledger, kept.blobs).faults) == 1

    kept.forgets(ref, why="the disk lost it, and there is no copy")

    assert audit_bodies(kept.ledger, kept.blobs).faults == ()
    assert kept.collects()


# --- as it is typed ------------------------------------------------------------------------------------------------


def typed(home: Path, *words: str) -> tuple[int, str]:
    """The exit code and what was said, as `harness.cli.main` would have it."""
    done = CliRunner().invoke(app, ["ledger", *words], env={"HARNESS_HOME": str(home), "HARNESS_LEDGER_URL": ""})
    if isinstance(done.exception, HarnessError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def swapped(kept: Kept, ref: str, other: str) -> None:
    kept.file_of(ref).write_bytes(kept.file_of(other).read_bytes())


def cut(kept: Kept, ref: str, _: str) -> None:
    kept.file_of(ref).write_bytes(kept.file_of(ref).read_bytes()[:-3])


def lost(kept: Kept, ref: str, _: str) -> None:
    kept.file_of(ref).unlink()


@pytest.mark.parametrize(("damage", "word"), [(swapped, "altered"), (cut, "altered"), (lost, "missing")])
def test_verify_names_the_body_that_is_not_as_it_was_and_the_event(kept: Kept, damage: Any, word: str) -> None:
    other, ref = kept.says("other"), kept.says("first")
    assert typed(kept.home, "verify")[0] == 0

    damage(kept, ref, other)

    code, said = typed(kept.home, "verify")
    assert code == 1 and f"blob {ref} is {word}" in said and "the event at position 2 refers to it" in said
    code, said = typed(kept.home, "verify", "--json")
    assert code == 1 and '"ok": false' in said and '"first_bad_position": null' in said and '"faulty": 1' in said


def test_what_is_dropped_while_it_is_verified_is_no_fault(kept: Kept) -> None:
    # given a reader of the ledger that is as old as the moment before the drop
    ref = kept.says("a")
    before = kept.ledger.read_all()

    class Earlier(Ledger):
        def read_all(self, *, after_position: int = 0, limit: int = 1_000) -> list[Recorded]:
            return [row for row in before if row.position > after_position]

    kept.forgets(ref)
    earlier = Earlier.open(kept.home / "ledger.db", now=CLOCK.now)
    found = audit_bodies(earlier, kept.blobs)
    earlier.close()

    assert (found.faults, found.dropped) == ((), 1)


def test_forget_and_gc_say_what_they_did_and_end_as_the_contract_has_it(kept: Kept) -> None:
    ref, waste = kept.says("password"), kept.blobs.put(b"waste")
    then = time.time_ns() - 8 * 24 * 3600 * 10**9
    os.utime(kept.file_of(waste), ns=(then, then))

    code, said = typed(kept.home, "gc", "--dry-run")
    assert code == 0 and "would go, that no event refers to" in said and kept.file_of(waste).exists()
    code, said = typed(kept.home, "gc")
    assert code == 0 and "removed, that no event refers to" in said and not kept.file_of(waste).exists()

    code, said = typed(kept.home, "forget", ref, "--why", "it holds a token", "--by", "ada")
    assert code == 0 and "by human:ada because: it holds a token" in said
    code, said = typed(kept.home, "forget", ref, "--why", "again", "--by", "bob")
    assert code == 0 and "was before dropped" in said and "human:ada" in said
    for bad, allowed in (("0" * 64, "sha256: and 64 hex digits"), (UNKNOWN, "no event refers to it")):
        code, said = typed(kept.home, "forget", bad, "--why", "x")
        assert code == 2 and allowed in said.replace(f"to {UNKNOWN}", "to it")
    assert typed(kept.home, "verify")[0] == 0
