"""What is taken at most: bytes of a body, bytes at once, alerts a second. Reads requests; keeps nothing of them.

What is over the rate, or has no room, is answered so that Alertmanager sends it again: nothing is lost by it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.requests import ClientDisconnect

from harness.api.problems import Problem
from harness.core.errors import Retryable

BODY_BYTES: Final = 16 * 1024 * 1024
BYTES_AT_ONCE: Final = 32 * 1024 * 1024
"""Of all bodies that are read and not yet recorded; what is recorded together is one body, of 64 MiB at the most."""
BODY_WITHIN_S: Final = 15.0
ALERTS_PER_S: Final = 4_000.0
BURST: Final = 40_000.0
NOT_JSON: Final = "the body has to be JSON: content-type application/json"


class Bounds:
    """The room of one server. ``now_s``: a clock that only goes on."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._left = BURST
        self._since_s = now_s()
        self._held_bytes = 0

    @contextmanager
    def held(self, request: Request) -> Iterator[None]:
        """Room for the request's body. Raises Problem or Retryable where there is none."""
        size = _announced(request)
        if self._held_bytes + size > BYTES_AT_ONCE:
            raise Retryable(f"bodies of {self._held_bytes} bytes are waiting to be recorded", retry_after_s=2)
        self._held_bytes += size
        try:
            yield
        finally:
            self._held_bytes -= size

    def spend(self, alerts: int) -> None:
        """Count so many (a request counts for one at least). Raises Retryable where it is more than the rate allows."""
        now_s = self._now_s()
        self._left = min(BURST, self._left + (now_s - self._since_s) * ALERTS_PER_S)
        self._since_s = now_s
        cost = max(1, alerts)
        if cost > self._left:
            wait_s = (cost - self._left) / ALERTS_PER_S
            raise Retryable(f"more than {ALERTS_PER_S:g} alerts a second came in", retry_after_s=max(1.0, wait_s))
        self._left -= cost


async def read_json(request: Request) -> Any:
    """The JSON value of the body. Raises Problem for what is no JSON, too large, or too slow."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Problem(415, f"{kind or 'no content-type'!r}: {NOT_JSON}")
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            body = await _read(request)
    except TimeoutError:
        raise Problem(408, f"the body did not arrive within {BODY_WITHIN_S:g} s") from None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            body.decode()
        except UnicodeDecodeError as fault:
            raise Problem(400, f"the body is no UTF-8: {fault.reason} at byte {fault.start}") from None
        raise Problem(400, f"the body is no JSON: {error}") from None


async def _read(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > BODY_BYTES:
                raise _too_large(size)
            parts.append(part)
    except ClientDisconnect:
        raise Problem(400, f"the connection ended after {size} bytes of the body") from None
    return b"".join(parts)


def _announced(request: Request) -> int:
    """The length of the body; of one that comes in chunks the most that it can have."""
    given = request.headers.get("content-length", "")
    size = int(given) if given.isdecimal() and len(given) < 20 else BODY_BYTES
    if size > BODY_BYTES:
        raise _too_large(size)
    return size


def _too_large(size: int) -> Problem:
    return Problem(
        413, f"the body has {size} bytes or more, at most {BODY_BYTES} are taken; for an Alertmanager set `max_alerts`"
    )
