"""What of a service that works could be made better, and whether it is time to try. Decides; touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from harness.core.policy import Opportunities

WEEK: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Standing:
    """A tunable and the value that is served."""

    tunable: str
    value: int


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier offer: when it was made, its ticket, and the value at which that left a tunable, None while it lives.

    ``ended``: of what is no tunable, where no value is left behind: whether its ticket has.
    """

    name: str
    offered_at: datetime
    ticket: str
    left_at: int | None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Prospect:
    """A tunable, and whether something may be won with it: ``open``, ``under_way``, or ``known`` to stand well."""

    standing: Standing
    state: Literal["open", "under_way", "known"]
    reason: str


def prospects(
    standings: Sequence[Standing], past: Sequence[Past], policy: Opportunities, now: datetime
) -> list[Prospect]:
    """Each tunable; what was not looked at for longest comes first. ``past`` is in the order of time."""
    last = {offer.name: offer for offer in past}
    looked_at = {name: offer.offered_at.timestamp() for name, offer in last.items()}
    ordered = sorted(standings, key=lambda one: looked_at.get(one.tunable, 0.0))
    return [_prospect(one, last.get(one.tunable), policy, now) for one in ordered]


def _prospect(standing: Standing, last: Past | None, policy: Opportunities, now: datetime) -> Prospect:
    if last is None:
        return Prospect(standing, "open", "no other value was ever tried")
    if last.left_at is None:
        return Prospect(standing, "under_way", f"{last.ticket} is at it")
    if last.left_at != standing.value:
        return Prospect(standing, "open", f"{last.ticket} left it at {last.left_at}, somebody changed it since")
    if now - last.offered_at >= timedelta(seconds=policy.again_after_s):
        return Prospect(standing, "open", f"{last.ticket} found nothing better, at {last.offered_at:%Y-%m-%d}")
    return Prospect(standing, "known", f"{last.ticket} left it there, at {last.offered_at:%Y-%m-%d}")


def state_of(
    name: str, past: Sequence[Past], policy: Opportunities, now: datetime
) -> tuple[Literal["open", "under_way", "known"], str]:
    """Whether what lies ahead is offered now, and why (not): once, and again when that is as old as policy says."""
    last = next((offer for offer in reversed(past) if offer.name == name), None)
    if last is None:
        return "open", "nobody was told so far"
    if not last.ended:
        return "under_way", f"{last.ticket} is at it"
    told = f"{last.ticket} was about it, at {last.offered_at:%Y-%m-%d}"
    return ("open" if now - last.offered_at >= timedelta(seconds=policy.again_after_s) else "known"), told


def left_this_week(past: Sequence[Past], policy: Opportunities, now: datetime) -> int:
    """How many more offers policy allows now: so many in any seven days."""
    return max(0, policy.per_week - sum(now - offer.offered_at < WEEK for offer in past))
