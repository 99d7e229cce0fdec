"""Takes a machine of the local stack away, as a dead power supply would: its record, and kill -9 to all that ran there.

Knows where the stack keeps the records and how it marks its processes; imports nothing of it. Touches no other node.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path


def drawn(nodes: Sequence[str], count: int, seed: int) -> list[str]:
    """The nodes whose machines die."""
    return random.Random(seed).sample(sorted(nodes), count)


def power_off(home: Path, node: str) -> list[int]:
    """Returns the processes that were killed. The record goes first: nobody may start anything there again."""
    (home / "machines" / f"{node}.json").unlink()
    killed = []
    for pid in running_on(home, node):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed.append(pid)
    return killed


def running_on(home: Path, node: str) -> Iterator[int]:
    """The node's agent with its children, and the sandboxes of its releases, by their environment."""
    agent, release = f"HARNESS_COMPONENT=node-{node}".encode(), f"HARNESS_RELEASE={node}/".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ours = f"HARNESS_HOME={home}".encode() in environ
        if ours and (agent in environ or any(entry.startswith(release) for entry in environ)):
            yield int(folder.name)
