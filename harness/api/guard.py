"""Who may use the routes below ``/api``: whoever sends the token. Also counts requests. Reads headers alone.

It stands before everything else, so that nothing is read, routed or told to whoever has no token.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from harness.api.metrics import Metrics
from harness.api.problems import document
from harness.core.redaction import Secrets

GUARDED: Final = "/api"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CHALLENGE: Final = 'Bearer realm="harness"'


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, token: SecretStr, secrets: Secrets, metrics: Metrics) -> None:
        self._app = app
        self._token = token.get_secret_value().encode()
        self._secrets = secrets
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began_s = 500, time.monotonic()

        async def told(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, told)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"  # whoever asks may name any
            self._metrics.requests.labels(route, method, status).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - began_s)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]
    ) -> None:
        path = scope["path"]
        if (path == GUARDED or path.startswith(f"{GUARDED}/")) and (fault := self._fault(scope)):
            challenge = CHALLENGE if fault.startswith("no token") else f'{CHALLENGE}, error="invalid_token"'
            refusal = document(401, fault, self._secrets, {"www-authenticate": challenge})
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _fault(self, scope: Scope) -> str | None:
        """Why it may not; None when it may."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = (given[0] if given else b"").partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            return "no token: send `Authorization: Bearer TOKEN`; this server's is in the file api-token of its home"
        if not hmac.compare_digest(token.strip(), self._token):
            return "the token is not this server's, which is HARNESS_API_TOKEN or in the file api-token of its home"
        return None
