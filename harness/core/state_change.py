"""Decides which changes of state are told, and when: what flaps is told now and then, and counted. Touches nothing.

A change is told in the tick that sees it while few were told in the last hour; beyond that, once there is room again,
if the state is another one by then. So what flaps all day is told at most ``2 * MOST`` times an hour, and what does not
is told every time. Changes into and out of a state that fires have room of their own: noise does not hide them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from harness.core.events import StateChanged, ToldState

MOST: Final = 6
WITHIN_S: Final = 3600.0
FIRES: Final = frozenset[str]({"burning", "violated"})


class Told(BaseModel):
    """What is known of one objective or invariant: the state that was told last, and what was seen since.

    ``version`` is that of its stream; times are in seconds of the caller's clock.
    """

    model_config = ConfigDict(frozen=True)

    state: ToldState
    version: int
    seen: ToldState
    """The state that was seen last."""
    since_s: float
    """Since when it is seen."""
    untold: int = 0
    """How many changes were seen since the last one that was told, and not told."""
    at_s: tuple[tuple[float, bool], ...] = ()
    """When the last ones were told, and whether a state that fires was in them."""


def recalled(changes: Iterable[tuple[float, StateChanged]]) -> Told | None:
    """What its stream says, each change with when it was told; None where nothing was told yet."""
    rows = list(changes)
    if not rows:
        return None
    last = rows[-1][1]
    at_s = tuple((at_s, _is_loud(one.before, one.after)) for at_s, one in rows)
    return Told(
        state=last.after, version=len(rows), seen=last.after, since_s=last.at.timestamp(), at_s=at_s[-2 * MOST :]
    )


def look(told: Told | None, state: ToldState | Literal["pending"], now_s: float) -> tuple[Told | None, bool]:
    """What to remember once ``state`` is seen, and whether it is to be told now, as the change from ``told.state``.

    An invariant that fails for less than its ``for`` is in no other state yet: the heartbeat counts those ticks.
    """
    if state == "pending":
        return told, False
    if told is None:
        return Told(state=state, version=0, seen=state, since_s=now_s), True
    if state != told.seen:
        told = told.model_copy(update={"seen": state, "since_s": now_s, "untold": told.untold + 1})
    if state == told.state or not _has_room(told, _is_loud(told.state, state), now_s):
        return told, False
    return told, True


def after_telling(told: Told, before: ToldState | None, now_s: float) -> Told:
    """What to remember once the change to ``told.seen`` is recorded."""
    at_s = (*told.at_s, (now_s, _is_loud(before, told.seen)))[-2 * MOST :]
    return told.model_copy(update={"state": told.seen, "version": told.version + 1, "untold": 0, "at_s": at_s})


def _has_room(told: Told, loud: bool, now_s: float) -> bool:
    return sum(was_loud == loud and now_s - at_s < WITHIN_S for at_s, was_loud in told.at_s) < MOST


def _is_loud(before: str | None, after: str) -> bool:
    return before in FIRES or after in FIRES
