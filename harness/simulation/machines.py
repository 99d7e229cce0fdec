"""The port ``NodeProvider`` in memory: machines under the key that started them. Promises what the real one does."""

from __future__ import annotations

from harness.core.errors import Forbidden, Invalid
from harness.simulation.effects import Done, Effect
from harness.simulation.fleet import MemoryNodes

PLACES = 12


class MemoryMachines:
    """The machines of ``nodes``; ``lose`` is what happens to one, all else is the port."""

    def __init__(self, nodes: MemoryNodes, *, done: Done) -> None:
        self._nodes, self._done = nodes, done
        self._used = len(nodes.names())
        self._by_key: dict[str, str] = {}

    def nodes(self) -> tuple[str, ...]:
        """The nodes that there are, in the order in which they came."""
        return self._nodes.names()

    def observe(self, key: str) -> str | None:
        """The node that the effect with this key started or removed; None when it did not happen."""
        return self._by_key.get(key)

    def start(self, key: str) -> str:
        """Start a node under a name that none had before; the same key again gives the same one."""
        if key in self._by_key:
            return self._by_key[key]
        if self._used == PLACES:
            raise Forbidden(f"node n{self._used + 1}: there is no place for it")
        self._used += 1
        name = self._by_key[key] = f"n{self._used}"
        self._nodes.join(name)
        self._done(Effect("machine", key, f"start {name}"))
        return name

    def remove(self, node: str, key: str) -> None:
        """Take a node away, with all that runs on it; Invalid for one that is not there."""
        if key in self._by_key:
            return
        if node not in self._nodes.names():
            raise Invalid(f"node {node} is not in the fleet")
        self._by_key[key] = node
        self._nodes.leave(node)
        self._done(Effect("machine", key, f"remove {node}"))

    def lose(self, node: str) -> None:
        """A machine dies."""
        self._nodes.leave(node)
