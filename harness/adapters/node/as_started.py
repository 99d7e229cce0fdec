"""Looks whether a release still is what it was started as: its folder's files, and the configuration it says it has.

Reads the folder, and asks the release over its socket. Judges nothing, and ends nothing.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from harness.adapters.node.state import Occupant
from harness.adapters.releases import ReleaseStore
from harness.core.deployment import Tells

_TIMEOUT_S = 2.0
_MAX_ANSWER_BYTES = 64 * 1024
_FILES_NAMED = 10
_VERSION = re.compile("[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What was seen of the release with this tag.

    ``altered``: the first files of its folder that are not as its tree has them. ``told``: the
    version of its configuration that it says it runs by, where it says so.
    """

    tag: str
    altered: tuple[str, ...]
    told: str | None

    def as_fields(self) -> dict[str, Any]:
        """As a report has it."""
        return {"altered": self.altered, "told": self.told}


async def look(occupant: Occupant, releases: ReleaseStore, tells: Tells | None) -> Sight:
    """What is to be seen of it now. Raises Invalid when the repository does not have its tree."""
    altered = await asyncio.to_thread(releases.altered, occupant.tree)
    told = await _told(occupant, tells) if tells else None
    return Sight(tag=occupant.tag, altered=altered[:_FILES_NAMED], told=told)


async def _told(occupant: Occupant, asked: Tells) -> str | None:
    """What the release says; None when it does not answer, or with something else. It is not to be trusted with more
    than a small answer."""
    transport = httpx.AsyncHTTPTransport(verify=False, uds=str(occupant.socket))
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            httpx.AsyncClient(transport=transport, base_url="http://release", timeout=_TIMEOUT_S) as client,
            client.stream("GET", asked.route, headers={"Connection": "close"}) as answer,
        ):
            body = b""
            async for part in answer.aiter_raw():
                body += part
                if len(body) > _MAX_ANSWER_BYTES:
                    return None
            document = orjson.loads(body) if answer.status_code == httpx.codes.OK else None
    except (httpx.HTTPError, TimeoutError, orjson.JSONDecodeError):
        return None
    said = document.get(asked.field) if isinstance(document, dict) else None
    return said if isinstance(said, str) and _VERSION.fullmatch(said) else None
