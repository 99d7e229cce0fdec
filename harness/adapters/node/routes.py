"""What a node needs of the data plane: to say who serves, and to hear when that is so. A Protocol, nothing more."""

from __future__ import annotations

from typing import Protocol


class Routes(Protocol):
    """Members of the standing clusters; a cluster is named as its slot. Every write is fenced and idempotent.

    Writes return the version in place; a token below the highest seen raises Forbidden, a busy lock Retryable.
    """

    def swap(self, cluster: str, node: str, socket: str, token: int, note: str) -> str:
        """Make ``socket`` the one that serves ``node``; its others drain. One write."""
        ...

    def put(self, cluster: str, node: str, socket: str, state: str, token: int, note: str) -> str:
        """Add the member, or set its state: HEALTHY or DRAINING."""
        ...

    def remove(self, cluster: str, node: str, socket: str, token: int, note: str) -> str:
        """Take the member out; fine when it is not there."""
        ...

    def sockets(self, cluster: str) -> dict[str, str]:
        """Every member's socket → its node."""
        ...

    def highest_token(self, cluster: str) -> int:
        """The lowest token that may still write to ``cluster``: repairs use it, they have none of their own."""
        ...

    async def applied(self, resource: str, version: str, timeout_s: float) -> str:
        """Wait until ``version`` of ``cluster.<name>`` is in force; Retryable when it is not, or nobody can say."""
        ...

    async def active_requests(self, cluster: str, socket: str) -> int | None:
        """Requests in flight at the member; None when the data plane does not have it."""
        ...
