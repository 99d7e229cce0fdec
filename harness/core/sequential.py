"""One bad share under continuous looking: the tests that a canary is judged with. Pure, touches nothing.

Exact throughout (see ``lattice``): the error budget is kept given how many requests were bad in each batch, so it holds
at any base rate, for 0 against 3 events, and while the rate drifts for both arms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from harness.core.errors import Invalid
from harness.core.lattice import Chances, Fence, Walk, binomial, hypergeometric, spent_by
from harness.core.power import Direction

VerdictWord = Literal["PASS", "HIGH", "LOW", "NODATA"]


@dataclass(frozen=True)
class Counts:
    """Requests of one arm since the canary began: ``bad`` of ``total``, whole numbers from raw counter differences."""

    bad: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.bad <= self.total:
            raise Invalid(f"counts: {self.bad} bad of {self.total} requests; allowed 0 <= bad <= total")


@dataclass(frozen=True)
class Pair:
    """One metric at one look, cumulative: ``control`` is the fresh baseline, ``experiment`` the canary."""

    control: Counts
    experiment: Counts

    @property
    def smaller(self) -> int:
        """Requests of the smaller arm."""
        return min(self.control.total, self.experiment.total)


@dataclass(frozen=True)
class Verdict:
    """What is known of one metric. HIGH: the canary has a larger bad share than it should; LOW: a smaller one.

    ``p_value``: Fisher's exact test on the counts of the judged look, not corrected for looks (for a limit: the
    binomial one); ``effect``: canary's bad share minus the baseline's (or minus the limit), -1..1; both None without
    requests. ``decided_at_look`` counts from 1.
    """

    verdict: VerdictWord
    reason: str
    p_value: float | None = None
    effect: float | None = None
    n_control: int = 0
    n_experiment: int = 0
    decided_at_look: int | None = None


def proportion_sequential(
    *,
    alpha: float,
    direction: Direction,
    planned: tuple[int, int],
    looks: Sequence[Pair],
    design_effect: float = 1.0,
) -> Verdict:
    """Judge one metric by all its cumulative ``looks``; ``planned``: requests (control, experiment) at which it ends.

    HIGH or LOW at the first look that crosses its boundary, whatever later looks say; PASS at the first look with the
    planned requests in both arms; NODATA before. ``either`` spends half of ``alpha`` on each side. ``design_effect``
    >= 1 is the variance of the share over that of independent requests. Raises Invalid when counts shrink.
    """
    if min(planned) < 1 or not 0 < alpha < 1 or design_effect < 1:
        raise Invalid(f"planned {planned}, alpha {alpha}, design_effect {design_effect}: allowed >= 1, 0 to 1, >= 1")
    refuse_shrinking(looks, "looks")
    words: list[VerdictWord] = ["HIGH"] if direction == "increase" else ["LOW"]
    if direction == "either":
        words = ["HIGH", "LOW"]
    races = {word: Race(design_effect) for word in words}
    for number, pair in enumerate(looks, start=1):
        if pair.smaller == 0:
            continue
        information = min(pair.control.total / planned[0], pair.experiment.total / planned[1])
        for word, race in races.items():
            race.advance(*((pair.experiment, pair.control) if word == "HIGH" else (pair.control, pair.experiment)))
            race.spend_up_to(spent_by(alpha / len(races), information))
            if race.crossed:
                return told(word, "boundary_crossed", pair, direction, decided_at_look=number)
        if information >= 1:
            return told("PASS", "planned_sample_reached", pair, direction, decided_at_look=number)
    if not looks or looks[-1].smaller == 0:
        return Verdict("NODATA", "no_requests")
    return told("NODATA", "insufficient", looks[-1], direction)


def refuse_shrinking(looks: Sequence[Pair], where: str) -> None:
    """Raise Invalid when a cumulative count, or the count of good requests, is smaller than at the look before."""
    for number, (before, after) in enumerate(pairwise(looks), start=2):
        for arm in ("control", "experiment"):
            was, now = getattr(before, arm), getattr(after, arm)
            if now.bad < was.bad or now.total - now.bad < was.total - was.bad:
                raise Invalid(
                    f"{where}[{number - 1}].{arm}: {now.bad} of {now.total} after {was.bad} of {was.total}; "
                    "counts are cumulative, so hand in a reset counter as not measured"
                )


class SequentialTest:
    """One boundary through the looks of one canary: advance with the counts, then spend what the budget allows."""

    def __init__(self, design_effect: float) -> None:
        self._design_effect = design_effect
        self._walk = Walk()
        self._fence = Fence(count=1, before=1, cost=0.0)  # before the first batch nothing can cross
        self._observed = self._observed_before = 0.0  # bad requests in the effective sample, the unit of the walk

    @property
    def spent(self) -> float:
        """The chance that a healthy canary has crossed by now."""
        return self._walk.spent + self._fence.cost

    @property
    def crossed(self) -> bool:
        """Whether the look last advanced to crosses the boundary."""
        return self._fence.crossed_by(self._observed, self._observed_before)

    def spend_up_to(self, budget: float) -> None:
        """Put the boundary of this look as low as it goes with ``spent`` <= ``budget``."""
        self._fence = self._walk.fence(budget - self._walk.spent)

    def _step(self, batch: Chances, observed: float) -> None:
        self._walk = self._walk.cut(self._fence).moved(batch)
        self._observed_before, self._observed = self._observed, observed


class Race(SequentialTest):
    """Too many bad requests in ``suspect``, given all bad requests of both arms batch by batch."""

    def __init__(self, design_effect: float) -> None:
        super().__init__(design_effect)
        self._events = self._marked = self._others = 0

    def advance(self, suspect: Counts, other: Counts) -> None:
        # Rounded against the suspicion: all events up, and its own stay a fraction, compared with a whole number.
        events = math.ceil((suspect.bad + other.bad) / self._design_effect)
        marked = math.floor(suspect.total / self._design_effect)
        others = math.floor(other.total / self._design_effect)
        more_marked, more_others = marked - self._marked, others - self._others
        more_events = min(events - self._events, more_marked + more_others)
        self._step(hypergeometric(more_events, more_marked, more_others), suspect.bad / self._design_effect)
        self._events, self._marked, self._others = events, marked, others


class Trial(SequentialTest):
    """Too many bad requests in one arm for a share of at most ``rate`` (0..1)."""

    def __init__(self, rate: float, design_effect: float) -> None:
        super().__init__(design_effect)
        self._rate = rate
        self._trials = 0

    def advance(self, arm: Counts) -> None:
        trials = math.ceil(arm.total / self._design_effect)
        self._step(binomial(trials - self._trials, self._rate), arm.bad / self._design_effect)
        self._trials = trials


def told(
    word: VerdictWord,
    reason: str,
    pair: Pair | None,
    direction: Direction = "increase",
    *,
    limit: float | None = None,
    decided_at_look: int | None = None,
) -> Verdict:
    """The verdict with the figures of ``pair``; against ``limit`` (0..1) the canary's arm alone counts."""
    if pair is None:
        return Verdict(word, reason, decided_at_look=decided_at_look)
    canary, baseline = pair.experiment, pair.control
    p_value = effect = None
    if limit is not None and canary.total:
        p_value = binomial(canary.total, limit).at_least(canary.bad)
        effect = canary.bad / canary.total - limit
    elif limit is None and pair.smaller:
        events = canary.bad + baseline.bad
        high = hypergeometric(events, canary.total, baseline.total).at_least(canary.bad)
        low = hypergeometric(events, baseline.total, canary.total).at_least(baseline.bad)
        p_value = {"increase": high, "decrease": low, "either": min(1.0, 2 * min(high, low))}[direction]
        effect = canary.bad / canary.total - baseline.bad / baseline.total
    return Verdict(word, reason, p_value, effect, baseline.total, canary.total, decided_at_look)
