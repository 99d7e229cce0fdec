"""Orders the commits of an incident and puts them on the main branch of a repository. Touches nothing else."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parseaddr
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

BETWEEN_COMMITS = timedelta(minutes=7)


class Edit(TypedDict):
    """Replace the one place in ``path`` that reads ``find``; ``or_replace``: by one of these instead."""

    path: str
    find: str
    replace: str
    or_replace: NotRequired[Sequence[str]]


class Commit(TypedDict):
    """One commit of a series, as the scenario file holds it; ``author`` is ``Name <address>``."""

    author: str
    message: str
    role: Literal["candidate", "decoy", "fault"]
    edits: list[Edit]


class EditDoesNotApply(Exception):
    """An edit's text is not there exactly once: scenario and service have grown apart. Names file, count and text."""


def order(series: Sequence[Commit], seed: int) -> list[Commit]:
    """The series in the order that ``seed`` draws: no fault first or last (but where little else is), all shuffled.

    Where an edit has several texts to choose from, one is drawn.
    """
    chance = random.Random(seed)
    ordered = [commit for commit in series if commit["role"] != "fault"]
    chance.shuffle(ordered)
    for fault in (commit for commit in series if commit["role"] == "fault"):
        ordered.insert(chance.randrange(1, len(ordered)) if len(ordered) > 1 else len(ordered), fault)
    return [_drawn(commit, chance) for commit in ordered]


def _drawn(commit: Commit, chance: random.Random) -> Commit:
    def edit(one: Edit) -> Edit:
        texts = [one["replace"], *one.get("or_replace", ())]
        return {"path": one["path"], "find": one["find"], "replace": chance.choice(texts)} if len(texts) > 1 else one

    return {**commit, "edits": [edit(one) for one in commit["edits"]]}


def commit_series(repository: Path, ordered: Sequence[Commit], *, before: datetime) -> list[str]:
    """Commit the series on main of a bare repository and return the ids in order.

    The last commit is dated one step (7 minutes) before ``before``, which needs a time zone. main moves once, at the
    end, and only if nobody else moved it meanwhile. Raises EditDoesNotApply; git's own failures are CalledProcessError.
    """
    parent = _git(repository, "rev-parse", "--verify", "refs/heads/main^{commit}")
    with tempfile.TemporaryDirectory(prefix="series-") as folder:
        tree = Path(folder, "tree")
        _git(repository, "worktree", "add", "--quiet", "--detach", str(tree), parent)
        try:
            ids = [
                _commit(tree, commit, before - BETWEEN_COMMITS * (len(ordered) - number))
                for number, commit in enumerate(ordered)
            ]
        finally:
            _git(repository, "worktree", "remove", "--force", str(tree))
    _git(repository, "update-ref", "refs/heads/main", ids[-1], parent)
    return ids


def apply_edits(tree: Path, edits: Sequence[Edit]) -> None:
    """Make the edits in the files below ``tree``. Raises EditDoesNotApply."""
    for edit in edits:
        path = tree / edit["path"]
        try:
            text = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise EditDoesNotApply(f"{edit['path']}: cannot be read: {error}") from None
        if (count := text.count(edit["find"])) != 1:
            raise EditDoesNotApply(f"{edit['path']}: found {count} times, must be once: {edit['find']!r}")
        path.write_bytes(text.replace(edit["find"], edit["replace"]).encode())


def _commit(tree: Path, commit: Commit, at: datetime) -> str:
    apply_edits(tree, commit["edits"])
    name, address = parseaddr(commit["author"])
    date = f"{int(at.timestamp())} +0000"
    identity = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", name), ("EMAIL", address), ("DATE", date))
    }
    _git(tree, "add", "--", *{edit["path"] for edit in commit["edits"]})
    _git(tree, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message", commit["message"], identity=identity)
    return _git(tree, "rev-parse", "HEAD")


def _git(folder: Path, *arguments: str, identity: Mapping[str, str] | None = None) -> str:
    """Run git without anybody's configuration, so that the same series gives the same ids everywhere."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    ended = subprocess.run(
        ["git", "-C", str(folder), "-c", "core.autocrlf=false", *arguments],
        env=surroundings | settings | dict(identity or {}),
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.strip()
