"""Which commit made it worse: from the measurements so far to the next one, or to the answer. Pure, touches nothing.

Both ends first; the measure that tells them apart best; its threshold at the geometric mean of the ends; commits that
do not build are stepped around; the first bad commit and its parent are measured a second time before they are named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.core.errors import Invalid

Ratios = Mapping[str, float]
"""Measure → the ratio of bad to good from which it tells them apart."""


@dataclass(frozen=True)
class Skipped:
    """A commit that could not be measured, and why."""

    reason: str


Measurements = Mapping[str, Skipped | Sequence[Mapping[str, Sequence[float]]]]
"""Commit → its measurements in order, each measure → repetitions (above 0, lower is better); or Skipped."""


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


def next_step(candidates: Sequence[str], measurements: Measurements, ratios: Ratios) -> Step:
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
    at_good, at_head = _values(measurements, candidates[low]), _values(measurements, candidates[high])
    best = _telling_measure(at_good, at_head, ratios)
    if isinstance(best, NoDifference):
        return best
    threshold = math.sqrt(at_good[best] * at_head[best])

    while (middle := _middle(candidates, low, high, measurements, best)) is not None:
        commit = candidates[middle]
        if not measurements.get(commit):
            return Measure(commit)
        if _values(measurements, commit)[best] >= threshold:
            high = middle
        else:
            low = middle
    parent, first_bad = candidates[low], candidates[high]
    for commit in (first_bad, parent):
        if len(measurements[commit]) < 2:  # type: ignore[arg-type]  # a Skipped is never low or high
            return Measure(commit)
    good, bad = (_values(measurements, commit)[best] for commit in (parent, first_bad))
    return Found(first_bad, best, good, bad, threshold, parent, tuple(candidates[low + 1 : high]))


def _middle(candidates: Sequence[str], low: int, high: int, measurements: Measurements, best: str) -> int | None:
    """The commit nearest to the middle between ``low`` and ``high`` that could be, or was, measured; None if none.

    By its place among all candidates, so that a commit found not to build leaves the way up to it as it was.
    """

    def hopeful(commit: str) -> bool:
        taken = measurements.get(commit)
        return not isinstance(taken, Skipped) and (not taken or best in _values(measurements, commit))

    places = [place for place in range(low + 1, high) if hopeful(candidates[place])]
    return min(places, key=lambda place: abs(2 * place - low - high), default=None)


def _values(measurements: Measurements, commit: str) -> dict[str, float]:
    """The least of all repetitions: what disturbs a measurement makes it slower, never faster."""
    taken = measurements[commit]
    assert not isinstance(taken, Skipped)
    names = {name for measurement in taken for name in measurement}
    values = {name: [v for measurement in taken for v in measurement.get(name, ())] for name in names}
    return {name: min(each) for name, each in values.items() if each and all(v > 0 for v in each)}


def _telling_measure(good: Mapping[str, float], head: Mapping[str, float], ratios: Ratios) -> str | NoDifference:
    seen = {name: head[name] / good[name] for name in sorted(ratios) if name in good and name in head}
    telling = {name: ratio / ratios[name] for name, ratio in seen.items() if ratio >= ratios[name]}
    if telling:
        return max(telling, key=lambda name: telling[name])
    told = "; ".join(f"{name} x {ratio:.2f}, needs x {ratios[name]:g}" for name, ratio in seen.items())
    return NoDifference(f"head and the good commit measure alike: {told or 'no declared measure was taken at both'}")
