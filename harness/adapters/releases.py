"""Makes releases: immutable folders named by tree hash, and one venv per lock file. Runs none of their code.

Whoever finds a release in place uses it: building is idempotent, and two builders at once are kept apart by a lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path

from harness.adapters.node.run_spec import RunSpec
from harness.adapters.stack.home import Home
from harness.core.errors import Invalid, Retryable

_UV_TIMEOUT_S = 300.0
_LAST_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A tree that can be started: its folder, its venv, and how its own manifest says it is run."""

    tree: str
    commit: str
    path: Path
    venv: Path
    spec: RunSpec


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file as git has it: mode, object id, size."""

    mode: str
    blob: str
    size_bytes: int


class ReleaseStore:
    """The releases of the bare repository at ``repository``, under ``home.releases`` and ``home.venvs``.

    Every method blocks for as long as git or uv take (0.1-0.5 s warm); on an event loop, call it in a thread.
    """

    def __init__(self, *, home: Home, repository: Path) -> None:
        self._home = home
        self._repository = repository
        self._listed: tuple[str, dict[str, _Entry]] = "", {}
        """The tree that was asked for last, and its files."""

    def head(self, branch: str = "main") -> str:
        """The commit that ``branch`` is at. Raises Invalid when there is no such branch."""
        return self._resolve(f"refs/heads/{branch}^{{commit}}", f"branch {branch!r}")

    def tree_hash(self, commit: str) -> str:
        """The tree of a commit, 40 hex digits. Raises Invalid for a commit that the repository does not have."""
        return self._resolve(f"{commit}^{{tree}}", f"commit {commit!r}")

    def folder(self, commit: str) -> Path:
        """The read-only folder with exactly the files of ``commit``.

        Raises Invalid for an unknown commit, and for a tree that can't be unpacked whole (links out of it, files that
        its attributes hide from an archive): what runs must be what its hash says.
        """
        tree = self.tree_hash(commit)
        folder = self._home.releases / tree
        if not folder.is_dir():
            with _locked(self._home.releases / ".lock"):
                if not folder.is_dir():
                    self._unpack(tree, folder)
        return folder

    def build(self, commit: str) -> Release:
        """The release of ``commit``: folder, venv of the lock that its manifest names, and how to run it.

        Raises Invalid for an unknown commit or a manifest that can't be read, Retryable when uv fails.
        """
        folder = self.folder(commit)
        spec = RunSpec.from_manifest_file(folder / "service.yaml")
        venv = self.venv_for(folder / spec.build.lock)
        return Release(tree=folder.name, commit=commit, path=folder, venv=venv, spec=spec)

    def venv_for(self, lock_path: Path) -> Path:
        """The venv with exactly the packages of a lock file: hashes required, wheels only, so nothing is executed.

        Raises Invalid when there is no such file, Retryable with uv's last lines when it fails.
        """
        if not lock_path.is_file():
            raise Invalid(f"lock: {lock_path} does not exist; name a committed file in build.lock")
        interpreter = os.path.realpath(sys.executable)
        name = sha256(lock_path.read_bytes() + f"\n{interpreter} {sys.version}".encode()).hexdigest()[:16]
        venv = self._home.venvs / name
        complete = venv / ".complete"
        if not complete.exists():
            with _locked(self._home.venvs / f".{name}.lock"):
                if not complete.exists():
                    # Made in place, because a venv knows its own path; the stamp says that it was finished.
                    shutil.rmtree(venv, ignore_errors=True)
                    _uv("venv", "--no-project", "--python", interpreter, str(venv))
                    _uv(
                        "pip", "sync", "--require-hashes", "--only-binary", ":all:", "--allow-empty-requirements",
                        "--compile-bytecode", "--python", str(venv / "bin" / "python"), str(lock_path),
                    )  # fmt: skip
                    complete.touch()
        return venv

    def _unpack(self, tree: str, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self._home.releases, prefix=".new-") as new:
            target = Path(new) / tree
            target.mkdir()
            with tempfile.TemporaryFile() as archive:
                subprocess.run(self._git("archive", "--format=tar", tree), stdout=archive, check=True)
                archive.seek(0)
                try:
                    with tarfile.open(fileobj=archive) as tar:
                        tar.extractall(target, filter="data")
                except tarfile.FilterError as error:
                    raise Invalid(f"tree: {tree} holds what no release may hold: {error}") from error
            self._require_whole(tree, target)
            for path in [target, *target.rglob("*")]:
                if not path.is_symlink():
                    path.chmod(0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444)
            target.rename(folder)

    def altered(self, tree: str) -> tuple[str, ...]:
        """The files of a release's folder that are not as its tree has them: others, gone, or too many; sorted.

        Raises Invalid for a tree that the repository does not have.
        """
        return self._differences(tree, self._home.releases / tree)

    def _require_whole(self, tree: str, target: Path) -> None:
        if not (differ := self._differences(tree, target)):
            return
        hidden = [name for name in differ if not os.path.lexists(target / name)]
        if hidden:
            names = ", ".join(hidden[:5])
            raise Invalid(f"tree: {tree} hides {names} from its archive; remove the export-ignore attributes")
        names = ", ".join(differ[:5])
        raise Invalid(
            f"tree: {tree} has {names} changed in its archive; remove the attributes that do so (eol, ident, "
            "working-tree-encoding)"
        )

    def _differences(self, tree: str, folder: Path) -> tuple[str, ...]:
        listed, wanted = self._listed  # read once: builds and looks run in threads
        if listed != tree:
            wanted = self._files(tree)
            self._listed = tree, wanted
        differ = [name for name, entry in wanted.items() if _entry(folder / name, entry.size_bytes) != entry]
        there = (
            os.path.relpath(os.path.join(at, name), folder)
            for at, folders, files in os.walk(folder)
            for name in (*files, *(one for one in folders if os.path.islink(os.path.join(at, one))))
        )
        return tuple(sorted({*differ, *(name for name in there if name not in wanted)}))

    def _files(self, tree: str) -> dict[str, _Entry]:
        """Path → what git has there; other repositories (submodules) are left out: an archive has nothing of them."""
        answer = subprocess.run(self._git("ls-tree", "-r", "-l", "-z", tree), capture_output=True, check=False)
        if answer.returncode != 0:
            raise Invalid(f"tree {tree} is not in {self._repository}; push it there first")
        files = {}
        for line in filter(None, answer.stdout.split(b"\0")):
            said, _, name = line.partition(b"\t")
            mode, kind, blob, size = said.split()
            if kind == b"blob":
                files[os.fsdecode(name)] = _Entry(mode.decode(), blob.decode(), int(size))
        return files

    def _resolve(self, revision: str, what: str) -> str:
        answer = subprocess.run(
            self._git("rev-parse", "--verify", "--quiet", "--end-of-options", revision),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if answer.returncode != 0:
            raise Invalid(f"{what} is not in {self._repository}; push it there first")
        return answer.stdout.strip()

    def _git(self, *words: str) -> list[str]:
        return ["git", "--git-dir", str(self._repository), *words]


def _uv(*words: str) -> None:
    beside = Path(sys.prefix) / "bin" / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise Invalid("uv: not found beside the interpreter nor on PATH; run `make` to install the locked tools")
    try:
        done = subprocess.run(
            ["/usr/bin/nice", "-n", "19", uv, *words],
            capture_output=True, text=True, timeout=_UV_TIMEOUT_S, check=False, umask=0o022,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Retryable(f"uv {words[0]}: not done after {_UV_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        last = "\n".join(done.stderr.splitlines()[-_LAST_LINES:])
        raise Retryable(f"uv {words[0]}: exit {done.returncode}: {last}")


def _entry(path: Path, wanted_bytes: int) -> _Entry | None:
    """What git would have of this file; None where it is none, or not of the wanted size: then it is not read."""
    try:
        status = path.lstat()
        if status.st_size != wanted_bytes or not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            return None
        if stat.S_ISLNK(status.st_mode):
            mode, body = "120000", os.fsencode(path.readlink())
        else:
            mode, body = "100755" if status.st_mode & 0o100 else "100644", path.read_bytes()
    except OSError:  # gone, or not to be read
        return None
    blob = sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
    return _Entry(mode, blob, len(body))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
