"""Keeps one xDS resource file: one writer at a time, versions that rise, tokens that fence. Knows no Envoy semantics.

Readers (Envoy among them) only ever see whole files, because a new one is renamed in. Lock, fence and the file being
written lie in a folder beside, which Envoy does not watch.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import Broken, Forbidden, Invalid, Retryable

_VERSION = re.compile(r"(\d{12})\.(\d+)\.(.+)", re.DOTALL)
_NOTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,119}")
_LOCK_TIMEOUT_S = 1.0
_LOCK_POLL_S = 0.002


@dataclass(frozen=True)
class Version:
    """``<token>.<n>.<note>``: who was allowed to write, the how manieth write of this resource it is, and what for."""

    token: int
    n: int
    note: str

    def __post_init__(self) -> None:
        if not 0 <= self.token < 10**12:
            raise Invalid(f"token: {self.token} must be between 0 and 999999999999")
        if not _NOTE.fullmatch(self.note):
            raise Invalid(f"note: {self.note!r} must be 1-120 of letters, digits and ._/:- and begin with no sign")

    def __str__(self) -> str:
        return f"{self.token:012d}.{self.n}.{self.note}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """The parts of a ``version_info``. Raises Invalid for any other text."""
        match = _VERSION.fullmatch(text)
        if match is None:
            raise Invalid(f"version: {text!r} is not <token of 12 digits>.<n>.<note>")
        return cls(token=int(match[1]), n=int(match[2]), note=match[3])


class WatchedFile:
    """The file of one resource. Every method is a few system calls; a writer waits at most 1 s for another one."""

    def __init__(self, name: str, file: Path, locks_dir: Path) -> None:
        self._name = name
        self._file = file
        self._lock = locks_dir / f"{name}.lock"
        self._next = locks_dir / f"{name}.next"

    def prepare(self, resource: dict[str, Any]) -> None:
        """Write ``resource`` unless there is one already, so that Envoy finds a file when it starts."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not self._file.exists():
                self._replace(resource)

    def read(self) -> dict[str, Any]:
        """The resource in place. Raises Broken when it is missing or damaged."""
        try:
            resource: dict[str, Any] = json.loads(self._file.read_bytes())
            Version.parse(resource["version_info"])
            return resource
        except (OSError, ValueError, TypeError, KeyError, Invalid) as error:
            raise Broken(
                f"{self._name}: {self._file} is no xDS resource of ours ({error!r}); `harness down`, then `harness up`"
            ) from error

    def change(self, token: int, note: str, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
        """Replace the resource by ``edit(resource)`` under the lock; returns the ``version_info`` then in place.

        An edit that changes nothing writes nothing, but its token still fences: an older holder is refused from then
        on. Raises Forbidden for a token below the highest seen, Retryable when another writer holds the lock.
        """
        Version(token=token, n=0, note=note)
        with self._locked() as fence:
            current = self.read()
            version = Version.parse(current["version_info"])
            highest = max(version.token, fence.token)
            if token < highest:
                raise Forbidden(
                    f"{self._name}: token {token} is older than {highest}, the highest that wrote here (version in "
                    f"place {version}); another delivery has taken over, take the service lock again to get a new token"
                )
            edited = edit(current)
            if edited == current:
                fence.raise_to(token)
                return str(version)
            fresh = str(Version(token=token, n=version.n + 1, note=note))
            self._replace({**edited, "version_info": fresh})
            return fresh

    def highest_token(self) -> int:
        """The lowest token that may still write here: repairs use it, they have none of their own."""
        with self._locked() as fence:
            return max(Version.parse(self.read()["version_info"]).token, fence.token)

    def _replace(self, resource: dict[str, Any]) -> None:
        self._next.write_text(json.dumps(resource), encoding="utf-8")
        self._next.rename(self._file)

    @contextmanager
    def _locked(self) -> Iterator[_Fence]:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError as error:
            raise Broken(f"{self._name}: {self._lock.parent} is missing; `harness up` prepares it") from error
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise Retryable(
                            f"{self._name}: another writer holds {self._lock} for more than {_LOCK_TIMEOUT_S} s"
                        ) from None
                    time.sleep(_LOCK_POLL_S)
            yield _Fence(descriptor)
        finally:
            os.close(descriptor)  # which also unlocks


class _Fence:
    """The highest token of a writer that had nothing to change, kept in the lock file itself."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.token = int(os.pread(descriptor, 12, 0) or b"0")

    def raise_to(self, token: int) -> None:
        if token > self.token:
            os.pwrite(self._descriptor, f"{token:012d}".encode(), 0)
