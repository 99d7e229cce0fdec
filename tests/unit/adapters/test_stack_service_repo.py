"""How a service's repository comes to be: the same commits everywhere, all or nothing, never over an existing one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.adapters.stack.service_repo import make_service_repository, require_same_tree
from harness.core.errors import Broken

AUTHOR = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2026-01-05T09:00:00+01:00",
    "GIT_COMMITTER_NAME": "someone else",
    "GIT_COMMITTER_EMAIL": "else@example.org",
}


def git(folder: Path, *words: str) -> str:
    environ = {**os.environ, **AUTHOR, "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(
        ["git", *words], cwd=folder, env=environ, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """A checkout's ``services/limiter`` with its history of two patches beside it."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    (origin / "app.py").write_text("answer = 41\n")
    (origin / "run.sh").write_text("#!/bin/sh\n")
    (origin / "run.sh").chmod(0o755)
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "Answer questions")
    (origin / "app.py").write_text("answer = 42\r\n")
    git(origin, "commit", "-q", "-a", "-m", "[limits] Answer rightly")
    folder = tmp_path / "services" / "limiter"
    folder.mkdir(parents=True)
    for name in ("app.py", "run.sh"):
        (folder / name).write_bytes((origin / name).read_bytes())
    (folder / "run.sh").chmod(0o755)
    git(origin, "format-patch", "-q", "--root", "-k", "-o", str(tmp_path / "services" / "limiter.history"), "main")
    return folder


def make(service: Path, name: str = "limiter.git") -> tuple[Path, str]:
    repository = service.parent.parent / "repos" / name
    history = service.with_name("limiter.history")
    return repository, make_service_repository(history=history, folder=service, repository=repository)


def test_the_same_patches_give_the_same_commits_everywhere(service: Path) -> None:
    # given two homes, and when each makes the repository
    first, head = make(service)
    _, other_head = make(service, "again.git")

    # then both have the same commits, by a committer that is no person of this machine, at the author's time
    assert head == other_head == git(first, "rev-parse", "main")
    assert git(first, "log", "--format=%s", "main") == "[limits] Answer rightly\nAnswer questions"
    assert git(first, "log", "-1", "--format=%an %cn %ce", "main") == "Ada harness harness@localhost"
    assert git(first, "log", "-1", "--format=%at", "main") == git(first, "log", "-1", "--format=%ct", "main")
    assert git(first, "rev-parse", "--is-bare-repository") == "true"
    assert git(first, "symbolic-ref", "HEAD") == "refs/heads/main"


def test_an_existing_repository_is_left_alone(service: Path) -> None:
    # given a repository whose main has moved on, and a folder that has not
    repository, head = make(service)
    tree = git(repository, "rev-parse", "main^{tree}")
    moved = git(repository, "commit-tree", tree, "-p", head, "-m", "Moved on")
    git(repository, "update-ref", "refs/heads/main", moved)

    # when it is asked for again, then it is as it was
    assert make(service)[1] == moved


def test_caches_are_no_difference(service: Path) -> None:
    (service / "__pycache__").mkdir()
    (service / "__pycache__" / "app.pyc").write_bytes(b"\0")
    require_same_tree(make(service)[0], service)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda folder: (folder / "app.py").write_text("answer = 43\n"), "app.py"),
        (lambda folder: (folder / "run.sh").unlink(), "run.sh"),
        (lambda folder: (folder / "run.sh").chmod(0o644), "run.sh"),
        (lambda folder: (folder / "more.py").write_text(""), "more.py"),
    ],
    ids=["other content", "missing", "other mode", "not in the history"],
)
def test_a_folder_that_differs_from_its_history_makes_nothing(service: Path, change, path) -> None:  # type: ignore[no-untyped-def]
    # given a folder that was edited without a patch
    change(service)

    # when its repository is made, then the first path that differs is named and nothing is left behind
    with pytest.raises(Broken, match=f"limiter/{path}: is not as in branch main"):
        make(service)
    assert list((service.parent.parent / "repos").iterdir()) == []


def test_a_patch_that_does_not_apply_makes_nothing(service: Path) -> None:
    # given a history whose first patch is missing
    next(iter(sorted(service.with_name("limiter.history").iterdir()))).unlink()

    with pytest.raises(Broken, match="git am"):
        make(service)
    assert list((service.parent.parent / "repos").iterdir()) == []


def test_a_history_without_patches_is_named(service: Path) -> None:
    for patch in service.with_name("limiter.history").iterdir():
        patch.unlink()
    with pytest.raises(Broken, match=r"limiter\.history: holds no \*\.patch"):
        make(service)
