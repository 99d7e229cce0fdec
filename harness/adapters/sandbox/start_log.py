"""Keeps the log of release starts, one line each: effects can be counted without asking the harness. Starts nothing."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """What a start of a release was for; ``start`` is the how manieth of the node, so no two starts share a tag."""

    key: str
    node: str
    slot: str
    tree: str
    start: int

    def __str__(self) -> str:
        return f"{self.node}/{self.slot}/{self.tree}/{self.start}/{self.key}"


class StartLog:
    """The file at ``path``: JSON lines with at, key, node, slot, tree, start, child_pid."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, tag: Tag, child_pid: int, at: datetime) -> None:
        """Append the line of one start."""
        line = json.dumps({"at": at.isoformat(), **asdict(tag), "child_pid": child_pid})
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode())  # one write to an appended file: lines never mix
        finally:
            os.close(descriptor)

    def has(self, tag: Tag, child_pid: int) -> bool:
        """Whether that start has its line."""
        wanted = {**asdict(tag), "child_pid": child_pid}
        try:
            lines = self._path.read_text().splitlines()
        except FileNotFoundError:
            return False
        return any(wanted.items() <= json.loads(line).items() for line in lines)
