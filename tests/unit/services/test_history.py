"""The stored patches are the history of the rate limiter's repository: applied, they give its folder byte for byte."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[3] / "services"
SERVICE = SERVICES / "ratelimiter"
PATCHES = sorted((SERVICES / "ratelimiter.history").glob("*.patch"))


def git(folder: Path, *arguments: str | Path) -> str:
    """Run git with nobody's configuration and a committer of its own; its stdout."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_COMMITTER_NAME": "ratelimiter",
        "GIT_COMMITTER_EMAIL": "ratelimiter@example.org",
    }
    command = ["git", "-C", folder, "-c", "core.autocrlf=false", *arguments]
    return subprocess.run(command, env=surroundings | settings, capture_output=True, text=True, check=True).stdout


def applied(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "am", "--quiet", "--committer-date-is-author-date", *PATCHES)
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return applied(tmp_path_factory.mktemp("history") / "repository")


def test_the_head_is_the_folder_byte_for_byte(repository: Path) -> None:
    # given the files of the folder that git knows or would add
    listed = git(SERVICE, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    files = {name for name in listed if name and (SERVICE / name).exists()}
    # then head has the same names, the same bytes, and the same modes
    assert set(git(repository, "ls-files", "-z").split("\0")) - {""} == files
    for name in sorted(files):
        assert (repository / name).read_bytes() == (SERVICE / name).read_bytes(), name
        assert os.access(repository / name, os.X_OK) == os.access(SERVICE / name, os.X_OK), name
    assert git(repository, "status", "--porcelain") == ""


def test_the_same_patches_give_the_same_commits(repository: Path, tmp_path: Path) -> None:
    again = applied(tmp_path / "again")
    assert git(again, "rev-list", "main") == git(repository, "rev-list", "main")


def test_every_patch_is_a_commit_by_a_made_up_author_at_a_fixed_date(repository: Path) -> None:
    commits = git(repository, "log", "--reverse", "--format=%ae %at %ct").splitlines()
    assert len(commits) == len(PATCHES) >= 12
    dates = []
    for commit in commits:
        address, authored, committed = commit.split(" ")
        assert address.endswith("@example.org")
        assert authored == committed
        dates.append(int(authored))
    assert dates == sorted(set(dates))
