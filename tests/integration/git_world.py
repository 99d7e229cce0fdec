"""A bare repository for tests, with commits of any content on any parent. Asks git, never the code under test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

AUTHOR = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@localhost",
          "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@localhost"}  # fmt: skip


class GitWorld:
    """The repository at ``path``; made when it is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(path)], check=True)

    def git(self, *words: str, stdin: bytes = b"", index: Path | None = None) -> str:
        """What git says; fails when git does."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment = plain | AUTHOR | ({"GIT_INDEX_FILE": str(index)} if index else {})
        done = subprocess.run(
            ["git", "--git-dir", str(self.path), *words], env=environment, input=stdin, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode(errors="surrogateescape").strip()

    def commit(
        self, files: Mapping[str, str | bytes | None], *, onto: str | None = None, message: str = "a change",
        branch: str | None = None, modes: Mapping[str, str] | None = None,
    ) -> str:  # fmt: skip
        """A commit on top of ``onto`` in which these files have this content; None removes one.

        ``modes`` gives files another mode than 100644: 120000 makes a symlink to its content.
        """
        index = self.path / "index-of-tests"
        index.unlink(missing_ok=True)
        if onto:
            self.git("read-tree", onto, index=index)
        lines = b""
        for path, content in files.items():
            if content is None:
                lines += b"0 " + b"0" * 40 + b"\t" + os.fsencode(path) + b"\0"
                continue
            body = content.encode() if isinstance(content, str) else content
            blob = self.git("hash-object", "-w", "--stdin", stdin=body)
            mode = (modes or {}).get(path, "100644")
            lines += f"{mode} {blob}\t".encode() + os.fsencode(path) + b"\0"
        self.git("update-index", "-z", "--index-info", stdin=lines, index=index)
        tree = self.git("write-tree", index=index)
        parents = ["-p", onto] if onto else []
        commit = self.git("commit-tree", tree, *parents, "-F", "-", stdin=message.encode())
        if branch:
            self.git("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def read(self, commit: str, path: str) -> str:
        """A file's content."""
        return self.git("show", f"{commit}:{path}")

    def refs(self) -> dict[str, str]:
        """Every ref and its commit."""
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ") for line in lines)
