"""Proves how git's listing is read, and that a folder of a process that died goes away with the next one."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.adapters.scratch import scratch_folder
from harness.adapters.worktree import parse_log
from harness.ports import CommitInfo

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def record(commit: str, subject: str, *files: str) -> str:
    """As git prints it: fields by NUL; before the first file a line break; after each file a NUL."""
    listing = ("\n" if files else "") + "".join(f"{file}\0" for file in files)
    return f"\0{commit}\0{subject}\0Ada\0{AT.isoformat()}\0{listing}"


def test_nothing_is_no_commit() -> None:
    assert parse_log("") == []


def test_commits_with_and_without_files_and_subjects_are_told_apart() -> None:
    listing = record("a", "one", "x", "y z") + record("b", "") + record("c", "three") + record("d", "", "\n", "w\n")

    assert parse_log(listing) == [
        CommitInfo("a", "one", "Ada", AT, ("x", "y z")),
        CommitInfo("b", "", "Ada", AT, ()),
        CommitInfo("c", "three", "Ada", AT, ()),
        CommitInfo("d", "", "Ada", AT, ("\n", "w\n")),
    ]


def test_a_scratch_folder_is_there_for_as_long_as_it_is_used(tmp_path: Path) -> None:
    parent = tmp_path / "not" / "yet"
    with pytest.raises(ZeroDivisionError), scratch_folder(parent, "git-") as folder:
        (folder / "deep" / "er").mkdir(parents=True)
        with scratch_folder(parent, "git-") as other:
            assert folder.is_dir() and other != folder
        raise ZeroDivisionError

    assert list(parent.iterdir()) == []


def test_what_a_dead_process_left_goes_and_what_is_another_kinds_stays(tmp_path: Path) -> None:
    # given a folder that nobody holds, one that is held, and one of another prefix
    left, held, other = (tmp_path / name for name in ("git-left", "git-held", "check-left"))
    for folder in (left, held, other):
        (folder / "tree").mkdir(parents=True)
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    with scratch_folder(tmp_path, "git-"):
        seen = {path.name for path in tmp_path.iterdir()}
    os.close(descriptor)

    assert "git-left" not in seen and {"git-held", "check-left"} <= seen
