"""The port ``Router`` in memory: fenced shares, in force at once. Writing what already holds changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.core.errors import Forbidden
from harness.simulation.effects import Done, Effect


class MemoryRouter:
    """``shares`` holds canary and baseline (0..1); stable gets the rest. ``settle`` is called before they change."""

    def __init__(self, *, settle: Callable[[], None], done: Done) -> None:
        self._settle, self._done = settle, done
        self.shares = {"canary": 0.0, "baseline": 0.0}
        self._highest_token = 0
        self._writes = 0
        self._version = f"{0:012d}.0.start"

    async def set_weights(self, weights: Mapping[str, float], token: int, note: str) -> str:
        """Give each arm its share; Forbidden for a token below the highest seen."""
        if token < self._highest_token:
            raise Forbidden(f"weights: token {token} is older than {self._highest_token}; take the service lock again")
        self._highest_token = token
        shares = {"canary": 0.0, "baseline": 0.0, **weights}
        if shares != self.shares:
            self._settle()
            self.shares = shares
            self._writes += 1
            self._version = f"{token:012d}.{self._writes}.{note}"
            self._done(Effect("weights", note, self._version))
        return self._version

    def weights(self) -> dict[str, float]:
        """The shares of canary and baseline."""
        return dict(self.shares)
