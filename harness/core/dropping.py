"""What is said where a body was dropped: by whom, when, why, and what a reader gets in its place. Touches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from harness.core import events as e

DAY_S: Final = 86_400
_MARK: Final = "dropped_body"


@dataclass(frozen=True, slots=True)
class Drop:
    """That a body was dropped, as it is recorded."""

    event: e.BlobDropped
    at: datetime
    actor: str
    position: int

    @property
    def forgotten(self) -> bool:
        """Whether for good: the same body is not kept again."""
        return self.event.cause == "forgotten"


def standing(drops: Sequence[Drop]) -> Drop | None:
    """What holds of a body, from every drop of it in order: forgotten is for good, else the last one; None for none."""
    return next((one for one in drops if one.forgotten), drops[-1] if drops else None)


def words(drop: Drop, why: str | None) -> str:
    """``dropped on 2026-11-26 17:03 UTC by human:ada because …``.

    Args:
        why: the person's reason; None where there is none, or it cannot be read.
    """
    said = f"dropped on {drop.at:%Y-%m-%d %H:%M} UTC by {drop.actor}"
    if drop.forgotten:
        return f"{said} because: {why}" if why else f"{said}, who gave a reason that is dropped as well"
    event = drop.event
    kept = "" if event.kept_s is None else f" for {event.kept_s / DAY_S:g} d after their ticket is closed"
    return f"{said} because {event.kind or 'bodies of its kind'} are kept{kept}"


def in_its_place(told: str) -> dict[str, Any]:
    """What a page shows for a dropped body, of whatever kind: each text that a page looks for is the words."""
    told = f"[{told}]"
    return {
        _MARK: told, "text": told, "why": told, "question": told, "reason": told, "summary": told,
        "predicted_effect": told, "arguments": {},
        "ticket": {"objective": {"description": told}, "acceptance_criteria": []},
    }  # fmt: skip


def dropped(body: Any) -> str | None:
    """The words, when this is what stands in a dropped body's place; else None."""
    return body[_MARK] if isinstance(body, Mapping) and _MARK in body else None


def bare(body: Any) -> Any:
    """A body as data, for those who learn from it: of a dropped one the words alone."""
    told = dropped(body)
    return body if told is None else {_MARK: told}
