"""What a ticket's delivery spends of an objective's error budget, and whether that is more than it may. Pure, touches
nothing.

Counted are all bad events of the whole service while the delivery was under way, beyond those that the share of right
before makes of as many events. Not those of an arm alone: a delivery also harms who is drained, or queues behind it,
and nodes that are swapped have no counters of their own. Nor simply all: whoever repairs a service did not make it
sick. What comes from outside meanwhile counts, for nobody can tell it from the delivery's, and a budget that is being
spent is a reason to stop either way.
"""

from __future__ import annotations

from harness.core.burn_rate import burn_rate, error_ratio
from harness.core.sequential import Counts, Pair, proportion_sequential

ALPHA = 0.05
"""One-sided: so seldom is trouble seen in the short window that is none."""


def has_just_begun(short: Counts, long: Counts) -> bool:
    """Whether the short window of an objective is worse than the rest of the long one, by more than chance: then what
    comes is more like the short one. Else the long one tells better how it was, for it has more events."""
    rest = Counts(long.bad - short.bad, long.total - short.total)
    if rest.total <= 0 or not 0 <= rest.bad <= rest.total:
        return True
    verdict = proportion_sequential(
        alpha=ALPHA, direction="increase", planned=(rest.total, short.total), looks=[Pair(rest, short)]
    )
    return verdict.verdict == "HIGH"


def beyond(bad: int, total: int, before_bad: int, before_total: int) -> float:
    """Bad events beyond what the share of before makes of ``total``; never below 0, for a gain is no credit."""
    if total == 0:
        return 0.0
    return max(0.0, total * (error_ratio(bad, total) - error_ratio(before_bad, before_total)))


def share_spent(events: float, period_total: int, error_budget: float) -> float:
    """The share of the budget of a period that so many bad events are: 1 is all of it."""
    return burn_rate(events, period_total, error_budget)


def why_too_much(objective: str, spent: float, at_most: float) -> str:
    """The sentence for people; empty when it is no more than may be."""
    if spent <= at_most:
        return ""
    return (
        f"error budget: this ticket's delivery spent {spent:.2%} of that of {objective}, more than {at_most * 100:g}%"
    )
