"""The service's git repository: reads history, writes commits that carry the key of their effect. The only user of git.

Every commit that the harness makes is named by a ref ``refs/harness/<key>``, written in one transaction with the
branch: a retry finds the ref and makes no second commit. Hooks never run, and a commit that a caller names is resolved
to its hash before git sees it anywhere else, so that no name is taken for an option.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from git import Actor, GitCommandError, Repo
from git.exc import GitError

from harness.adapters.declarations import parse_manifest
from harness.adapters.scratch import scratch_folder
from harness.core.errors import Forbidden, Invalid, Refused, Retryable
from harness.core.manifest import Manifest
from harness.ports import CommitInfo, Hit

AGENT = Actor("harness", "harness@localhost")
_ENVIRONMENT = {
    "GIT_AUTHOR_NAME": AGENT.name, "GIT_AUTHOR_EMAIL": AGENT.email,
    "GIT_COMMITTER_NAME": AGENT.name, "GIT_COMMITTER_EMAIL": AGENT.email,
    "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": os.devnull,
}  # fmt: skip
_LOG_FIELDS = "%x00%H%x00%s%x00%an%x00%cI"


_PLAIN = ("100644", "100755")
LARGEST_TEXT_BYTES = 1024 * 1024


class _Entry(NamedTuple):
    mode: str
    blob: str
    size_bytes: int


class ServiceRepository:
    """A bare repository with the branch ``main``; worktrees are temporary folders beside it.

    Names of commits may be hashes, branches, tags or any of git's ways to name a commit. Every method raises Invalid
    for one that names no commit.
    """

    def __init__(self, path: Path, worktrees: Path) -> None:
        try:
            self._repo = Repo(path)
        except GitError:
            raise Invalid(f"{path}: no git repository; `harness up` makes the service's own one") from None
        self._repo.git.update_environment(**_ENVIRONMENT)
        self._worktrees = worktrees
        # A commit never changes, and every tick and every step of an agent asks: 11 ms to read, 1 ms to remember.
        self._manifest_of = lru_cache(maxsize=64)(self._read_manifest)
        self._entries = lru_cache(maxsize=16)(self._read_entries)

    def main(self) -> str:
        """The commit that ``main`` is at."""
        return self._commit("refs/heads/main")

    def shipped(self) -> str:
        """The commit that the service came with."""
        return self._commit("refs/tags/shipped")

    def tree(self, commit: str) -> str:
        """The tree of a commit."""
        return self._resolve(f"{self._commit(commit)}^{{tree}}")

    def log(self, since: str, until: str) -> list[CommitInfo]:
        """The commits after ``since`` up to ``until``, oldest first; states of main only (first parents)."""
        span = f"{self._commit(since)}..{self._commit(until)}"
        words = ("--reverse", "--first-parent", "-m", "--no-renames", "--name-only", "-z", f"--format={_LOG_FIELDS}")
        return parse_log(_text(self._repo, "log", *words, span, "--"))

    def diff(self, base: str, commit: str) -> str:
        """The unified diff between two commits; bytes that are no UTF-8 are shown as U+FFFD."""
        words = ("--no-ext-diff", "--no-textconv", "--no-color")
        return _text(self._repo, "diff", *words, self._commit(base), self._commit(commit), "--")

    def manifest(self, commit: str) -> Manifest:
        """The service manifest as of a commit. Raises Invalid, too, when there is none or it can't be read."""
        return self._manifest_of(self._commit(commit))

    def _read_entries(self, commit: str) -> dict[str, _Entry]:
        entries = {}
        for line in _text(self._repo, "ls-tree", "-r", "-l", "-z", "--full-tree", commit).split("\0"):
            if line:
                about, _, path = line.partition("\t")
                mode, _, blob, size = about.split()
                entries[path] = _Entry(mode, blob, int(size) if size.isdigit() else 0)
        return entries

    def _read_manifest(self, commit: str) -> Manifest:
        where = f"service.yaml of {commit[:12]}"
        try:
            text = _text(self._repo, "show", "--no-textconv", f"{commit}:service.yaml")
        except GitCommandError:
            raise Invalid(f"{where}: is not there; a service declares itself in service.yaml at its root") from None
        return parse_manifest(text, where)

    def files(self, commit: str) -> list[str]:
        """The paths of all plain files of a commit, sorted: no links, no submodules."""
        return sorted(path for path, entry in self._entries(self._commit(commit)).items() if entry.mode in _PLAIN)

    def read(self, commit: str, path: str) -> str:
        """The text of a file. Raises Refused for links, submodules, bytes that are no UTF-8, and what is too large."""
        entry = self._entries(self._commit(commit)).get(path)
        if entry is None or entry.mode not in _PLAIN:
            raise Refused(f"{path}: {'is not there' if entry is None else 'is no plain file'} at {commit[:12]}")
        if entry.size_bytes > LARGEST_TEXT_BYTES:
            raise Refused(f"{path}: {entry.size_bytes} bytes, at most {LARGEST_TEXT_BYTES} are read")
        body = self._repo.git.execute(
            ["git", "cat-file", "blob", entry.blob], stdout_as_string=False, strip_newline_in_stdout=False
        )
        assert isinstance(body, bytes)
        try:
            return _plain(body.decode())
        except ValueError:
            raise Refused(f"{path}: is no text") from None

    def search(self, commit: str, text: str) -> list[Hit]:
        """Every line that holds this text, by path and line. Raises Refused for a text that no line can hold."""
        if not text or set(text) & set("\0\n\r"):
            raise Refused(f"{text!r}: search for a piece of one line")
        at = self._commit(commit)
        words = ("--no-color", "--full-name", "-I", "-n", "-z", "--fixed-strings", "-e", text, at, "--")
        try:
            listing = _text(self._repo, "grep", *words)
        except GitCommandError as error:
            if error.status == 1 and not error.stderr.strip():
                return []
            raise
        hits = [line.split("\0", 2) for line in listing.split("\n") if line]
        return sorted(
            (Hit(path.removeprefix(f"{at}:"), int(number), found) for path, number, found in hits),
            key=lambda hit: (hit.path, hit.line),
        )

    def write(self, path: str, text: str, onto: str, branch: str, key: str, message: str) -> str:
        """A commit on ``branch`` on top of ``onto`` in which the file has this text; a new file is not executable.

        No file system is asked, only git's index: nothing that a link in the tree points to can be reached.
        """
        if done := self._done(key):
            return done
        base = self._commit(onto)
        entry = self._entries(base).get(path)
        if entry is not None and entry.mode not in _PLAIN:
            raise Refused(f"{path}: is no plain file at {base[:12]}, and only those are written")
        try:
            body = _plain(text).encode()
        except ValueError:
            raise Refused(f"{path}: what should be written is no text") from None
        if len(body) > LARGEST_TEXT_BYTES:
            raise Refused(f"{path}: {len(body)} bytes, at most {LARGEST_TEXT_BYTES} are written")
        with scratch_folder(self._worktrees, "index-") as folder:
            (folder / "text").write_bytes(body)
            git = self._repo.git
            blob = git.hash_object("-w", "--no-filters", "--", str(folder / "text"))
            if entry is not None and entry.blob == blob:
                raise Refused(f"{path}: has this text already")
            index = {"GIT_INDEX_FILE": str(folder / "index")}
            git.read_tree(base, env=index)
            try:
                entry_line = f"{entry.mode if entry else _PLAIN[0]},{blob},{path}"
                git.update_index("--add", "--cacheinfo", entry_line, env=index)
            except GitCommandError:
                raise Refused(f"{path}: cannot be a file in the tree of {base[:12]}") from None
            tree = git.write_tree(env=index)
        new = str(self._repo.git.commit_tree(tree, "-p", base, "-m", message))
        return self._name(key, new, branch)

    def revert(self, commit: str, onto: str, branch: str, key: str, message: str) -> str:
        """A commit on ``branch`` on top of ``onto`` that takes ``commit`` back; of a merge, what it brought to main.

        Raises Refused with the files in conflict, or when ``onto`` no longer holds anything of it.
        """
        if done := self._done(key):
            return done
        culprit, base = self._commit(commit), self._commit(onto)
        mainline = ("--mainline", "1") if len(self._repo.commit(culprit).parents) > 1 else ()
        with self._worktree(base) as tree:
            try:
                tree.git.revert("--no-commit", *mainline, culprit)
            except GitCommandError as error:
                raise Refused(
                    f"{commit[:12]} cannot be taken back on {base[:12]}: "
                    f"later changes stand in the way in {_conflict(tree, error)}"
                ) from None
            if not tree.git.diff("--cached", "--name-only"):
                raise Refused(f"{commit[:12]} cannot be taken back on {base[:12]}: nothing of it is left there")
            new = tree.index.commit(message, author=AGENT, committer=AGENT, skip_hooks=True).hexsha
        return self._name(key, new, branch)

    def merge(self, branch_commit: str, main: str, key: str, trailers: str = "") -> str:
        """The commit that joins a change with main: the change itself while main has not moved past its base.

        ``trailers`` are the last lines of its message. Raises Refused with the files in conflict.
        """
        change, base = self._commit(branch_commit), self._commit(main)
        if self._repo.is_ancestor(self._repo.commit(base), self._repo.commit(change)):
            return change
        if done := self._done(key):
            return done
        with self._worktree(base) as tree:
            try:
                tree.git.merge("--no-ff", "--no-commit", change)
            except GitCommandError as error:
                raise Refused(
                    f"the change {change[:12]} does not merge with main {base[:12]}: "
                    f"conflict in {_conflict(tree, error)}"
                ) from None
            parents = [self._repo.commit(base), self._repo.commit(change)]
            message = f"Merge {change[:12]} into main\n\nHarness-Key: {key}\n{trailers}"
            new = tree.index.commit(message, parents, author=AGENT, committer=AGENT, skip_hooks=True).hexsha
        return self._name(key, new)

    def roll_back(self, before: str, after: str, key: str, message: str) -> str:
        """A commit on top of ``after`` with the tree of ``before``."""
        if done := self._done(key):
            return done
        new = str(self._repo.git.commit_tree(self.tree(before), "-p", self._commit(after), "-m", message))
        return self._name(key, new)

    def move_main(self, before: str, after: str) -> None:
        """Move ``main`` in one compare-and-swap.

        Raises Forbidden when it is no longer at ``before``, Retryable when git could not write though it is.
        """
        was, new = self._commit(before), self._commit(after)
        try:
            self._repo.git.update_ref("refs/heads/main", new, was)
        except GitCommandError as error:
            if (now := self.main()) == was:
                raise Retryable(f"main could not be moved to {new[:12]}: {error.stderr.strip()}") from None
            raise Forbidden(
                f"main is at {now[:12]}, no longer at {was[:12]}: somebody moved it; the change has to be "
                "tested again on top of that"
            ) from None

    def trailers(self, name: str) -> list[tuple[str, str]]:
        """The values that a trailer has in the messages of the commits that were made under a key, by key."""
        form = f"%(refname:lstrip=2)%00%(contents:trailers:key={name},valueonly,unfold)%00"
        words = _text(self._repo, "for-each-ref", f"--format={form}", "refs/harness").split("\0")
        pairs = zip(words[::2], words[1::2], strict=False)
        return [(key.strip(), value) for key, values in pairs for value in values.splitlines() if value]

    def _done(self, key: str) -> str | None:
        """The commit that this key has made already."""
        try:
            self._repo.git.check_ref_format(f"refs/harness/{key}")
        except GitCommandError:
            raise Invalid(f"key {key!r} cannot name a commit; `git check-ref-format` has the rules") from None
        try:
            return self._commit(f"refs/harness/{key}")
        except Invalid:
            return None

    def _name(self, key: str, commit: str, branch: str | None = None) -> str:
        """Give the key its commit, and the branch with it; the commit of who came first, if somebody did."""
        updates = [f"create refs/harness/{key} {commit}"]
        if branch:
            updates.append(f"update refs/heads/{branch} {commit}")
        with tempfile.TemporaryFile() as stdin:
            stdin.write("".join(f"{update}\n" for update in updates).encode())
            stdin.seek(0)
            try:
                self._repo.git.update_ref("--stdin", istream=stdin)
            except GitCommandError as error:
                if done := self._done(key):
                    return done
                raise Retryable(f"commit {commit[:12]} could not be named {key}: {error.stderr.strip()}") from None
        return commit

    def _commit(self, name: str) -> str:
        return self._resolve(f"{name}^{{commit}}", name)

    def _resolve(self, expression: str, name: str = "") -> str:
        try:
            return str(self._repo.git.rev_parse("--verify", "--quiet", "--end-of-options", expression))
        except (GitCommandError, ValueError):  # ValueError: a NUL, which no process can be given
            raise Invalid(
                f"{name or expression!r} is no commit of the service's repository; push a branch that has it there"
            ) from None

    @contextmanager
    def _worktree(self, commit: str) -> Iterator[Repo]:
        try:
            with scratch_folder(self._worktrees, "git-") as folder:
                self._repo.git.worktree("add", "--detach", "--force", str(folder / "tree"), commit)
                with Repo(folder / "tree") as tree:
                    tree.git.update_environment(**_ENVIRONMENT)
                    yield tree
        finally:
            self._repo.git.worktree("prune")


