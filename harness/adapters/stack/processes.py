"""Tells which processes belong to a HARNESS_HOME and signals exactly those. Starts nothing.

A pid alone is never trusted: pids are used again. A process is its pid plus its start time in clock ticks since
boot (wall-clock start times move when the clock is set), and it is ours when its environment says so.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.adapters.stack.home import Home
from harness.core.errors import Broken

MARK = "HARNESS_COMPONENT"
"""Set by the supervisor for every component and inherited by its children. HARNESS_HOME alone would not do: a
person's shell or editor may carry it too, and must survive ``harness down``."""

LOADS_WITHIN_S = 1.0
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of linux/sched.h, in field 9 of /proc/<pid>/stat

RELEASE_MARK = "HARNESS_RELEASE"
"""In the environment of a release's sandbox: its tag, which begins with the node's name and a slash."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process, for ever: ``started_ticks`` is field 22 of ``/proc/<pid>/stat``."""

    pid: int
    started_ticks: int


@dataclass(frozen=True, slots=True)
class Member:
    """A process of a stack. ``in_sandbox``: part of a release or a check, which may outlive the one that started it."""

    process: ProcessId
    name: str
    in_sandbox: bool


def identify(pid: int) -> ProcessId | None:
    """The process that has this pid now; None when there is none or only its zombie is left."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(") ")[2].split()  # the name before it may hold spaces and brackets
    threads, started_ticks = int(fields[16]), int(fields[18])
    # A zombie with threads left is still dying, and holds its ports and files until the last of them is gone.
    return None if state in "ZX" and threads <= 1 else ProcessId(pid, started_ticks)


def is_alive(process: ProcessId) -> bool:
    return identify(process.pid) == process


def send(process: ProcessId, sig: signal.Signals) -> None:
    """Signals this very process; nothing happens when it is gone, whoever has its pid now."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(process):  # asked after the handle was taken, so the pid can't change hands in between
            signal.pidfd_send_signal(handle, sig)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def is_marked(process: ProcessId, home: Home) -> bool:
    """Whether the process was started by the stack of this home, by its environment at its start."""
    try:
        environ = environment(process.pid).split(b"\0")
    except OSError:
        return False
    names_home = f"HARNESS_HOME={home.root}".encode() in environ
    return names_home and any(entry.startswith(f"{MARK}=".encode()) for entry in environ)


def environment(pid: int) -> bytes:
    """The environment of a process at its start.

    The kernel shows none while it lays out the memory of a program that is being executed: one of 1,500 processes was
    seen so right after its start. That moment is waited for, at most LOADS_WITHIN_S.
    """
    deadline = time.monotonic() + LOADS_WITHIN_S
    while True:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        if environ or not _is_loading(pid) or time.monotonic() > deadline:
            return environ
        time.sleep(0.001)


def _is_loading(pid: int) -> bool:
    """Whether it is a living process of user space whose memory has no place for an environment yet."""
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    flags, environment_ends = int(fields[5]), int(fields[47])
    return state not in "ZX" and not flags & _KERNEL_THREAD and environment_ends == 0


def tree(pid: int) -> set[int]:
    """The pid and those of all its descendants; empty when it is gone."""
    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.Error:
        return set()


def listening_ports(pids: Iterable[int]) -> set[int]:
    """The TCP ports on which one of these processes listens."""
    ports: set[int] = set()
    for pid in pids:
        try:
            connections = psutil.Process(pid).net_connections(kind="tcp")
        except psutil.Error:
            continue
        ports |= {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}
    return ports


def members(home: Home) -> list[Member]:
    """Every living process of this home's stack, sandboxes and descendants included, without the asking one."""
    children: dict[int, list[int]] = defaultdict(list)
    names: dict[int, str] = {}
    marked: set[int] = set()
    sandboxes: set[int] = set()
    for entry in psutil.process_iter(["ppid", "name", "cmdline"]):
        children[entry.info["ppid"]].append(entry.pid)
        names[entry.pid] = entry.info["name"] or "?"
        process = identify(entry.pid)
        if process is not None and is_marked(process, home):
            marked.add(entry.pid)
        if _is_sandbox_of(home, entry.info["cmdline"] or []):
            sandboxes.add(entry.pid)
    in_sandbox = _with_descendants(sandboxes, children)
    ours = _with_descendants(marked, children) | in_sandbox
    ours -= {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = ((identify(pid), pid) for pid in sorted(ours))
    return [Member(process, names[pid], pid in in_sandbox) for process, pid in found if process is not None]


def end(home: Home, *, sandboxes: bool, grace_s: float, deadline_s: float = 10.0) -> list[Member]:
    """Ends what is left of a stack: TERM, ``grace_s`` seconds, KILL; ``sandboxes`` says whether releases go too.

    Returns those that were found. Raises Broken when something still lives after ``deadline_s`` seconds.
    """
    seen: dict[ProcessId, Member] = {}
    started = time.monotonic()
    while left := [member for member in members(home) if sandboxes or not member.in_sandbox]:
        waited_s = time.monotonic() - started
        if waited_s > deadline_s:
            names = ", ".join(f"{member.name} (pid {member.process.pid})" for member in left)
            raise Broken(f"{home.root}: still running {deadline_s:.0f} s after SIGKILL: {names}; look at them with ps")
        for member in left:
            # The outer process of a sandbox leaves the inner ones alive when it gets a TERM: KILL them all.
            kill = member.in_sandbox or waited_s >= grace_s
            if kill or member.process not in seen:
                send(member.process, signal.SIGKILL if kill else signal.SIGTERM)
            seen[member.process] = member
        time.sleep(0.02)
    return list(seen.values())


def kill_releases(home: Home, node: str) -> None:
    """KILL every release of this home that runs on a node: what the loss of its machine does to them."""
    for pid in psutil.pids():
        process = identify(pid)
        try:
            environ = environment(pid).split(b"\0")
        except OSError:
            continue
        on_node = any(entry.startswith(f"{RELEASE_MARK}={node}/".encode()) for entry in environ)
        if process is not None and on_node and f"HARNESS_HOME={home.root}".encode() in environ:
            send(process, signal.SIGKILL)


def _is_sandbox_of(home: Home, command: list[str]) -> bool:
    """bubblewrap shows its whole command line, and it names the folders of this home that it binds."""
    if not command or Path(command[0]).name != "bwrap":
        return False
    root = str(home.root)
    return any(word == root or f"{root}/" in word for word in command)


def _with_descendants(roots: set[int], children: dict[int, list[int]]) -> set[int]:
    found: set[int] = set()
    ahead = list(roots)
    while ahead:
        pid = ahead.pop()
        if pid not in found:
            found.add(pid)
            ahead += children[pid]
    return found
