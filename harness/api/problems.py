"""Every error of the HTTP interface as a problem document (RFC 9457), and the status that it has. Touches nothing.

The status decides what a sender does next: Alertmanager tries again what was answered with 5xx, and drops the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request, Response

from harness.core.errors import Broken, Dropped, Forbidden, HarnessError, Invalid, Refused, Retryable
from harness.core.redaction import Secrets

MEDIA_TYPE: Final = "application/problem+json"
DETAIL_CHARS: Final = 4_000
"""Of a text that may quote what was sent."""
RETRY_AFTER_S: Final = 1.0


class Problem(HarnessError):
    """An error of the interface itself: no such thing, too large, no token."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Absent(Refused):
    """There is nothing of that name."""


STATUS: Final[tuple[tuple[type[HarnessError], int], ...]] = (
    (Absent, 404), (Dropped, 410), (Forbidden, 409), (Invalid, 422), (Refused, 409), (Retryable, 503), (Broken, 500),
    (HarnessError, 500),
)  # fmt: skip
"""The first that fits."""
MEANING: Final[dict[int, str]] = {
    400: "The body is no JSON, or no UTF-8; or what came is no request of HTTP/1.1, and the connection is closed.",
    401: "No token, or another one than this server's.",
    404: "There is nothing of that name.",
    405: "Not with this method; `Allow` names those that can be used.",
    408: "The head or the body did not arrive in time.",
    409: "Policy, or the state of what it is about, does not allow it; sending it again gives the same answer.",
    410: "What is asked for was dropped on purpose.",
    413: "The body is larger than this server takes.",
    415: "The body has to be JSON.",
    422: "The body is JSON and not in the form; every `path: reason` is in `detail`.",
    431: "The head is larger than this server takes; the connection is closed.",
    500: "A bug, or damaged data; nothing was taken.",
    503: "Something needed does not answer, or too much comes at once. Nothing was taken; send it again after "
    "`Retry-After` seconds.",
}


def answer(error: HarnessError, secrets: Secrets) -> Response:
    """The problem document of an error."""
    if isinstance(error, Problem):
        return document(error.status, str(error), secrets)
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    headers = {}
    if isinstance(error, Retryable):
        headers["retry-after"] = str(max(1, round(error.retry_after_s or RETRY_AFTER_S)))
    return document(status, str(error), secrets, headers)


def document(status: int, detail: str, secrets: Secrets, headers: Mapping[str, str] | None = None) -> Response:
    """A problem of this status; what may have been a secret is taken out before the text is cut."""
    said = secrets.taken_from_text(detail)[0]
    if len(said) > DETAIL_CHARS:
        said = f"{said[:DETAIL_CHARS]} … ({len(said)} characters)"
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": said}
    return Response(json.dumps(body), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def allowed(request: Request) -> str:
    """All methods that the request's path can be used with: a path has a route for each."""
    app: Any = request.app
    methods: set[str] = set()
    for route in app.routes:
        match, _ = route.matches(request.scope)
        if match.value:
            methods |= set(route.methods or ())
    return ", ".join(sorted(methods))
