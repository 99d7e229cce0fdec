"""Which nodes the fleet is declared to have: those first seen, and what tickets have made of them. Pure.

What a ticket's operation starts or removes changes what is declared; a loss does not. A node that a ticket starts while
another is missing stands in for that one: it makes the loss good, and nothing grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.core import events as e


@dataclass(frozen=True, slots=True)
class Fleet:
    """``declared``: the nodes that should be there; ``missing``: those of them that were seen to be gone, oldest first;
    ``running``: those last seen. ``stands_in``: a node that was started → the missing one that it stands in for."""

    declared: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    stands_in: Mapping[str, str] = field(default_factory=dict)

    def after(self, kind: str, data: Mapping[str, Any]) -> Fleet:
        """What it is after this event, given by its type and its stored fields."""
        if kind == e.FleetChanged.__name__:
            return self._seen(tuple(data["nodes"]))
        if kind == e.OperationStepped.__name__ and data["node"]:
            # Also of a step that came out badly: it may have had its effect, and the record has it.
            if data["verb"] == "start":
                return self._started(data["node"], back=data["back"])
            if data["verb"] == "remove":
                return self._removed(data["node"], back=data["back"])
        return self

    def _seen(self, nodes: tuple[str, ...]) -> Fleet:
        declared = self.declared or nodes
        known = [node for node in self.missing if node not in nodes]
        gone = [node for node in self.running if node in declared and node not in nodes and node not in known]
        return replace(self, declared=declared, running=nodes, missing=(*known, *gone))

    def _started(self, node: str, *, back: bool) -> Fleet:
        """On a way back it takes the place of the node that the same operation removed, and of no other."""
        if back or not self.missing:
            return replace(self, declared=(*self.declared, node))
        lost, *others = self.missing
        declared = (*_without(self.declared, lost), node)
        return replace(self, declared=declared, missing=tuple(others), stands_in={**self.stands_in, node: lost})

    def _removed(self, node: str, *, back: bool) -> Fleet:
        """Where the repair of a loss is taken back, the loss is there again."""
        again = (self.stands_in[node],) if back and node in self.stands_in else ()
        return Fleet(
            declared=(*_without(self.declared, node), *again), missing=(*again, *_without(self.missing, node)),
            running=self.running, stands_in={one: lost for one, lost in self.stands_in.items() if one != node},
        )  # fmt: skip

    def more(self) -> str:
        """Which nodes are there and no ticket has brought; empty for none."""
        alien = [node for node in self.running if node not in self.declared]
        return f"{', '.join(alien)}: came into the fleet, and no ticket started it" if alien else ""

    def fewer(self) -> str:
        """Which nodes are gone, and no ticket has taken them; empty for none."""
        gone = [node for node in self.declared if node not in self.running]
        return f"{', '.join(gone)}: gone from the fleet, and no ticket removed it" if gone else ""


def _without(nodes: tuple[str, ...], gone: str) -> tuple[str, ...]:
    return tuple(node for node in nodes if node != gone)
