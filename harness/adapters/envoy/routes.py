"""Changes who serves and who gets which share, and says when Envoy has really done it. Decides neither.

Writing is a few system calls under a lock and may be called anywhere; whatever asks Envoy is ``async``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.adapters.envoy import config
from harness.adapters.envoy.admin import EnvoyAdmin
from harness.adapters.envoy.config import Endpoint
from harness.adapters.envoy.watched import Version, WatchedFile
from harness.core.errors import Invalid, Retryable

_POLL_S = 0.01
_START = str(Version(token=0, n=0, note="start"))


class EnvoyRoutes:
    """Endpoints and weights of one Envoy: files under ``xds_dir``, effects read from the admin at ``admin_url``.

    Every write takes the fencing token of the service lock and a note (the key of the effect), and returns the
    ``version_info`` in place. Writing what already holds changes nothing, so a retry is harmless. A token below the
    highest seen raises Forbidden; a lock held by another writer for 1 s, or an admin that is away, Retryable.
    """

    def __init__(self, xds_dir: Path, admin_url: str) -> None:
        self._files = {
            resource: WatchedFile(resource, Path(config.resource_file(xds_dir, resource)), xds_dir / "locks")
            for resource in config.RESOURCES
        }
        self._admin = EnvoyAdmin(admin_url)

    def prepare(self) -> None:
        """Write the resources that are not there yet: no endpoints, all weight on stable. Before Envoy starts."""
        self._files[config.ROUTES].prepare(config.routes(_START, {"canary": 0, "baseline": 0}))
        for arm in config.ARMS:
            self._files[config.endpoints_of(arm)].prepare(config.endpoints(arm, _START, ()))

    def endpoints(self, cluster: str) -> tuple[Endpoint, ...]:
        """The members of ``cluster`` as written, by node and socket."""
        return config.endpoints_in(self._file(config.endpoints_of(cluster)).read())

    def sockets(self, cluster: str) -> dict[str, str]:
        """Every member's socket → its node, as written."""
        return {member.socket: member.node for member in self.endpoints(cluster)}

    def put(self, cluster: str, node: str, socket: str, state: str, token: int, note: str) -> str:
        """Add the endpoint (node, socket), or set its state: HEALTHY or DRAINING."""
        endpoint = Endpoint(node, socket, state)
        return self._edit_members(cluster, token, note, lambda members: [*_without(members, node, socket), endpoint])

    def swap(self, cluster: str, node: str, socket: str, token: int, note: str) -> str:
        """Make ``socket`` the one that serves ``node``; its others drain. One write, so no key sees two releases."""
        fresh = Endpoint(node, socket)

        def edit(members: Sequence[Endpoint]) -> list[Endpoint]:
            others = _without(members, node, socket)
            return [*(Endpoint(m.node, m.socket, "DRAINING") if m.node == node else m for m in others), fresh]

        return self._edit_members(cluster, token, note, edit)

    def remove(self, cluster: str, node: str, socket: str, token: int, note: str) -> str:
        """Take the endpoint (node, socket) out; fine when it is not there."""
        return self._edit_members(cluster, token, note, lambda members: _without(members, node, socket))

    def highest_token(self, cluster: str) -> int:
        """The lowest token that may still write to ``cluster``."""
        return self._file(config.endpoints_of(cluster)).highest_token()

    def weights(self) -> dict[str, int]:
        """The share of keys of every arm as written, in parts per thousand; they sum to 1000."""
        return config.weights_in(self._file(config.ROUTES).read())

    def set_weights(self, per_mille: Mapping[str, int], token: int, note: str) -> str:
        """Give canary and baseline their shares of keys, in parts per thousand; stable gets the rest."""
        return self._file(config.ROUTES).change(
            token, note, lambda current: config.routes(current["version_info"], per_mille)
        )

    def version(self, resource: str) -> str:
        """The ``version_info`` of a resource as written. Resources: ``config.ROUTES``, ``config.endpoints_of(arm)``."""
        return str(self._file(resource).read()["version_info"])

    async def applied_version(self, resource: str) -> str:
        """The version that Envoy has in force; empty before its first."""
        self._file(resource)
        return str((await self._admin.statistics(resource, "version_text")).get("version_text", ""))

    async def applied(self, resource: str, version: str, timeout_s: float) -> str:
        """Wait until Envoy has ``version``, or a later one, in force; returns the one seen.

        A later one counts because every write builds on the one before, and Envoy may jump over a version when two
        nodes write at once. Raises Retryable after ``timeout_s``, with the number of updates that Envoy refused.
        """
        wanted = Version.parse(version)
        deadline = time.monotonic() + timeout_s
        while True:
            seen = await self.applied_version(resource)
            if seen and Version.parse(seen).n >= wanted.n:
                return seen
            if time.monotonic() >= deadline:
                refused = (await self._admin.statistics(resource, "update_rejected")).get("update_rejected", 0)
                raise Retryable(
                    f"{resource}: wanted {version}, seen {seen or 'none'} after {timeout_s} s; "
                    f"Envoy refused {refused} updates of it since it started (its log says why)"
                )
            await asyncio.sleep(_POLL_S)

    async def active_requests(self, cluster: str, socket: str) -> int | None:
        """Requests in flight at the endpoint ``socket``; None when Envoy does not have it."""
        config.endpoints_of(cluster)
        hosts = await self._admin.hosts(cluster)
        return next((host.active_requests for host in hosts if host.socket == socket), None)

    async def healthy(self, cluster: str) -> tuple[str, ...]:
        """The sockets to which Envoy sends new requests for ``cluster``."""
        config.endpoints_of(cluster)
        return tuple(sorted(host.socket for host in await self._admin.hosts(cluster) if host.takes_new_requests))

    def _edit_members(
        self, cluster: str, token: int, note: str, edit: Callable[[Sequence[Endpoint]], list[Endpoint]]
    ) -> str:
        return self._file(config.endpoints_of(cluster)).change(
            token,
            note,
            lambda current: config.endpoints(
                cluster,
                current["version_info"],
                sorted(edit(config.endpoints_in(current)), key=lambda member: (member.node, member.socket)),
            ),
        )

    def _file(self, resource: str) -> WatchedFile:
        if resource not in self._files:
            raise Invalid(f"resource: {resource!r} is not known, allowed are {', '.join(self._files)}")
        return self._files[resource]


def _without(members: Sequence[Endpoint], node: str, socket: str) -> list[Endpoint]:
    return [member for member in members if (member.node, member.socket) != (node, socket)]
