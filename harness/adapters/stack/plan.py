"""The shape of a stack to be kept running: components, and parts that somebody else runs. Reads and writes its file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.adapters.stack.replace import DAMAGED, replace_text

NODES = "nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What must be seen before a component counts as ready; all parts that are given must hold.

    ports: TCP ports on which the process that was started, or a descendant of it, listens: a port that answers
        proves nothing, somebody else may have it.
    url: answers 200, and its body holds ``contains``.
    announced: the component wrote its ready file with its own pid and start time (``readiness.announce``).
    """

    ports: tuple[int, ...] = ()
    url: str | None = None
    contains: str = ""
    announced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One process to keep running. ``env`` is added to the supervisor's own; ``url`` is shown to people."""

    name: str
    argv: tuple[str, ...]
    ready: Ready
    env: dict[str, str] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    url: str | None = None
    ready_within_s: float = 30.0
    stop_grace_s: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """A part that the stack uses and does not run: ``address`` is host:port, ``variable`` the one that named it."""

    name: str
    address: str
    variable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that ``harness up`` brings up. Holds no secret: components inherit those, no file has them.

    ``node`` is what runs on each machine of the home, with ``{node}`` for its name: which machines there are is not
    planned. Components may depend on ``NODES``, that is on every node of the fleet as it is at the start.
    """

    components: tuple[Component, ...]
    external: tuple[External, ...] = ()
    node: Component | None = None

    def __post_init__(self) -> None:
        known: set[str] = {NODES} if self.node else set()
        for component in self.components:
            missing = set(component.depends_on) - known
            assert not missing, f"{component.name}: depends on {sorted(missing)}, which must come before it"
            known.add(component.name)

    def with_nodes(self, names: Iterable[str]) -> tuple[Component, ...]:
        """Every component that runs when these nodes do, each after what it needs."""
        nodes = tuple(self.on(name) for name in names)
        first = tuple(component for component in self.components if NODES not in component.depends_on)
        last = tuple(
            replace(component, depends_on=(*(name for name in component.depends_on if name != NODES),
                                           *(node.name for node in nodes)))
            for component in self.components if component not in first
        )  # fmt: skip
        return (*first, *nodes, *last)

    def on(self, name: str) -> Component:
        """What runs on the machine of the node ``name``."""
        assert self.node is not None, "a plan without nodes has no machines"
        node = self.node
        return replace(
            node,
            name=node.name.replace("{node}", name),
            argv=tuple(word.replace("{node}", name) for word in node.argv),
            url=node.url and node.url.replace("{node}", name),
        )

    def dependents(self, name: str, nodes: Iterable[str]) -> tuple[str, ...]:
        """The components that need this one while these nodes are there."""
        return tuple(other.name for other in self.with_nodes(nodes) if name in other.depends_on)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        document = json.loads(text)
        return cls(
            components=tuple(_component(entry) for entry in document["components"]),
            external=tuple(External(**entry) for entry in document["external"]),
            node=_component(document["node"]) if document["node"] else None,
        )

    def write(self, path: Path) -> None:
        replace_text(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Plan | None:
        """The plan last written; None when the stack was never started, or what was written is damaged."""
        try:
            return cls.from_json(path.read_text())
        except (FileNotFoundError, *DAMAGED):
            return None


def _component(entry: dict[str, Any]) -> Component:
    ready = entry["ready"]
    return Component(
        **{
            **entry,
            "argv": tuple(entry["argv"]),
            "depends_on": tuple(entry["depends_on"]),
            "ready": Ready(**{**ready, "ports": tuple(ready["ports"])}),
        }
    )
