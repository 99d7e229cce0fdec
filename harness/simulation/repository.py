"""The port ``Repository`` in memory: commits with parents and trees, commits of the harness named by their key.

Promises what the real one does: the same key again gives the same commit, main moves by compare-and-swap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from harness.core.errors import Forbidden, Invalid, Refused
from harness.core.manifest import Manifest
from harness.ports import Clock, CommitInfo, Hit
from harness.simulation.effects import Done, Effect
from harness.simulation.service import VERSION, Behaviour, Change, Tree, behaviour_of, in_the_way, read_file

HARNESS = "harness"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit; ``parents`` are ids, the first is the state of the branch before it."""

    id: str
    parents: tuple[str, ...]
    tree: Tree
    message: str
    author: str
    at: datetime


class MemoryRepository:
    """A history that begins with one commit; ``push`` is what people do, all else is the port."""

    def __init__(self, *, manifest: Manifest, clock: Clock, done: Done, began_at: datetime) -> None:
        self._manifest, self._clock, self._done = manifest, clock, done
        self._changes: dict[str, Change] = {"shipped": Change("shipped")}
        self._texts: dict[str, str] = {}
        self._commits: dict[str, Commit] = {}
        self._by_key: dict[str, str] = {}
        self._behaviours: dict[Tree, Behaviour] = {}
        self._main = self._write((), frozenset({"shipped"}), "Ship", "people", began_at)

    def push(self, change: Change, author: str) -> str:
        """Commit a change to main, by a person's hand."""
        self._changes[change.name] = change
        tree = self._tree(self._main) | {change.name}
        self._main = self._write((self._main,), tree, change.name, author, self._clock.now())
        return self._main

    def declare(self, manifest: Manifest) -> None:
        """Another service.yaml on main, by a person's hand."""
        self._manifest = manifest

    def behaviour(self, commit: str) -> Behaviour:
        """What a release of this commit does."""
        tree = self._tree(commit)
        if tree not in self._behaviours:
            self._behaviours[tree] = behaviour_of(tree, self._changes)
        return self._behaviours[tree]

    def main(self) -> str:
        """The commit that ``main`` is at."""
        return self._main

    def tree(self, commit: str) -> str:
        """The id of a commit's tree."""
        return _digest(*sorted(self._tree(commit)))

    def log(self, since: str, until: str) -> list[CommitInfo]:
        """The commits after ``since`` up to ``until``, oldest first; states of main only (first parents)."""
        known, listing, at = self._ancestors(since), [], self._commit(until)
        while at.id not in known:
            changed = at.tree ^ self._tree(at.parents[0])
            files = tuple(sorted({self._changes[name].path for name in changed}))
            listing.append(CommitInfo(at.id, at.message.splitlines()[0], at.author, at.at, files))
            at = self._commits[at.parents[0]]
        return listing[::-1]

    def diff(self, base: str, commit: str) -> str:
        """A line for each change that came or went."""
        before, after = self._tree(base), self._tree(commit)
        return "".join([f"-{name}\n" for name in sorted(before - after)] + [f"+{n}\n" for n in sorted(after - before)])

    def files(self, commit: str) -> list[str]:
        """A file for each change in the tree."""
        return sorted(self._changes[name].path for name in self._tree(commit))

    def read(self, commit: str, path: str) -> str:
        """The text of a file."""
        name = self._named(commit, path)
        return self._texts.get(name, self._changes[name].text)

    def search(self, commit: str, text: str) -> list[Hit]:
        """Every line that holds this text, by path and line."""
        if not text or set(text) & set("\0\n\r"):
            raise Refused(f"{text!r}: search for a piece of one line")
        return [
            Hit(path, number, line)
            for path in self.files(commit)
            for number, line in enumerate(self.read(commit, path).splitlines(), 1)
            if text in line
        ]

    def write(self, path: str, text: str, onto: str, branch: str, key: str, message: str) -> str:
        """A commit on top of ``onto`` in which the file has this text; what it does follows from the text."""
        if key in self._by_key:
            return self._by_key[key]
        tree, name = self._tree(onto), f"{path}{VERSION}{_digest(text)[:8]}"
        before = next((one for one in tree if self._changes[one].path == path), None)
        if before is not None and self.read(onto, path) == text:
            raise Refused(f"{path}: has this text already")
        self._texts[name] = text
        self._changes[name] = Change(name, read_file(text), on_top_of=before)
        return self._make(key, (onto,), (tree - {before} if before else tree) | {name}, message)

    def _named(self, commit: str, path: str) -> str:
        """The change in the commit's tree that a file is."""
        for name in self._tree(commit):
            if self._changes[name].path == path:
                return name
        raise Refused(f"{path}: is not there at {commit[:12]}")

    def revert(self, commit: str, onto: str, branch: str, key: str, message: str) -> str:
        """A commit on top of ``onto`` without what ``commit`` changed; Refused when later changes edited its lines."""
        if key in self._by_key:
            return self._by_key[key]
        its = self._commit(commit)
        before, onto_tree = self._tree(its.parents[0]), self._tree(onto)
        came, went = its.tree - before, before - its.tree
        if blocking := in_the_way(onto_tree, came, self._changes):
            raise Refused(
                f"{commit[:12]} cannot be taken back on {onto[:12]}: later changes stand in the way in "
                f"{', '.join(blocking)}"
            )
        return self._make(key, (onto,), (onto_tree - came) | went, message)

    def merge(self, branch_commit: str, main: str, key: str, trailers: str = "") -> str:
        """The commit that joins a change with main: the change itself while main has not moved past its base."""
        if main in self._ancestors(branch_commit):
            return branch_commit
        if key in self._by_key:
            return self._by_key[key]
        base = next(at for at in self._walk(main) if at in self._ancestors(branch_commit))
        ours, theirs, shared = self._tree(main), self._tree(branch_commit), self._tree(base)
        left = shared - theirs
        if blocking := in_the_way(ours, left, self._changes):
            raise Refused(f"the change does not merge with main {main[:12]}: conflict in {', '.join(blocking)}")
        message = f"Merge {branch_commit[:12]} into main\n\n{trailers}"
        return self._make(key, (main, branch_commit), (ours - left) | (theirs - shared), message)

    def roll_back(self, before: str, after: str, key: str, message: str) -> str:
        """A commit on top of ``after`` with the tree of ``before``."""
        if key in self._by_key:
            return self._by_key[key]
        return self._make(key, (after,), self._tree(before), message)

    def move_main(self, before: str, after: str) -> None:
        """Move ``main`` in one compare-and-swap."""
        self._commit(after)
        if self._main != before:
            raise Forbidden(f"main is at {self._main[:12]}, no longer at {before[:12]}: somebody moved it")
        self._main = after
        self._done(Effect("main", f"{before[:12]}..{after[:12]}", after))

    def manifest(self, commit: str) -> Manifest:
        """The service manifest, which no change here touches."""
        self._commit(commit)
        return self._manifest

    def trailers(self, name: str) -> list[tuple[str, str]]:
        """The values that a trailer has in the messages of the commits that were made under a key, by key."""
        last = {key: self._commits[made].message.rstrip().rpartition("\n\n")[2] for key, made in self._by_key.items()}
        return [
            (key, line.removeprefix(f"{name}: "))
            for key, lines in sorted(last.items())
            for line in lines.splitlines()
            if line.startswith(f"{name}: ")
        ]

    def _make(self, key: str, parents: tuple[str, ...], tree: Tree, message: str) -> str:
        made = self._by_key[key] = self._write(parents, tree, message, HARNESS, self._clock.now())
        self._done(Effect("commit", key, made))
        return made

    def _write(self, parents: tuple[str, ...], tree: Tree, message: str, author: str, at: datetime) -> str:
        made = Commit(_digest(*parents, *sorted(tree), message, author), parents, tree, message, author, at)
        self._commits[made.id] = made
        return made.id

    def _commit(self, name: str) -> Commit:
        wanted = name.rstrip("^")
        if wanted not in self._commits:
            raise Invalid(f"`{name}` is no commit of the service's repository; push a branch that has it there")
        found = self._commits[wanted]
        return self._commits[found.parents[0]] if name.endswith("^") else found

    def _tree(self, name: str) -> Tree:
        return self._commit(name).tree

    def _walk(self, commit: str) -> Sequence[str]:
        """The commit and all its ancestors, nearest first."""
        seen = [self._commit(commit).id]
        for at in seen:
            seen += [parent for parent in self._commits[at].parents if parent not in seen]
        return seen

    def _ancestors(self, commit: str) -> frozenset[str]:
        return frozenset(self._walk(commit))


def _digest(*parts: str) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()[:40]
