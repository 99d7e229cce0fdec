"""Exact chances of counts that are looked at again and again: a walk on whole numbers. Pure, touches nothing.

Everything here is exact up to rounding, also for 0 against 3 events, where a normal approximation is far off:

- Under "both arms alike", and given how many requests were bad in a batch, the share of them that fell on one arm is
  hypergeometric (Fisher 1935). Batches are independent given those totals, even when the rate drifts between them.
- The chance to have crossed a boundary at some look is found by the recursion of Armitage, McPherson & Rowe (1969,
  J. R. Stat. Soc. A 132:235), on the lattice of counts instead of on a grid: convolve with the batch, cut off what
  crossed, go on with the rest.
- How much error may be spent by which look: Lan & DeMets (1983, Biometrika 70:659), O'Brien-Fleming type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

_NEGLIGIBLE = 1e-18  # a term this small beside the largest one is left out; far below any budget that is ever spent


def spent_by(alpha: float, information: float) -> float:
    """The part of a one-sided ``alpha`` (0..1) that may be spent by ``information`` (0..1 of the planned sample)."""
    if information <= 0:
        return 0.0
    if information >= 1:
        return alpha
    z = NormalDist().inv_cdf(1 - alpha / 2)
    return math.erfc(z / math.sqrt(2 * information))  # 2 - 2 * Phi(z / sqrt(t)) without cancellation


@dataclass(frozen=True)
class Chances:
    """Probabilities of the whole numbers ``start``, ``start + 1``, …"""

    start: int
    mass: tuple[float, ...]

    def at_least(self, count: float) -> float:
        """The chance of ``count`` or more."""
        first = max(0, math.ceil(count) - self.start)
        return math.fsum(self.mass[first:])

    def of(self, count: int) -> float:
        """The chance of exactly ``count``."""
        return self.mass[count - self.start] if 0 <= count - self.start < len(self.mass) else 0.0


CERTAINLY_NONE = Chances(0, (1.0,))


@lru_cache(maxsize=4096)
def hypergeometric(events: int, marked: int, others: int) -> Chances:
    """How many of ``events`` bad requests fall on the ``marked`` ones when arms do not matter."""
    low, high = max(0, events - others), min(events, marked)
    mode = (events + 1) * (marked + 1) // (marked + others + 2)

    def odds(count: int) -> float:
        return (marked - count) * (events - count) / ((count + 1) * (others - events + count + 1))

    return _outward(low, min(max(mode, low), high), high, odds)


@lru_cache(maxsize=4096)
def binomial(trials: int, rate: float) -> Chances:
    """How many of ``trials`` independent requests are bad at ``rate`` (0..1)."""
    if rate <= 0:
        return CERTAINLY_NONE
    if rate >= 1:
        return Chances(trials, (1.0,))
    mode = min(trials, math.floor((trials + 1) * rate))
    return _outward(0, mode, trials, lambda count: (trials - count) / (count + 1) * rate / (1 - rate))


def _outward(low: int, mode: int, high: int, odds: Callable[[int], float]) -> Chances:
    """Chances from the ratios ``odds(x) = P(x + 1) / P(x)``, built from the mode so that nothing overflows."""
    above = [1.0]
    for count in range(mode, high):
        above.append(above[-1] * odds(count))
        if above[-1] < _NEGLIGIBLE:
            break
    below = []
    term = 1.0
    for count in range(mode - 1, low - 1, -1):
        term /= odds(count)
        below.append(term)
        if term < _NEGLIGIBLE:
            break
    terms = [*reversed(below), *above]
    total = math.fsum(terms)
    return Chances(mode - len(below), tuple(term / total for term in terms))


@dataclass(frozen=True)
class Fence:
    """A boundary: crossed by ``count`` or more, and by ``count - 1`` that already was ``before`` or more a look ago.

    The second part only fills the step between two whole numbers, so that a lumpy count spends what it is allowed.
    ``cost``: the chance of a healthy walk to cross it now.
    """

    count: int
    before: int
    cost: float

    def crossed_by(self, now: float, before: float) -> bool:
        return now >= self.count or (now >= self.count - 1 and before >= self.before)


@dataclass(frozen=True)
class Walk:
    """Where a count can be, with which chance, if no fence was crossed yet; ``spent`` is the chance that one was.

    ``before`` and ``batch`` are the look before and what came since: ``at`` is their convolution.
    """

    at: Chances = CERTAINLY_NONE
    before: Chances = CERTAINLY_NONE
    batch: Chances = CERTAINLY_NONE
    spent: float = 0.0

    def moved(self, batch: Chances) -> Walk:
        """After one more batch."""
        mass = [0.0] * (len(self.at.mass) + len(batch.mass) - 1)
        for i, here in enumerate(self.at.mass):
            for j, step in enumerate(batch.mass, start=i):
                mass[j] += here * step
        return Walk(_trimmed(self.at.start + batch.start, mass), self.at, batch, self.spent)

    def fence(self, budget: float) -> Fence:
        """The lowest fence whose crossing now costs at most ``budget`` (a probability)."""
        count, cost = self.at.start + len(self.at.mass), 0.0
        for mass in reversed(self.at.mass):
            if cost + mass > budget:
                break
            count, cost = count - 1, cost + mass
        before = self.before.start + len(self.before.mass)
        for mass in reversed(self.before.mass):
            step = mass * self.batch.of(count - 1 - (before - 1))
            if cost + step > budget:
                break
            before, cost = before - 1, cost + step
        return Fence(count, before, cost)

    def cut(self, fence: Fence) -> Walk:
        """What goes on inside ``fence``; the chance of having crossed it is spent."""
        inside = list(self.at.mass[: max(0, fence.count - self.at.start)])
        above = math.fsum(self.at.mass[len(inside) :])
        if inside:
            inside[-1] = max(0.0, inside[-1] - (fence.cost - above))
        return Walk(Chances(self.at.start, tuple(inside or [0.0])), self.before, self.batch, self.spent + fence.cost)


def _trimmed(start: int, mass: list[float]) -> Chances:
    """Without the negligible ends, which would only make the walk wider and slower."""
    first, end = 0, len(mass)
    while first < end - 1 and mass[first] < _NEGLIGIBLE:
        first += 1
    while end > first + 1 and mass[end - 1] < _NEGLIGIBLE:
        end -= 1
    return Chances(start + first, tuple(mass[first:end]))
