"""Asks Envoy's admin what it really does: versions in force, hosts, requests in flight. Only reads; changes nothing.

Every question is one GET on loopback, asked in a thread, so that no event loop waits for it.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import httpx

from harness.core.errors import Retryable

_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Host:
    """An endpoint as Envoy sees it. ``takes_new_requests`` is False while it drains; counts are of this moment."""

    socket: str
    takes_new_requests: bool
    active_requests: int


class EnvoyAdmin:
    """Envoy's admin interface at ``url`` (``http://127.0.0.1:<port>``). Raises Retryable when it does not answer."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(base_url=self._url, timeout=_TIMEOUT_S, trust_env=False)  # loopback has no proxy

    async def statistics(self, prefix: str, *names: str) -> dict[str, str | int]:
        """The statistics ``<prefix>.<name>``, by name; one that does not exist is absent."""
        wanted = f"^{re.escape(prefix)}\\.({'|'.join(map(re.escape, names))})$"
        answer = await self._get("/stats", filter=wanted, format="json")
        return {entry["name"][len(prefix) + 1 :]: entry["value"] for entry in answer["stats"] if "name" in entry}

    async def hosts(self, cluster: str) -> tuple[Host, ...]:
        """The endpoints of ``cluster`` that listen on Unix sockets; none for a cluster that Envoy does not have."""
        answer = await self._get("/clusters", format="json", filter=f"^{re.escape(cluster)}$")
        statuses = [
            host
            for entry in answer.get("cluster_statuses", ())
            if entry["name"] == cluster
            for host in entry.get("host_statuses", ())
        ]
        return tuple(_host(status) for status in statuses if "pipe" in status["address"])

    async def _get(self, path: str, **query: str) -> Any:
        return await asyncio.to_thread(self._get_in_thread, path, query)

    def _get_in_thread(self, path: str, query: dict[str, str]) -> Any:
        try:
            response = self._client.get(path, params=query)
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Retryable(
                f"envoy admin: {self._url}{path} gave no answer ({error!r}); is the stack up? `harness up` starts it"
            ) from error


def _host(status: dict[str, Any]) -> Host:
    # Envoy leaves out what is zero or the default, so an absent gauge is 0 and an absent health is healthy.
    gauges = {entry["name"]: int(entry.get("value", 0)) for entry in status.get("stats", ())}
    health = status.get("health_status", {}).get("eds_health_status", "HEALTHY")
    return Host(
        socket=status["address"]["pipe"]["path"],
        takes_new_requests=health in ("HEALTHY", "UNKNOWN"),
        active_requests=gauges.get("rq_active", 0),
    )
