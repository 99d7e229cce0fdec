"""Which commit made it worse: from the measurements so far to the next one, or to the answer. Pure, touches nothing.

Both ends first; the measure that tells them apart best; its threshold in the middle between the ends (the geometric one
of a ratio, the arithmetic one of a difference); commits that do not build are stepped around; the first bad commit and
its parent are measured a second time before they are named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.core.errors import Invalid


@dataclass(frozen=True)
class Ratio:
    """For a measure that is above 0 on every commit: bad is at least ``least`` (> 1) times good."""

    least: float

    def usable(self, value: float) -> bool:
        """Whether a measurement can be compared."""
        return 0 < value < math.inf

    def strength(self, good: float, bad: float) -> float:
        """How clearly bad stands out; from 1 on they are told apart."""
        return bad / good / self.least

    def middle(self, good: float, bad: float) -> float:
        """From here on a commit counts as bad."""
        return math.sqrt(good * bad)

    def told(self, good: float, bad: float) -> str:
        """What was seen, and what it takes."""
        return f"x {bad / good:.2f}, needs x {self.least:g}"


@dataclass(frozen=True)
class Difference:
    """For a measure that is 0 on good commits: bad is at least ``least`` (> 0) more than good.

    A ratio to 0 is no number, and one to a made-up least value would tell how it was made up.
    """

    least: float

    def usable(self, value: float) -> bool:
        """Whether a measurement can be compared."""
        return 0 <= value < math.inf

    def strength(self, good: float, bad: float) -> float:
        """How clearly bad stands out; from 1 on they are told apart."""
        return (bad - good) / self.least

    def middle(self, good: float, bad: float) -> float:
        """From here on a commit counts as bad."""
        return (good + bad) / 2

    def told(self, good: float, bad: float) -> str:
        """What was seen, and what it takes."""
        return f"{bad - good:+.3g}, needs +{self.least:g}"


Scale = Ratio | Difference
Scales = Mapping[str, Scale]
"""Measure → how it tells bad from good."""


@dataclass(frozen=True)
class Skipped:
    """A commit that could not be measured, and why."""

    reason: str


Measurements = Mapping[str, Skipped | Sequence[Mapping[str, Sequence[float]]]]
"""Commit → its measurements in order, each measure → repetitions (lower is better); or Skipped."""


@dataclass(frozen=True)
class Measure:
    """Measure this commit (again) and ask once more."""

    commit: str


@dataclass(frozen=True)
class Found:
    """``commit`` is the first bad one: ``measure`` was ``good`` at ``parent`` and ``bad`` at it, ``threshold`` between.

    ``unbuildable``: commits between the two that could not be measured; the change may be in one of them.
    """

    commit: str
    measure: str
    good: float
    bad: float
    threshold: float
    parent: str
    unbuildable: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoDifference:
    """The history does not explain it, and why."""

    reason: str


Step = Measure | Found | NoDifference


def next_step(candidates: Sequence[str], measurements: Measurements, scales: Scales) -> Step:
    """What to do next. ``candidates``: commits from the known good one to the head, oldest first, each once.

    Asks for at most two measurements of a commit. Raises Invalid for fewer than two commits, or one given twice.
    """
    if len(candidates) < 2 or len(set(candidates)) < len(candidates):
        raise Invalid(f"candidates: {len(candidates)} commits; allowed two or more, from good to head, each once")
    usable = [n for n, commit in enumerate(candidates) if not isinstance(measurements.get(commit), Skipped)]
    if len(usable) < 2:
        return NoDifference("fewer than two of the commits could be measured")
    low, high = usable[0], usable[-1]
    for end in (high, low):
        if not measurements.get(candidates[end]):
            return Measure(candidates[end])
    at_good, at_head = (_values(measurements, candidates[end], scales) for end in (low, high))
    best = _telling_measure(at_good, at_head, scales)
    if isinstance(best, NoDifference):
        return best
    threshold = scales[best].middle(at_good[best], at_head[best])
    only = {best: scales[best]}

    while (middle := _middle(candidates, low, high, measurements, only)) is not None:
        commit = candidates[middle]
        if not measurements.get(commit):
            return Measure(commit)
        if _values(measurements, commit, only)[best] >= threshold:
            high = middle
        else:
            low = middle
    parent, first_bad = candidates[low], candidates[high]
    for commit in (first_bad, parent):
        if len(measurements[commit]) < 2:  # type: ignore[arg-type]  # a Skipped is never low or high
            return Measure(commit)
    good, bad = (_values(measurements, commit, only)[best] for commit in (parent, first_bad))
    return Found(first_bad, best, good, bad, threshold, parent, tuple(candidates[low + 1 : high]))


def _middle(candidates: Sequence[str], low: int, high: int, measurements: Measurements, best: Scales) -> int | None:
    """The commit nearest to the middle between ``low`` and ``high`` that could be, or was, measured; None if none.

    By its place among all candidates, so that a commit found not to build leaves the way up to it as it was.
    """

    def hopeful(commit: str) -> bool:
        taken = measurements.get(commit)
        return not isinstance(taken, Skipped) and (not taken or bool(_values(measurements, commit, best)))

    places = [place for place in range(low + 1, high) if hopeful(candidates[place])]
    return min(places, key=lambda place: abs(2 * place - low - high), default=None)


def _values(measurements: Measurements, commit: str, scales: Scales) -> dict[str, float]:
    """The least of all repetitions, of measures that are usable: what disturbs a measurement makes it only worse."""
    taken = measurements[commit]
    assert not isinstance(taken, Skipped)
    values = {name: [v for measurement in taken for v in measurement.get(name, ())] for name in scales}
    return {name: min(each) for name, each in values.items() if each and all(map(scales[name].usable, each))}


def _telling_measure(good: Mapping[str, float], head: Mapping[str, float], scales: Scales) -> str | NoDifference:
    both = [name for name in sorted(scales) if name in good and name in head]
    strengths = {name: scales[name].strength(good[name], head[name]) for name in both}
    if telling := [name for name in both if strengths[name] >= 1]:
        return max(telling, key=lambda name: strengths[name])
    told = "; ".join(f"{name} {scales[name].told(good[name], head[name])}" for name in both)
    return NoDifference(f"head and the good commit measure alike: {told or 'no declared measure was taken at both'}")
