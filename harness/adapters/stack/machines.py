"""The machines of the local stack: one record each, in ``HOME/machines``. The supervisor runs a node on every one.

A record is a machine's power: whoever takes it away, this file or another hand, has the supervisor kill what ran there,
and nobody brings it back but ``start``. Starts and signals no process.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.adapters.stack.home import Home
from harness.adapters.stack.replace import replace_text
from harness.core.errors import Forbidden, Invalid
from harness.core.units import choices

FIRST = ("n1", "n2", "n3")
"""The fleet of a home that never had one."""
SPARES = 8
"""For so many nodes more there is a way for scrapes, until the stack is started the next time."""
_NAME = re.compile(r"n([1-9][0-9]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine with the keys of the effects that started and removed it. ``since``: UTC, ISO 8601."""

    name: str
    started_by: str
    since: str
    removed_by: str | None = None


class LocalMachines:
    """The port ``NodeProvider`` on this home. Every change is made under a lock, and a key has one effect."""

    def __init__(self, home: Home, *, changed: Callable[[tuple[str, ...]], None] = lambda names: None) -> None:
        """``changed`` is told the fleet after each change made here."""
        self._folder = home.machines
        self._gone = home.machines / "removed"
        self._changed = changed

    def prepare(self) -> tuple[str, ...]:
        """Give a new home its first fleet, and every home its spare places; the names for which there is a place."""
        self._gone.mkdir(parents=True, exist_ok=True)
        with self._locked():
            last, _ = self._numbers()
            if not last:
                for name in FIRST:
                    self._write(Machine(name=name, started_by="up", since=_now()))
                last = len(FIRST)
            self._note(last, last + SPARES)
        return tuple(f"n{number}" for number in range(1, last + SPARES + 1))

    def nodes(self) -> tuple[str, ...]:
        """The nodes that there are, in the order in which they came."""
        numbers = [int(match[1]) for path in self._folder.glob("*.json") if (match := _NAME.fullmatch(path.stem))]
        return tuple(f"n{number}" for number in sorted(numbers))

    def machine(self, name: str) -> Machine | None:
        """The record of a node that is there."""
        return _read(self._folder / f"{name}.json")

    def observe(self, key: str) -> str | None:
        """The node that the effect with this key started or removed; None when it did not happen."""
        for path in (*self._folder.glob("*.json"), *self._gone.glob("*.json")):
            machine = _read(path)
            if machine is not None and key in (machine.started_by, machine.removed_by):
                return machine.name
        return None

    def start(self, key: str) -> str:
        """Start a node under a name that none had before; the same key again gives the same name, also of one that is
        gone since. Raises Forbidden when there is no place left."""
        with self._locked():
            if (name := self.observe(key)) is not None:
                return name
            last, places = self._numbers()
            if last >= places:
                raise Forbidden(
                    f"node n{last + 1}: this stack was laid out for nodes up to n{places}; `harness down` and "
                    "`harness up` lay it out anew"
                )
            self._note(last + 1, places)  # first: a name that was given and lost is not given again
            self._write(Machine(name=f"n{last + 1}", started_by=key, since=_now()))
        self._changed(self.nodes())
        return f"n{last + 1}"

    def remove(self, node: str, key: str) -> None:
        """Take a node's machine away, with whatever runs there. Raises Invalid for one that is not in the fleet."""
        with self._locked():
            if self.observe(key) is not None:
                return
            machine = self.machine(node)
            if machine is None:
                raise Invalid(f"node {node} is not in the fleet; {choices(node, self.nodes())}")
            gone = Machine(name=node, started_by=machine.started_by, since=machine.since, removed_by=key)
            replace_text(self._gone / f"{node}.json", json.dumps(asdict(gone)))
            (self._folder / f"{node}.json").unlink()
        self._changed(self.nodes())

    def _write(self, machine: Machine) -> None:
        replace_text(self._folder / f"{machine.name}.json", json.dumps(asdict(machine)))

    def _numbers(self) -> tuple[int, int]:
        """The last number that was given to a node, and the last for which there is a place; 0 where there is none."""
        try:
            last, places = (self._folder / ".numbers").read_text().split()
        except FileNotFoundError:
            return 0, 0
        return int(last), int(places)

    def _note(self, last: int, places: int) -> None:
        replace_text(self._folder / ".numbers", f"{last} {places}\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # let go by the kernel, however its holder ends
            yield


def _read(path: Path) -> Machine | None:
    try:
        return Machine(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
