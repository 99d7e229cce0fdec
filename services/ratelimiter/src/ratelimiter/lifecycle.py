"""Knows whether the process serves or drains, and since when. Reads the clock it is given; stops nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime


class Lifecycle:
    """From start to draining; there is no way back but a new process."""

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.started_at = clock()
        self.draining_since: datetime | None = None

    @property
    def draining(self) -> bool:
        """True once ``drain`` was called."""
        return self.draining_since is not None

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return (self._clock() - self.started_at).total_seconds()

    def drain(self) -> None:
        """Send clients elsewhere: not ready any more, every answer ends its connection. Again changes nothing."""
        if self.draining_since is None:
            self.draining_since = self._clock()
