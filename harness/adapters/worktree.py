"""The service's git repository: reads history, writes commits that carry the key of their effect. The only user of git.

Every commit that the harness makes is named by a ref ``refs/harness/<key>``, written in one transaction with the
branch: a retry finds the ref and makes no second commit. Hooks never run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from git import Actor, GitCommandError, Repo
from git.exc import GitError

from harness.adapters.declarations import parse_manifest
from harness.core.errors import Forbidden, Invalid, Refused
from harness.core.manifest import Manifest
from harness.ports import CommitInfo

AGENT = Actor("harness", "harness@localhost")
_FIELD, _RECORD = "\x1f", "\x1e"


class ServiceRepository:
    """A bare repository with the branch ``main``; worktrees are temporary folders beside it."""

    def __init__(self, path: Path, worktrees: Path) -> None:
        try:
            self._repo = Repo(path)
        except GitError:
            raise Invalid(f"{path}: no git repository; `harness up` makes the service's own one") from None
        self._worktrees = worktrees

    def main(self) -> str:
        """The commit that ``main`` is at."""
        return self._resolve("refs/heads/main")

    def shipped(self) -> str:
        """The commit that the service came with."""
        return self._resolve("refs/tags/shipped")

    def tree(self, commit: str) -> str:
        """The tree of a commit."""
        return self._resolve(f"{commit}^{{tree}}")

    def log(self, since: str, until: str) -> list[CommitInfo]:
        """The commits after ``since`` up to ``until``, oldest first; states of main only (first parents)."""
        self._resolve(since), self._resolve(until)
        listing = self._repo.git.log(
            "--reverse", "--first-parent", "-m", "--name-only",
            f"--format={_RECORD}%H{_FIELD}%s{_FIELD}%an{_FIELD}%cI{_FIELD}", f"{since}..{until}",
        )  # fmt: skip
        return [_commit_info(record) for record in listing.split(_RECORD) if record.strip()]

    def diff(self, base: str, commit: str) -> str:
        """The unified diff between two commits."""
        return str(self._repo.git.diff(self._resolve(base), self._resolve(commit)))

    def manifest(self, commit: str) -> Manifest:
        """The service manifest as of a commit."""
        where = f"service.yaml of {commit[:12]}"
        try:
            text = self._repo.git.show(f"{commit}:service.yaml")
        except GitCommandError:
            raise Invalid(f"{where}: is not there; a service declares itself in service.yaml at its root") from None
        return parse_manifest(text, where)

    def revert(self, commit: str, onto: str, branch: str, key: str, message: str) -> str:
        """A commit on ``branch`` on top of ``onto`` that takes ``commit`` back."""
        if done := self._done(key):
            return done
        with self._worktree(onto) as tree:
            try:
                tree.git.revert("--no-commit", self._resolve(commit))
            except GitCommandError:
                blocking = tree.git.diff("--name-only", "--diff-filter=U").split()
                raise Refused(
                    f"{commit[:12]} cannot be taken back on {onto[:12]}: later changes stand in the way in "
                    f"{', '.join(blocking) or 'its files'}"
                ) from None
            new = tree.index.commit(message, author=AGENT, committer=AGENT, skip_hooks=True).hexsha
        self._name(key, new, branch)
        return new

    def merge(self, branch_commit: str, main: str, key: str) -> str:
        """The commit that joins a change with main: the change itself while main has not moved past its base."""
        if self._repo.is_ancestor(self._repo.commit(main), self._repo.commit(branch_commit)):
            return branch_commit
        if done := self._done(key):
            return done
        with self._worktree(main) as tree:
            try:
                tree.git.merge("--no-ff", "--no-commit", branch_commit)
            except GitCommandError:
                blocking = tree.git.diff("--name-only", "--diff-filter=U").split()
                raise Refused(
                    f"the change does not merge with main {main[:12]}: conflict in {', '.join(blocking)}"
                ) from None
            parents = [self._repo.commit(main), self._repo.commit(branch_commit)]
            message = f"Merge {branch_commit[:12]} into main\n\nHarness-Key: {key}\n"
            new = tree.index.commit(message, parents, author=AGENT, committer=AGENT, skip_hooks=True).hexsha
        self._name(key, new)
        return new

    def roll_back(self, before: str, after: str, key: str, message: str) -> str:
        """A commit on top of ``after`` with the tree of ``before``."""
        if done := self._done(key):
            return done
        identity = {
            "GIT_AUTHOR_NAME": AGENT.name, "GIT_AUTHOR_EMAIL": AGENT.email,
            "GIT_COMMITTER_NAME": AGENT.name, "GIT_COMMITTER_EMAIL": AGENT.email,
        }  # fmt: skip
        new = str(self._repo.git.commit_tree(self.tree(before), "-p", after, "-m", message, env=identity))
        self._name(key, new)
        return new

    def move_main(self, before: str, after: str) -> None:
        """Move ``main`` in one compare-and-swap."""
        try:
            self._repo.git.update_ref("refs/heads/main", after, before)
        except GitCommandError:
            raise Forbidden(
                f"main is at {self.main()[:12]}, no longer at {before[:12]}: somebody moved it; the change has to be "
                "tested again on top of that"
            ) from None

    def _done(self, key: str) -> str | None:
        try:
            return str(self._repo.git.rev_parse("--verify", "--quiet", f"refs/harness/{key}"))
        except GitCommandError:
            return None

    def _name(self, key: str, commit: str, branch: str | None = None) -> None:
        updates = [f"create refs/harness/{key} {commit}"]
        if branch:
            updates.append(f"update refs/heads/{branch} {commit}")
        with tempfile.TemporaryFile() as stdin:
            stdin.write("".join(f"{update}\n" for update in updates).encode())
            stdin.seek(0)
            self._repo.git.update_ref("--stdin", istream=stdin)

    def _resolve(self, name: str) -> str:
        try:
            return str(self._repo.git.rev_parse("--verify", "--quiet", "--end-of-options", name))
        except GitCommandError:
            raise Invalid(f"`{name}` is no commit of the service's repository") from None

    @contextmanager
    def _worktree(self, commit: str) -> Iterator[Repo]:
        self._worktrees.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._worktrees))
        try:
            self._repo.git.worktree("add", "--detach", "--force", str(folder / "tree"), self._resolve(commit))
            with Repo(folder / "tree") as tree:
                yield tree
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._repo.git.worktree("prune")


def _commit_info(record: str) -> CommitInfo:
    commit, subject, author, at, files = record.split(_FIELD)
    return CommitInfo(commit.strip(), subject, author, datetime.fromisoformat(at), tuple(files.split()))
