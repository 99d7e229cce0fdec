"""`harness ledger export` and `restore` on real files: under load, through kill -9, on a full disk, when damaged."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from harness.core.errors import Broken, Forbidden, Invalid
from harness.ledger.backup import EVENTS, MANIFEST, SUMS, check, export, restore
from tests.acceptance.newcomer import Newcomer
from tests.integration.ledger_homes import NOON, LedgerHome
from tests.integration.test_ledger_anchors import says
from tests.integration.test_ledger_durability import acknowledged, writers

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> LedgerHome:
    home = LedgerHome(tmp_path / "var")
    home.append(0, 40)
    return home


@pytest.fixture
def backup(home: LedgerHome, tmp_path: Path) -> Path:
    answer = says(home, "export", "--out", str(tmp_path / "backup"))
    assert answer.exit_code == 0 and "40 events, 7 bodies" in answer.stdout
    return tmp_path / "backup"


def brought_back(folder: Path, root: Path) -> LedgerHome:
    manifest, home = check(folder), LedgerHome(root)
    with closing(home.ledger()) as ledger:
        restore(folder, manifest, ledger, home.blobs)
    return home


def test_a_backup_brings_back_the_same_chain_and_the_same_bodies(
    home: LedgerHome, backup: Path, tmp_path: Path
) -> None:
    new = LedgerHome(tmp_path / "new")

    answer = says(new, "restore", str(backup), "--json")

    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["events"] == 40
    assert new.rows() == home.rows()
    assert [(ref, new.blobs.get(ref)) for ref in new.blobs.refs()] == [
        (ref, home.blobs.get(ref)) for ref in home.blobs.refs()
    ]
    assert says(new, "verify", "--anchor", "-", stdin=says(home, "anchor").stdout).exit_code == 0
    # and the harness goes on with it, and a backup of the backup is the same
    assert {path.read_bytes() for path in (backup / EVENTS, again(new, tmp_path) / EVENTS)} == {
        (backup / EVENTS).read_bytes()
    }
    new.append(40, 3)
    assert len(new.rows()) == 43


def again(home: LedgerHome, tmp_path: Path) -> Path:
    with closing(home.ledger()) as ledger:
        export(ledger, home.blobs, tmp_path / "again", taken_at=NOON)
    return tmp_path / "again"


def test_a_backup_can_be_looked_at_without_a_harness(home: LedgerHome, backup: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", SUMS], cwd=backup, check=True)
    text = zstandard.ZstdDecompressor().stream_reader((backup / EVENTS).read_bytes()).read().decode()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["position"] for line in lines] == list(range(1, 41))
    assert lines[3]["data"]["body"].startswith("sha256:") and lines[3]["hash"] == home.rows()[3].hash
    manifest = json.loads((backup / MANIFEST).read_text())
    assert (manifest["events"], manifest["head_hash"]) == (40, home.rows()[-1].hash)
    assert backup.stat().st_mode & 0o077 == 0  # it holds whatever the ledger does


def test_a_backup_under_load_is_a_state_that_the_ledger_had(tmp_path: Path) -> None:
    # given three processes that append
    path = tmp_path / "var" / "ledger.db"
    home = LedgerHome(path.parent)
    process = writers("together", path, 3, 60)
    # when backups are taken meanwhile, by this process
    with closing(home.ledger()) as ledger:
        ledger.wait_past(0, timeout_s=30)
        sizes = []
        for number in range(4):
            sizes.append(export(ledger, home.blobs, tmp_path / f"b{number}", taken_at=NOON).events)
            ledger.wait_past(sizes[-1], timeout_s=30)
        total = acknowledged(process)
        rows = list(ledger.rows(up_to=10**9))
    # then each is the beginning of what the ledger became
    assert len(rows) == len(total) and sizes == sorted(set(sizes))
    for number, size in enumerate(sizes):
        assert brought_back(tmp_path / f"b{number}", tmp_path / f"n{number}").rows() == rows[:size]


def test_an_empty_ledger_can_be_backed_up_too(tmp_path: Path) -> None:
    home = LedgerHome(tmp_path / "var")
    home.rows()
    assert brought_back(again(home, tmp_path), tmp_path / "new").rows() == []


def test_a_backup_is_only_brought_back_where_no_event_is(home: LedgerHome, backup: Path, tmp_path: Path) -> None:
    other = LedgerHome(tmp_path / "other")
    other.append(0, 1)
    for there, why in ((other, "holds 1 events already"), (home, "it is restored already")):
        before = there.rows()
        refused = says(there, "restore", str(backup)).exception
        assert isinstance(refused, Forbidden) and why in str(refused)
        assert there.rows() == before


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def resigned(folder: Path, tamper: Callable[[str], str]) -> None:
    """Somebody alters the events of a backup and computes its sums anew."""
    text = zstandard.ZstdDecompressor().stream_reader((folder / EVENTS).read_bytes()).read().decode()
    (folder / EVENTS).write_bytes(zstandard.compress(tamper(text).encode()))
    lines = (folder / SUMS).read_text().splitlines()
    made = [subprocess.run(["sha256sum", line.split("  ")[1]], cwd=folder, capture_output=True, text=True).stdout
            for line in lines]  # fmt: skip
    (folder / SUMS).write_text("".join(made))
    sums = subprocess.run(["sha256sum", SUMS], cwd=folder, capture_output=True, text=True).stdout.split()[0]
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"sums": sums}))


DAMAGES: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "a bit of the events": (lambda at: flipped(at / EVENTS), Broken, f"{EVENTS}: is not as it was written"),
    "a bit of a body": (lambda at: flipped(next((at / "blobs").rglob("*/*"))), Broken, "is not as it was written"),
    "a body is gone": (lambda at: next((at / "blobs").rglob("*/*")).unlink(), Broken, "is missing"),
    "the events are gone": (lambda at: (at / EVENTS).unlink(), Broken, "is missing"),
    "the sums": (lambda at: flipped(at / SUMS), Broken, "SHA256SUMS: is not as it was written"),
    "a file more": (lambda at: (at / "more").write_text("x"), Broken, "holds 9 files, its manifest names 8"),
    "no manifest": (lambda at: (at / MANIFEST).unlink(), Invalid, "has no MANIFEST.json"),
    "half a manifest": (lambda at: (at / MANIFEST).write_text('{"form"'), Invalid, "MANIFEST.json: $: Invalid JSON"),
    "of the future": (
        lambda at: (at / MANIFEST).write_text((at / MANIFEST).read_text().replace('"version": 1', '"version": 2')),
        Invalid, "version: ",
    ),
    "cut, with right sums": (
        lambda at: resigned(at, lambda text: "".join(text.splitlines(True)[:-1])), Broken, "ends at position 39",
    ),
    "edited, with right sums": (
        lambda at: resigned(at, lambda text: text.replace('"number":7', '"number":8')), Broken, "hash does not match",
    ),
    "data no ledger takes, with right sums": (
        lambda at: resigned(at, lambda text: text.replace('"number":7', f'"number":{10**17}')), Broken,
        "line 17: is no event (data.number: ",
    ),
    "no rows, with right sums": (lambda at: resigned(at, lambda _: "[]\n"), Broken, "line 1: is no event (it has not"),
    "no JSON, with right sums": (lambda at: resigned(at, lambda _: "{"), Broken, "line 1: is no event (unexpected end"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_backup_that_is_not_as_it_was_written_touches_nothing(backup: Path, tmp_path: Path, damage: str) -> None:
    tamper, kind, says_so = DAMAGES[damage]
    tamper(backup)

    with pytest.raises(kind) as refused:
        brought_back(backup, tmp_path / "new")

    assert says_so in str(refused.value) and str(backup) in str(refused.value)
    assert not (tmp_path / "new").exists()
    assert type(says(tmp_path / "new", "restore", str(backup)).exception) is kind and not (tmp_path / "new").exists()


def test_what_is_damaged_is_not_backed_up(home: LedgerHome, tmp_path: Path) -> None:
    flipped(next((home.root / "blobs").rglob("*/*")))
    altered = says(home, "export", "--out", str(tmp_path / "b")).exception
    assert isinstance(altered, Broken) and "is altered" in str(altered)

    rows = home.rows()
    shutil.rmtree(home.root / "blobs")
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER events_refuse_update")
        connection.execute("UPDATE events SET actor = 'mallory' WHERE position = 30")
    damaged = says(home, "export", "--out", str(tmp_path / "b")).exception
    assert isinstance(damaged, Broken) and "position 30: hash does not match" in str(damaged)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["var"] and len(rows) == 40


def test_a_name_that_is_taken_is_refused(home: LedgerHome, backup: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    for name in ("backup", "file", "link"):
        assert isinstance(says(home, "export", "--out", str(tmp_path / name)).exception, Invalid)
    assert isinstance(says(home, "export", "--out", str(tmp_path / "file" / "b")).exception, Invalid)
    assert says(home, "export", "--out", str(tmp_path / "empty")).exit_code == 0


# --- kill -9, and a disk that is full -------------------------------------------------------------------------------

CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from harness.ledger.backup import check, export, restore
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger
what, root, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
now = lambda: datetime.now(UTC)
ledger = Ledger.open(root / "ledger.db", now=now)
print("open", flush=True)
if what == "export":
    export(ledger, Blobs(root / "blobs"), folder, taken_at=now())
else:
    restore(folder, check(folder), ledger, Blobs(root / "blobs"))
"""


