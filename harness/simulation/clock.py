"""Virtual time: an event loop that jumps to the next moment at which something is due. Touches no real clock.

Everything that waits by ``asyncio`` waits in virtual time, any number of coroutines at once, in the order of their
moments. An hour without work costs nothing.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from harness.core.errors import Broken

T = TypeVar("T")

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_US = 1_000_000


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is counted, in whole microseconds from 0, instead of measured."""

    def __init__(self) -> None:
        self._now_us = 0
        super().__init__(_Jump(self))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now_us / _US

    def jump(self, seconds: float) -> None:
        """Let so much time pass."""
        self._now_us += math.ceil(seconds * _US)


class _Jump(selectors.SelectSelector):
    """Where a loop would block until its next timer, time jumps there."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Broken("simulation: every coroutine waits for another one, so nothing can happen any more")
        self._loop.jump(timeout)
        return super().select(0)


class VirtualClock:
    """The port ``Clock`` on the running loop's time, which began at ``START``."""

    def now(self) -> datetime:
        """The present, in UTC."""
        return START + timedelta(seconds=self.now_s())

    def now_s(self) -> float:
        """Seconds since the world began."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Return after so many virtual seconds."""
        await asyncio.sleep(seconds)


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from the beginning of virtual time to its end; what it left running is cancelled."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)
