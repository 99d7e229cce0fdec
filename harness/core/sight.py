"""Whether an objective is seen, and for how long it has been so. Pure, touches nothing.

That data were away for a moment is nothing, and that they came for one neither: both count once they lasted.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Sight(BaseModel):
    """``blind``: why not even the shortest window can be told, None when it can; ``since``: for how long that is so."""

    model_config = ConfigDict(frozen=True)

    blind: str | None
    since: datetime


def look(before: Sight | None, blind: str | None, now: datetime) -> Sight:
    """What is seen now; the reason for seeing nothing may change meanwhile."""
    if before is not None and (before.blind is None) == (blind is None):
        return Sight(blind=blind, since=before.since)
    return Sight(blind=blind, since=now)


def is_away(sight: Sight, now: datetime, after_s: float) -> bool | None:
    """Whether data are away for so long; False when they are there for as long; None when neither lasted."""
    if (now - sight.since).total_seconds() < after_s:
        return None
    return sight.blind is not None