def child(what: str, root: Path, folder: Path) -> subprocess.Popen[str]:
    """Begins to export or to restore in a process of its own, and comes back when it has opened the ledger."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, what, str(root), str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    return process


def killed_after(seconds: float, process: subprocess.Popen[str]) -> bool:
    """Whether the process was still at work when it was killed."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode != 0


def seconds_of(process: subprocess.Popen[str]) -> float:
    """How long it is at work when nobody kills it: kills are drawn from that, on whatever machine."""
    began = time.monotonic()
    process.communicate()
    assert process.returncode == 0
    return time.monotonic() - began


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[LedgerHome, Path]:
    """A ledger that takes long enough to be killed in the middle, and its backup."""
    home = LedgerHome(tmp_path_factory.mktemp("large") / "var")
    home.append(0, 8_000)
    folder = home.root.parent / "backup"
    with closing(home.ledger()) as ledger:
        export(ledger, home.blobs, folder, taken_at=NOON)
    return home, folder


def test_a_restore_that_is_killed_leaves_no_event_and_is_simply_done_again(
    large: tuple[LedgerHome, Path], tmp_path: Path
) -> None:
    home, folder = large
    new, chance, killed = LedgerHome(tmp_path / "new"), random.Random(5), 0
    whole_s = seconds_of(child("restore", tmp_path / "undisturbed", folder))
    for _ in range(4):
        # when it is killed at some moment
        killed += killed_after(chance.uniform(0, 0.9) * whole_s, child("restore", new.root, folder))
        # then the ledger is as empty as before, or complete
        with closing(new.ledger()) as ledger:
            there = ledger.head().position
        assert there in (0, 8_000)
        if there:
            shutil.rmtree(new.root)
    assert killed

    brought_back(folder, new.root)
    assert new.rows() == home.rows()


