"""What became of a home, read without the harness: git, the log of release starts, raw rows of the ledger, processes.

Effects are counted here, so that no part under test counts its own. Changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HARNESS_AUTHOR = "harness"
KEYS_ASKED = 120


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of the service's repository."""

    id: str
    author: str
    subject: str


@dataclass(frozen=True, slots=True)
class Row:
    """One event as it lies in the file."""

    position: int
    stream: str
    type: str
    data: dict[str, Any]
    at: datetime
    hash: str


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a release, as its node wrote it down: what for, where, of which tree."""

    key: str
    node: str
    slot: str
    tree: str
    start: int

    @property
    def folder(self) -> str:
        """The name of the folder in which this very start has its socket."""
        return f"{self.node}-{self.slot}-{self.tree[:8]}-{self.start}"


@dataclass(frozen=True, slots=True)
class Process:
    """A living process; the start time (clock ticks since boot) tells it from a later one with the same pid."""

    pid: int
    started_ticks: int
    command: str


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Who answers is asked, not whether they like the key: a fault that is still there may refuse it."""

    def http_response(self, request: urllib.request.Request, response: HTTPResponse) -> HTTPResponse:
        return response


class Outside:
    """The outside view of the home at ``home``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.repository = home / "repos" / "ratelimiter.git"

    # -- the service's repository

    def git(self, *words: str) -> str:
        """Run git in the service's repository; its stdout without the last line end."""
        return subprocess.run(
            ["git", "--git-dir", self.repository, *words], capture_output=True, text=True, check=True
        ).stdout.rstrip("\n")

    def commits(self, *selection: str) -> list[Commit]:
        """The commits that ``git log`` selects, oldest first."""
        listing = self.git("log", "--reverse", "--format=%H%x1f%an%x1f%s", *selection)
        return [Commit(*line.split("\x1f")) for line in listing.splitlines()]

    def every_commit(self) -> list[Commit]:
        """Every commit object of the repository, also those that no branch or ref holds."""
        objects = map(str.split, self.git("cat-file", "--batch-all-objects", "--batch-check").splitlines())
        return self.commits("--no-walk=unsorted", *(name for name, kind, _ in objects if kind == "commit"))

    def main(self) -> str:
        return self.git("rev-parse", "refs/heads/main")

    def changed_lines(self, before: str, after: str) -> tuple[list[str], list[str]]:
        """The lines that a diff removes and adds, without where they are."""
        lines = self.git("diff", "-U0", "--no-color", before, after).splitlines()
        removed = sorted(line[1:] for line in lines if line.startswith("-") and not line.startswith("---"))
        added = sorted(line[1:] for line in lines if line.startswith("+") and not line.startswith("+++"))
        return removed, added

    # -- releases

    def starts(self) -> list[Start]:
        """Every start of a release, in the order in which they were written down."""
        lines = map(json.loads, (self.home / "releases.log").read_text().splitlines())
        return [Start(**{name: line[name] for name in Start.__slots__}) for line in lines]

    def url(self, port: str) -> str:
        """The address of a part of the stack: ``envoy_in``, ``envoy_admin`` …"""
        ports = json.loads((self.home / "run" / "stack.json").read_text())["ports"]
        return f"http://127.0.0.1:{ports[port]}"

    def who_answers(self) -> set[str]:
        """The folders of the sockets that answer users now, by the header that Envoy sets; asked with many keys."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), _AnyStatus)  # loopback has no proxy
        sockets = set()
        for number in range(KEYS_ASKED):
            key = f"acceptance-{number}"
            request = urllib.request.Request(
                f"{self.url('envoy_in')}/v1/check",
                data=json.dumps({"limit": "api_default", "key": key, "cost": 1}).encode(),
                headers={"content-type": "application/json", "x-ratelimit-key": key},
            )
            with direct.open(request, timeout=5) as answer:
                assert "x-node" in answer.headers, f"{key} was answered by nobody: {answer.status}"
                sockets.add(answer.headers["x-node"])
        return {Path(socket).parent.name for socket in sockets}

    # -- the ledger's file

    def rows(self, *, after: int = 0) -> list[Row]:
        """The events behind a position, as SQLite gives them."""
        with closing(sqlite3.connect(f"file:{self.home / 'ledger.db'}?mode=ro", uri=True)) as connection:
            found = connection.execute(
                "SELECT position, stream, type, data, occurred_at_us, hash FROM events WHERE position > ? "
                "ORDER BY position", (after,),
            ).fetchall()  # fmt: skip
        return [
            Row(position, stream, type_, json.loads(data), EPOCH + timedelta(microseconds=at_us), hash_)
            for position, stream, type_, data, at_us, hash_ in found
        ]

    # -- processes

    def processes(self) -> set[Process]:
        """Every process that names this home in its environment or command line, and all their descendants."""
        seen = {process.pid: (process, parent) for process, parent in _all_processes()}
        family = {pid for pid in seen if self._names_home(pid)}
        while more := {pid for pid, (_, parent) in seen.items() if parent in family} - family:
            family |= more
        return {seen[pid][0] for pid in family}

    def _names_home(self, pid: int) -> bool:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return f"HARNESS_HOME={self.home}".encode() in environment or f"{self.home}/".encode() in command


def repeated(counts: Mapping[Any, int]) -> dict[Any, int]:
    """What was counted more than once."""
    return {what: count for what, count in counts.items() if count > 1}


def _all_processes() -> Iterator[tuple[Process, int]]:
    """Every living process with the pid of its parent; zombies have ended."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        state, parent, *fields = stat.rpartition(") ")[2].split()
        if state not in "ZX":
            yield Process(int(folder.name), int(fields[17]), command), int(parent)
