"""The ways a request can be refused, each an exception that becomes a problem document (RFC 9457). Touches nothing."""

from __future__ import annotations

from typing import ClassVar


class Problem(Exception):
    """A request that gets no decision. ``detail`` names thing, value and way out; ``fields`` are headers."""

    status: ClassVar[int] = 400
    kind: ClassVar[str] = "bad-request"
    title: ClassVar[str] = "The request cannot be understood"

    def __init__(self, detail: str, *, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields

    def document(self) -> dict[str, object]:
        """The body of the answer: ``type``, ``title``, ``status``, ``detail``."""
        return {
            "type": f"urn:ratelimiter:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }


class BadRequest(Problem):
    """Malformed HTTP, JSON, or a field outside its bounds."""


class NotFound(Problem):
    """No such route."""

    status = 404
    kind = "not-found"
    title = "There is nothing at this path"


class UnknownLimit(Problem):
    """The limits file has no limit of this name."""

    status = 404
    kind = "unknown-limit"
    title = "No such limit"


class MethodNotAllowed(Problem):
    """The path exists, the method does not; carries ``Allow``."""

    status = 405
    kind = "method-not-allowed"
    title = "The path does not take this method"


class BodyTooLarge(Problem):
    """The body is longer than is ever read."""

    status = 413
    kind = "body-too-large"
    title = "The body is too long"


class HeadTooLarge(Problem):
    """Request line and headers together are longer than is ever read."""

    status = 431
    kind = "head-too-large"
    title = "Request line and headers are too long"


class InternalError(Problem):
    """A bug. The log has the traceback."""

    status = 500
    kind = "internal-error"
    title = "The service failed"


class KeyspaceFull(Problem):
    """Every key that is held is in debt and there is no room for another; carries ``Retry-After``."""

    status = 503
    kind = "keyspace-full"
    title = "No room for another key"
