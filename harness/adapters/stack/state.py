"""What the supervisor says is running: the shape of ``run/state.json``, its reader and writer. Judges nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from harness.adapters.stack.home import Home
from harness.adapters.stack.processes import ProcessId, is_alive
from harness.adapters.stack.replace import DAMAGED, replace_text

Phase = Literal["waiting", "starting", "up", "down"]


@dataclass(slots=True, kw_only=True)
class Record:
    """One component as its supervisor last saw it. ``since`` is UTC, ISO 8601; ``exits`` counts its deaths."""

    phase: Phase
    since: str
    process: ProcessId | None = None
    exits: int = 0
    last_exit: str | None = None
    last_exit_at: str | None = None


@dataclass(slots=True, kw_only=True)
class State:
    """``supervisor`` wrote this; when it is dead, all of this is history."""

    supervisor: ProcessId
    components: dict[str, Record] = field(default_factory=dict)

    def write(self, home: Home) -> None:
        replace_text(home.state, json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, home: Home) -> State | None:
        """The last record; None when there is none, or one that was damaged, as by a loss of power: what runs is found
        by its environment then. Its supervisor may be dead: see ``read_living``."""
        try:
            document = json.loads(home.state.read_text())
            records = {name: _record(entry) for name, entry in document["components"].items()}
            return cls(supervisor=ProcessId(**document["supervisor"]), components=records)
        except (FileNotFoundError, *DAMAGED):
            return None

    @classmethod
    def read_living(cls, home: Home) -> State | None:
        """The record of a living supervisor; None when nobody supervises this home."""
        state = cls.read(home)
        return state if state is not None and is_alive(state.supervisor) else None


def _record(entry: dict[str, Any]) -> Record:
    process = entry.pop("process")
    return Record(**entry, process=ProcessId(**process) if process else None)