def test_an_export_that_is_killed_leaves_nothing_of_its_name(large: tuple[LedgerHome, Path], tmp_path: Path) -> None:
    home, _ = large
    chance, killed = random.Random(6), 0
    whole_s = seconds_of(child("export", home.root, tmp_path / "undisturbed"))
    for number in range(3):
        out = tmp_path / f"backup-{number}"
        killed += killed_after(chance.uniform(0, 0.9) * whole_s, child("export", home.root, out))
        if out.exists():
            brought_back(out, tmp_path / f"new-{number}")
    assert killed


def limited(size_bytes: int) -> Callable[[], None]:
    """A file may have no more than so many bytes, as where the disk is full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


@pytest.mark.parametrize("what", ["export", "restore"])
def test_on_a_full_disk_it_says_so_and_leaves_nothing_half(
    large: tuple[LedgerHome, Path], tmp_path: Path, what: str
) -> None:
    home, folder = large
    new = LedgerHome(tmp_path / "new")
    root, words = (home.root, ["--out", str(tmp_path / "b")]) if what == "export" else (new.root, [str(folder)])
    command = [str(Path(sys.executable).with_name("harness")), "ledger", what, *words]
    done = subprocess.run(
        command, preexec_fn=limited(300_000), capture_output=True, text=True,
        env={**os.environ, "HARNESS_HOME": str(root)},
    )  # fmt: skip

    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr and ("free some space" in done.stderr or "quota" in done.stderr)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["new"])
    # once there is room, it is done
    if what == "restore":
        with closing(new.ledger()) as ledger:
            assert ledger.head().position == 0
        assert brought_back(folder, new.root).rows() == home.rows()


def test_an_append_on_a_full_disk_is_worth_a_retry_and_loses_nothing(tmp_path: Path) -> None:
    program = f"""
import resource, sys
sys.path.insert(0, {str(ROOT)!r})
from contextlib import closing
from pathlib import Path
from harness.core.errors import Retryable
from tests.integration.ledger_homes import LedgerHome
home = LedgerHome(Path({str(tmp_path)!r}))
home.append(0, 10)
kept, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
done = 10
with closing(home.ledger()) as ledger:
    try:
        while done < 10_000:
            home.append(done, 10)
            done += 10
    except Retryable as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kept, hard))
    there, found = ledger.head().position, ledger.verify()
    home.append(done, 10)  # the same again, now that there is room
    print(done < 10_000, there == done, found.ok, ledger.head().position == done + 10, ledger.verify().ok)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert "then append again" in said[0] and said[1] == "True True True True True"


def test_the_command_line_tells_each_refusal_in_one_line(home: LedgerHome, backup: Path, tmp_path: Path) -> None:
    person = Newcomer(home.root)
    for words, code in (
        (("restore", str(backup)), 3),
        (("restore", str(tmp_path)), 2),
        (("export", "--out", str(backup)), 2),
        (("verify", "--anchor", str(tmp_path / "none")), 2),
    ):
        answer = person.types("ledger", *words)
        assert (answer.code, answer.stdout) == (code, "")
        assert answer.stderr.startswith("harness: ") and answer.stderr.count("\n") == 1
