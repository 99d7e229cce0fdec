"""The data plane in memory: members, fences and versions as Envoy's files keep them. Touches nothing outside."""

from __future__ import annotations

from harness.core.errors import Forbidden


class MemoryRoutes:
    """Members by cluster as ``{(node, socket): state}``; a write is in force at once.

    ``in_flight`` is for the test to set: requests by socket. ``history`` holds every version that changed something.
    """

    def __init__(self) -> None:
        self.members: dict[str, dict[tuple[str, str], str]] = {"canary": {}, "stable": {}, "baseline": {}}
        self.in_flight: dict[str, int] = {}
        self.history: list[str] = []
        self._tokens = dict.fromkeys(self.members, 0)
        self._versions = {cluster: f"{0:012d}.0.start" for cluster in self.members}

    def swap(self, cluster: str, node: str, socket: str, token: int, note: str) -> str:
        """Make ``socket`` the one that serves ``node``; its others drain."""
        drained = {member: "DRAINING" if member[0] == node else state for member, state in self._of(cluster).items()}
        return self._write(cluster, {**drained, (node, socket): "HEALTHY"}, token, note)

    def put(self, cluster: str, node: str, socket: str, state: str, token: int, note: str) -> str:
        """Add the member, or set its state."""
        return self._write(cluster, {**self._of(cluster), (node, socket): state}, token, note)

    def remove(self, cluster: str, node: str, socket: str, token: int, note: str) -> str:
        """Take the member out; fine when it is not there."""
        left = {member: state for member, state in self._of(cluster).items() if member != (node, socket)}
        return self._write(cluster, left, token, note)

    def sockets(self, cluster: str) -> dict[str, str]:
        """Every member's socket → its node."""
        return {socket: node for node, socket in self._of(cluster)}

    def highest_token(self, cluster: str) -> int:
        """The lowest token that may still write."""
        return self._tokens[cluster]

    async def applied(self, resource: str, version: str, timeout_s: float) -> str:
        """The version in force, which is always the last one written."""
        return self._versions[resource.removeprefix("cluster.")]

    async def active_requests(self, cluster: str, socket: str) -> int | None:
        """What the test set; None for no member."""
        known = any(member_socket == socket for _, member_socket in self._of(cluster))
        return self.in_flight.get(socket, 0) if known else None

    def _of(self, cluster: str) -> dict[tuple[str, str], str]:
        return self.members[cluster]

    def _write(self, cluster: str, members: dict[tuple[str, str], str], token: int, note: str) -> str:
        if token < self._tokens[cluster]:
            raise Forbidden(f"cluster.{cluster}: token {token} is older than {self._tokens[cluster]}")
        self._tokens[cluster] = token
        if members != self._of(cluster):
            self.members[cluster] = members
            count = int(self._versions[cluster].split(".")[1]) + 1
            self._versions[cluster] = f"{token:012d}.{count}.{note}"
            self.history.append(f"{cluster} {self._versions[cluster]}")
        return self._versions[cluster]
