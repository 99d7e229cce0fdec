"""The modelled service: what a release does to requests follows from the changes that are in its tree. Pure values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import reduce

SLOW_MS = 50.0
"""A request that takes longer is slow (the traffic's contract)."""
SERVICE_MS = 12.0
"""What a request takes without any wait."""
CHECK_CPU_S, CONNECT_CPU_S = 64e-6, 66e-6
"""As measured on the real service."""
STANDARD_ANSWERS = 1000
SETTING = "answers_per_connection"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a release behaves; shares are 0..1 of its requests. Each of ``wait_share`` waits ``wait_ms`` longer."""

    wait_ms: float = 0.0
    wait_share: float = 0.0
    error_share: float = 0.0
    wrong_denial_share: float = 0.0
    over_admission_share: float = 0.0
    starts: bool = True
    checks_pass: bool = True
    check_s: float = 0.0
    """By how much longer the checks run."""
    answers_per_connection: int | None = None
    """The setting of the modelled service, in capitals in its file; None for a change that does not speak of it."""

    def and_also(self, other: Behaviour) -> Behaviour:
        """Both at once: the worse of each."""
        worse = {
            field.name: (min if isinstance(getattr(self, field.name), bool) else max)(
                getattr(self, field.name), getattr(other, field.name)
            )
            for field in fields(self)
            if field.name != SETTING
        }
        said = [one for one in (self.answers_per_connection, other.answers_per_connection) if one is not None]
        return Behaviour(**worse, answers_per_connection=min(said, default=None))

    @property
    def cpu_s(self) -> float:
        """What a check costs, for clients that keep their connections: each pays its part of opening one."""
        answers = STANDARD_ANSWERS if self.answers_per_connection is None else self.answers_per_connection
        return CHECK_CPU_S + CONNECT_CPU_S / answers

    @property
    def slow_share(self) -> float:
        """The share of requests that are slow."""
        return self.wait_share if SERVICE_MS + self.wait_ms >= SLOW_MS else 0.0


HEALTHY = Behaviour()


@dataclass(frozen=True, slots=True)
class Change:
    """One edit to the service. ``needs`` another change in the tree: without it the release behaves as ``without``.

    ``on_top_of``: a change whose lines this one edited again, so that it cannot be taken back by itself.
    """

    name: str
    behaviour: Behaviour = HEALTHY
    needs: str | None = None
    without: Behaviour = HEALTHY
    on_top_of: str | None = None
    note: str = ""
    """What a person wrote into the file of this change, beside what it does."""

    @property
    def path(self) -> str:
        """The file that this change brings or edits."""
        return self.name.partition(VERSION)[0]

    @property
    def text(self) -> str:
        """The file: a comment, and what it does to requests, a line for each thing that is not as usual."""
        unusual = [
            f"{_written(field.name)} = {json.dumps(getattr(self.behaviour, field.name))}\n"
            for field in fields(Behaviour)
            if getattr(self.behaviour, field.name) != getattr(HEALTHY, field.name)
        ]
        return "".join([*(f"# {line}\n" for line in self.note.splitlines()), *unusual])


VERSION = "@"
"""Between the path of a file and the digest of the text that an agent wrote into it, in the name of that change."""


def _written(name: str) -> str:
    """The setting is written in capitals."""
    return name.upper() if name == SETTING else name


def read_file(text: str) -> Behaviour:
    """What a file with this text does; one that cannot be read does not start."""
    values = {}
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition("="))
        if not line.strip() or name.startswith("#"):
            continue
        try:
            values[SETTING if name == SETTING.upper() else name] = json.loads(value)
        except ValueError:
            return Behaviour(starts=False)
    if not values.keys() <= {field.name for field in fields(Behaviour)}:
        return Behaviour(starts=False)
    return replace(HEALTHY, **values)


Tree = frozenset[str]
"""A tree is the set of the names of the changes in it."""


def behaviour_of(tree: Tree, changes: Mapping[str, Change]) -> Behaviour:
    """What a release of this tree does."""
    present = [changes[name] for name in sorted(tree)]
    parts = [change.behaviour for change in present]
    parts += [change.without for change in present if change.needs is not None and change.needs not in tree]
    return reduce(Behaviour.and_also, parts, HEALTHY)


def in_the_way(tree: Tree, leaving: Iterable[str], changes: Mapping[str, Change]) -> list[str]:
    """Changes in ``tree`` that edited the lines of one that is about to leave it."""
    gone = set(leaving)
    return sorted(name for name in tree - gone if changes[name].on_top_of in gone)
