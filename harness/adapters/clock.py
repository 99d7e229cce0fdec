"""The real clock. Reads the time and waits; nothing else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


class SystemClock:
    """UTC time of this machine."""

    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)
