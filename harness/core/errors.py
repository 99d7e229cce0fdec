"""What can go wrong, said so that the caller knows what to do. Touches nothing.

``Refused``: yours to change, never retried. ``Retryable``: the same call may succeed later.
``Broken``: a bug or damaged data; stop and look. Messages name the thing, the value and the way out.
"""

from __future__ import annotations

from typing import Final


class HarnessError(Exception):
    """The root of every error that the harness raises on purpose; ``exit_code`` is the contract's."""

    exit_code = 1


class Refused(HarnessError):
    """The request cannot be done as it stands. Change it; a retry gives the same answer."""


class Invalid(Refused):
    """The input breaks a schema or a rule of form: ``path: reason, what is allowed``."""

    exit_code = 2


class Forbidden(Refused):
    """Well formed, but policy or the life of the ticket does not allow it: which rule, how to proceed."""

    exit_code = 3


class Dropped(Refused):
    """The body was dropped on purpose, and the ledger says by whom and why. No copy is needed, and no alarm."""


class Retryable(HarnessError):
    """Something needed did not answer. ``retry_after_s`` (seconds) is a hint; None means the caller decides."""

    exit_code = 4

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Broken(HarnessError):
    """A bug or damaged data. Never retried: going on would make it worse."""


class VersionConflict(HarnessError):
    """Somebody else wrote to the stream first and nothing was recorded: read it again, decide again, append again."""

    def __init__(self, *, stream: str, expected: int, actual: int) -> None:
        super().__init__(
            f"stream {stream!r} is at version {actual}, not at {expected} as expected; read it again and decide again"
        )
        self.stream = stream
        self.expected = expected
        self.actual = actual


KINDS: Final[dict[str, type[HarnessError]]] = {
    kind.__name__: kind for kind in (Refused, Invalid, Forbidden, Dropped, Retryable, Broken)
}
"""Errors by the name under which they travel from one process to another."""