def parse_log(listing: str) -> list[CommitInfo]:
    """What ``git log -z --name-only`` printed: texts may hold anything but NUL, and no file name is empty."""
    words = iter(listing.split("\0"))
    commits = []
    next(words)  # before the first NUL is nothing
    for commit in words:
        subject, author, at, files = next(words), next(words), next(words), _until_empty(words)
        if files:
            files[0] = files[0].removeprefix("\n")  # git's empty line between a commit and its files
        commits.append(CommitInfo(commit, subject, author, datetime.fromisoformat(at), tuple(files)))
    return commits


def _until_empty(words: Iterator[str]) -> list[str]:
    taken = []
    for word in words:
        if not word:
            break
        taken.append(word)
    return taken


def _conflict(tree: Repo, error: GitCommandError) -> str:
    """The files in conflict; git's own words when there are none."""
    names = _text(tree, "diff", "--name-only", "--diff-filter=U", "-z").split("\0")
    return ", ".join(name for name in names if name) or f"its files ({error.stderr.strip()})"


def _plain(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL is in no text")
    return text


def _text(repo: Repo, command: str, *words: str) -> str:
    """What git printed, whole; surrogates, as GitPython gives for bytes that are no UTF-8, could not be recorded."""
    output = repo.git.execute(["git", command, *words], stdout_as_string=False, strip_newline_in_stdout=False)
    assert isinstance(output, bytes)
    return output.decode(errors="replace")
