"""What is another living ticket's to restore, and whether a ticket made it worse. Decides; touches nothing.

Of a condition that did not hold while nothing of a ticket was in place, and for which another ticket lives, it is asked
only that it gets no worse. What held then is asked for in full, whoever else is at work: harm of its own has no excuse.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from harness.core.criteria import DEFAULT_MARGIN, Condition, Direction
from harness.core.events import LeftTo, Measurement
from harness.core.manifest import Metric
from harness.core.regression import compare, verdict

NO_REGRESSION = Condition.parse("no regression")


@dataclass(frozen=True, slots=True)
class Claim:
    """A declared condition, and the living ticket that was filed when it broke."""

    ticket_id: str
    metric: str
    condition: str


def left_to_others(
    claims: Iterable[Claim], own: Collection[tuple[str, str]], start: Sequence[Measurement]
) -> dict[tuple[str, str], tuple[str, Measurement]]:
    """(metric, condition) → the ticket that it is left to, and what it was at the start.

    Args:
        own: what this ticket is there to reach; of that nothing is left to anybody.
        start: the service while nothing of this ticket was in place; empty: nothing is known, so nothing is left.
    """
    before = {one.metric: one for one in start}
    return {
        (claim.metric, claim.condition): (claim.ticket_id, seen)
        for claim in claims
        if (claim.metric, claim.condition) not in own
        and (seen := before.get(claim.metric)) is not None
        and Condition.parse(claim.condition).holds(seen.value) is False
    }


def judged(
    ticket_id: str, condition: str, before: Measurement, now: Measurement, metric: Metric, design_effect: float
) -> LeftTo:
    """The condition as one that is left to ``ticket_id``, with whether it got no worse."""
    return LeftTo(
        ticket_id=ticket_id, metric=now.metric, condition=condition, before=before, now=now,
        no_worse=no_worse(before, now, metric.direction, design_effect, free_share=metric.unit == "%"),
    )  # fmt: skip


def no_worse(
    before: Measurement, now: Measurement, direction: Direction, design_effect: float, *, free_share: bool = False
) -> bool | None:
    """Whether ``now`` is not shown to be worse than ``before``; None when one of them was not measured.

    A share of requests is worse when more than chance says so, by the test of `no regression`; any other value when it
    is by its margin. ``free_share``: of what should be high and is a share, the margin is one of the rest:
    where little is free, a part of that little is noise, and the same part of what is used is not.
    """
    if before.value is None or now.value is None:
        return None
    if free_share and direction == "higher":
        return NO_REGRESSION.holds(1 - now.value, 1 - before.value, "lower")
    margin = DEFAULT_MARGIN * before.value
    compared = compare(before, now, direction, margin, declared=False, design_effect=design_effect)
    if compared is None or direction != "lower":
        return NO_REGRESSION.holds(now.value, before.value, direction)
    return verdict(compared) is not False


def worst(readings: Sequence[Measurement], direction: Direction) -> Measurement | None:
    """The reading that is worst for users; None without any that was measured."""
    known = [one for one in readings if one.value is not None]
    if not known:
        return None
    return (min if direction == "higher" else max)(known, key=lambda one: one.value or 0.0)
