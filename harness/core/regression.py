"""Whether `no regression` holds of a share of requests that was counted before and after. Decides; touches nothing.

Two point values say little: of 4,000 requests with 10 errors expected, 13 are chance. Two exact tests on the counts
(Fisher's), each one-sided: would a service that stayed as it was look so much worse so seldom (``p_worse``)? And would
one that got worse by all of the margin look so good so seldom (``p_within``)? See docs/adr/0036.
"""

from __future__ import annotations

import math
from typing import Literal

from harness.core.criteria import DEFAULT_MARGIN, Condition, Direction, NoRegression
from harness.core.events import Comparison, Measurement
from harness.core.lattice import hypergeometric
from harness.core.manifest import Metric
from harness.core.sequential import Counts

ALPHA = 0.05
"""One-sided: so seldom is a share that stayed as it was told to be worse, and harm beyond a margin to be within it."""

Side = Literal["lower", "higher"]


def held(
    condition: Condition,
    before: Measurement | None,
    now: Measurement,
    metric: Metric,
    *,
    design_effect: float,
    alpha: float = ALPHA,
) -> tuple[bool | None, Comparison | None]:
    """Whether ``now`` satisfies the condition, and the test that this rests on; None where two values are compared.

    ``design_effect`` >= 1: the variance of the share over that of independent requests; counts are divided by it.
    """
    if isinstance(condition, NoRegression) and metric.counts and before is not None:
        margin, declared = _margin(condition, before, metric)
        compared = compare(before, now, metric.direction, margin, declared=declared, design_effect=design_effect)
        if compared is not None:
            return verdict(compared, alpha), compared
    return condition.holds(now.value, before.value if before else None, metric.direction), None


def compare(
    before: Measurement, now: Measurement, direction: Direction, margin: float, *, declared: bool, design_effect: float
) -> Comparison | None:
    """Both tests of the two shares; None when one of them has no samples. ``margin``: a share (0..1) of all requests.

    Of a metric that should stay as it is, both directions are tested, and the worse one counts.
    """
    if before.value is None or now.value is None or not before.samples or not now.samples:
        return None
    sides: tuple[Side, ...] = ("lower", "higher") if direction == "either" else (direction,)
    counts = [(_counts(before, side, design_effect), _counts(now, side, design_effect)) for side in sides]
    return Comparison(
        before=before, now=now, margin=margin, declared=declared, design_effect=design_effect,
        p_worse=min(1.0, len(sides) * min(shown_worse(*pair) for pair in counts)),
        p_within=max(shown_within(*pair, margin) for pair in counts),
    )  # fmt: skip


def verdict(compared: Comparison, alpha: float = ALPHA) -> bool | None:
    """Whether it is no regression; None, which is never met, when the samples cannot tell.

    It is when it is shown to be within the margin, however sure it is that it got worse. A margin that the service
    declares has to be shown. Any other is a part of a share that is not known any better itself: there it is enough
    that nothing is shown to be worse. Where the samples suffice, these are the same.
    """
    if compared.p_within <= alpha:
        return True
    if compared.p_worse <= alpha:
        return False
    return None if compared.declared or not _enough(compared, alpha) else True


def told(compared: Comparison, met: bool | None) -> str:
    """The numbers that it rests on; ``met``: the verdict that was recorded of it."""
    before, now, effect = compared.before, compared.now, compared.design_effect
    divided = f", divided by {effect:g}" if effect > 1 else ""
    points = f"{100 * compared.margin:.3g} points{' as declared' if compared.declared else ''}"
    return (
        f"{'cannot be told from' if met is None else 'beside'} {100 * (before.value or 0.0):.4g} % before "
        f"({before.samples} and {now.samples} requests{divided}): p {compared.p_worse:.2g} if nothing changed, "
        f"p {compared.p_within:.2g} if worse by {points}"
    )


def shown_worse(before: Counts, now: Counts) -> float:
    """The chance that so many of the bad requests, or more, are ``now``'s though nothing has changed."""
    return hypergeometric(before.bad + now.bad, now.total, before.total).at_least(now.bad)


def shown_within(before: Counts, now: Counts, margin: float) -> float:
    """The chance that ``now`` looks so good though it got worse by ``margin``: beside a baseline that is as bad."""
    worse = Counts(min(before.total, before.bad + math.floor(margin * before.total)), before.total)
    return shown_worse(now, worse)


def _margin(condition: NoRegression, before: Measurement, metric: Metric) -> tuple[float, bool]:
    """As a share of all requests, and whether the service declares it."""
    if condition.margin is None and metric.margin is not None:
        return metric.margin, True
    part = DEFAULT_MARGIN if condition.margin is None else condition.margin.base
    return part * (before.value or 0.0), False


def _enough(compared: Comparison, alpha: float) -> bool:
    """Whether anything could be seen: of so few requests, nothing but bad ones after nothing but good ones."""
    then, since = (_counts(one, "lower", compared.design_effect).total for one in (compared.before, compared.now))
    return hypergeometric(since, since, then).at_least(since) <= alpha


def _counts(one: Measurement, side: Side, design_effect: float) -> Counts:
    assert one.value is not None and one.samples
    total = math.floor(one.samples / design_effect)
    share = one.value if side == "lower" else 1 - one.value
    return Counts(min(total, round(share * one.samples / design_effect)), total)
