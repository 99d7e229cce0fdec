"""What a verification comes to: met, taken back, or kept though it is not enough. Pure, touches nothing.

A change is taken back unless what the ticket is about is better than before it and everything else holds: taking that
back would make the service worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.criteria import DEFAULT_MARGIN, Better, Direction
from harness.core.events import JudgedCriterion, Measurement
from harness.core.regression import compare, told
from harness.core.units import Quantity


@dataclass(frozen=True, slots=True)
class Outcome:
    """``reason``: why the criteria are not met, empty when they are. ``kept``: the change stays all the same."""

    reason: str
    kept: bool = False


def judge(
    criteria: Sequence[JudgedCriterion],
    promises: Sequence[JudgedCriterion],
    *,
    samples: int,
    min_samples: int,
    improved: bool,
) -> Outcome:
    """``criteria``: the ticket's own, the first is what it is about. ``improved``: whether that is better than before.

    What was not measured is not met. What is left to another ticket passes where it got no worse.
    """
    if samples < min_samples:
        return Outcome(f"insufficient: {samples} requests in the window, {min_samples} are needed")
    unmet = [one for one in (*criteria, *promises) if not one.passes]
    words = [f"{one.metric} {one.condition}: {_measured(one)}" for one in unmet]
    only_the_target = [one.metric for one in unmet] == [criteria[0].metric] and unmet[0].met is False
    return Outcome("; ".join(words), kept=only_the_target and improved)


def is_better(
    before: Measurement | None, after: Measurement, direction: Direction, *, design_effect: float, alpha: float
) -> bool:
    """Whether ``after`` is shown to be better: of counted requests with this ``alpha``, of anything else by 5 %."""
    if before is None or before.value is None or after.value is None:
        return False
    reverse = compare(after, before, direction, 0.0, declared=False, design_effect=design_effect)
    if reverse is not None and direction == "lower":
        return reverse.p_worse <= alpha
    return Better(Quantity.parse(f"{100 * DEFAULT_MARGIN:g}%")).holds(after.value, before.value, direction) is True


def middle(pairs: Sequence[tuple[Measurement, Measurement]]) -> tuple[Measurement, Measurement] | None:
    """Of pairs that were both measured, the one whose quotient is the median; None of none."""
    known = [
        (with_it.value / without.value, number)
        for number, (without, with_it) in enumerate(pairs)
        if without.value and with_it.value is not None
    ]
    return pairs[sorted(known)[(len(known) - 1) // 2][1]] if known else None


def _measured(one: JudgedCriterion) -> str:
    if one.measured.value is None:
        return "not measured"
    seen = f"{one.measured.value:.4g} measured"
    if one.compared is not None:
        return f"{seen}, {told(one.compared, one.met)}"
    if one.beside is not None:
        return f"{seen}, {one.beside.value:.4g} without the change"
    if one.left_to is None:
        return seen
    return f"{seen}, which is worse than {one.left_to.before.value:.4g} before (left to {one.left_to.ticket_id})"
