"""Follows one running check: what it uses, and whether it holds more memory than it may. Ends nothing itself."""

from __future__ import annotations

import asyncio
import json

from harness.adapters.sandbox.capture import read_to_end
from harness.adapters.sandbox.inside import unshared_bytes, usage

_EVERY_S = 0.05


class Meter:
    """``seen_inside``: bubblewrap got as far as making the namespaces. ``exceeded``: it held too much memory."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self.cpu_s = 0.0
        self.max_rss_bytes = 0
        self.seen_inside = False
        self.exceeded = False

    async def follow(self, info_fd: int) -> None:
        """Until the sandbox is gone, or holds too much."""
        answer = await read_to_end(info_fd)
        if not answer:
            return
        self.seen_inside = True
        first_pid = int(json.loads(answer)["child-pid"])
        while (now := usage(first_pid)) is not None:
            self.cpu_s = max(self.cpu_s, now.cpu_s)
            self.max_rss_bytes = max(self.max_rss_bytes, now.rss_bytes)
            if now.rss_bytes > self._memory_bytes and unshared_bytes(first_pid) > self._memory_bytes:
                self.exceeded = True
                return
            await asyncio.sleep(_EVERY_S)


def cpu_of_children_s(report: bytes) -> float:
    """The last line of the shell's ``times``: ``0m1.25s 0m0.03s``, user and system; 0 when it did not get there."""
    lines = report.decode().splitlines()
    if len(lines) < 3:
        return 0.0
    parts = (word.rstrip("s").split("m") for word in lines[2].split())
    return sum(int(minutes) * 60 + float(seconds) for minutes, seconds in parts)
