"""Says what a sandboxed process sees and may do, as a bubblewrap command line. Starts nothing, changes nothing.

The host's root is never bound: as root, a read-only ``/`` still shows 0600 secrets and reaches the host's sockets.
Visible are /usr, the loader's folders, the interpreter, one venv, and what the caller names; all of it read-only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

TREE_DIR = "/run/tree"
"""Where the tree lies inside, and the working directory. Below /run, where no interpreter or venv of a host lies."""
SOCKET_DIR = "/run/s"
"""Where a release finds the one folder it shares with the host. Constant, so that a release can't tell its slot."""

_SCRATCH_BYTES = 256 * 1024**2
_LOADER_DIRS = ("lib", "lib32", "lib64", "libx32", "bin", "sbin")
_LOADER_FILES = ("/etc/ld.so.cache", "/etc/alternatives")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cage:
    """One sandbox. ``uid``: who the payload becomes when root starts it; None for an ordinary user, who stays.

    ``read_only`` and ``writable`` map paths inside to paths of the host; ``scratch`` are empty writable folders of
    256 MiB each, in memory. ``env`` is all the environment there is, beside what ``command`` adds.
    """

    venv: Path
    uid: int | None
    read_only: Mapping[str, Path]
    writable: Mapping[str, Path] = field(default_factory=dict)
    scratch: tuple[str, ...] = ("/tmp",)
    env: Mapping[str, str] = field(default_factory=dict)
    dies_with_starter: bool

    def command(self, bwrap: str, info_fd: int | None = None) -> list[str]:
        """The words up to the payload; bubblewrap writes the payload's namespace as JSON to ``info_fd``."""
        return [
            bwrap,
            *self._namespaces(),
            *(["--die-with-parent"] if self.dies_with_starter else []),
            *([] if info_fd is None else ["--info-fd", str(info_fd)]),
            *self._environment(),
            *self._mounts(),
            "--chdir", TREE_DIR,
            "--",
        ]  # fmt: skip

    def drop(self) -> list[str]:
        """The words that take every privilege from the payload; none for an ordinary user, who has none.

        They stand inside the sandbox: dropped before, root could not bind an interpreter below a 0700 home folder.
        """
        if self.uid is None:
            return []
        identity = [f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        return ["/usr/bin/setpriv", *identity, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]

    def _namespaces(self) -> list[str]:
        if self.uid is None:
            return ["--unshare-all", "--hostname", "sandbox"]
        # No user namespace for root: in one, the setpriv inside fails with EINVAL.
        named = ("ipc", "pid", "net", "uts", "cgroup-try")
        return [*(f"--unshare-{name}" for name in named), "--hostname", "sandbox"]

    def _environment(self) -> list[str]:
        path = f"{self.venv}/bin:/usr/local/bin:/usr/bin:/bin"
        fixed = {"PATH": path, "VIRTUAL_ENV": str(self.venv), "HOME": "/tmp", "TMPDIR": "/tmp", "USER": "sandbox",
                 "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONUNBUFFERED": "1"}  # fmt: skip
        words = ["--clearenv"]
        for name, value in {**fixed, **self.env}.items():
            words += ["--setenv", name, value]
        return words

    def _mounts(self) -> list[str]:
        read_only = {**_interpreter(self.venv), **self.read_only}
        read_only |= {file: Path(file) for file in _LOADER_FILES if os.path.exists(file)}
        words = ["--ro-bind", "/usr", "/usr", *_loader(), "--proc", "/proc", "--dev", "/dev"]
        words += [*_scratch("/dev/shm"), "--remount-ro", "/dev"]  # else an ordinary user fills memory through /dev
        words += _parents(self.scratch)
        for inside in self.scratch:
            words += _scratch(inside)
        words += _parents([*read_only, *self.writable])  # some may lie in a scratch folder
        for inside, host in read_only.items():
            words += ["--ro-bind", str(host), inside]
        for inside, host in self.writable.items():
            words += ["--bind", str(host), inside]
        return [*words, "--remount-ro", "/"]


def limits(*, memory_bytes: int, processes: int) -> list[str]:
    """The words that bound the payload: data per process, processes per uid (root would escape this one), no cores."""
    return ["/usr/bin/prlimit", f"--data={memory_bytes}", f"--nproc={processes}", "--core=0"]


def _loader() -> list[str]:
    words: list[str] = []
    for name in _LOADER_DIRS:
        path = Path("/") / name
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    return words


def _interpreter(venv: Path) -> dict[str, Path]:
    """The venv, and the interpreter that it points to, under each name by which it may be looked up."""
    prefix = Path(sys.base_prefix)
    places = {venv, prefix, prefix.resolve()}
    return {str(place): place for place in sorted(places) if not place.is_relative_to("/usr")}


def _parents(paths: Iterable[str]) -> list[str]:
    """Folders above the mounts, open to all: bubblewrap makes them 0700, and Python silently becomes the system's."""
    above = {parent for path in paths for parent in PurePosixPath(path).parents}
    words: list[str] = []
    for folder in sorted(above - {PurePosixPath("/")}):
        words += ["--perms", "0755", "--dir", str(folder)]
    return words


def _scratch(inside: str) -> list[str]:
    return ["--perms", "1777", "--size", str(_SCRATCH_BYTES), "--tmpfs", inside]
