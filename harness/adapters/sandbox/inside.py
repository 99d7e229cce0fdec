"""Looks into a running sandbox from outside: its CPU and memory, by its own /proc. Reads only.

``/proc/<first process>/root/proc`` lists exactly the sandbox's processes, for root and for the user who started it;
walking the whole machine's process table instead costs a hundred times as much.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.adapters.stack.processes import identify

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What all processes of a sandbox use now: CPU seconds so far, resident bytes (shared pages counted each time)."""

    cpu_s: float
    rss_bytes: int


def usage(first_pid: int) -> Usage | None:
    """None when the sandbox is gone; zero while it is being set up."""
    if identify(first_pid) is None:
        return None
    ticks = pages = 0
    for folder in _processes(first_pid):
        try:
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it ended between the listing and the reading
        ticks += sum(map(int, fields[11:15]))  # its own user and system time, and that of children it waited for
        pages += int(fields[21])
    return Usage(ticks / _TICKS_PER_S, pages * _PAGE_BYTES)


def unshared_bytes(first_pid: int) -> int:
    """Resident bytes with every shared page divided among its users: true, and too dear to ask often."""
    total_kib = 0
    for folder in _processes(first_pid):
        try:
            lines = (folder / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kib * 1024


def _processes(first_pid: int) -> list[Path]:
    own_proc = Path(f"/proc/{first_pid}/root/proc")
    try:
        if own_proc.stat().st_dev == Path("/proc").stat().st_dev:
            return []  # it has not left the host's root yet, and this would list the whole machine
        return [own_proc / name for name in os.listdir(own_proc) if name.isdigit()]
    except OSError:
        return []
