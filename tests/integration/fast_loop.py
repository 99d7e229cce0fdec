"""An event loop whose time runs at a chosen speed beside real time, or stands still. Touches no clock but its own.

A modelled world lives on it while a real server, which knows real time only, has the work in flight.
"""

from __future__ import annotations

import asyncio
import selectors
import time

WAKES_EVERY_S = 0.02
"""In real time: so soon a change of speed is noticed."""


class FastLoop(asyncio.SelectorEventLoop):
    """``speed`` seconds pass on it in each real one."""

    def __init__(self) -> None:
        self._speed, self._seconds, self._since = 1.0, 0.0, time.monotonic()
        super().__init__(_Scaled(self))

    @property
    def speed(self) -> float:
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._seconds, self._since = self.time(), time.monotonic()
        self._speed = speed

    def time(self) -> float:
        """Seconds since the loop was made, at the speeds that it had."""
        return self._seconds + (time.monotonic() - self._since) * self._speed


class _Scaled(selectors.SelectSelector):
    def __init__(self, loop: FastLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        speed = self._loop.speed
        return super().select(min(timeout / speed if speed else timeout, WAKES_EVERY_S))
