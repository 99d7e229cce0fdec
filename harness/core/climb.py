"""Which value of a tunable is better: from the pairs measured so far to the next pair, or to the answer. Pure.

One value is compared with another in pairs of measurements, taken one right after the other, in an order that a seed
draws. A challenger takes the place of the value in force when it wins by the margin (the median of the pairs) and a
test says that this is no chance; then it is challenged in turn, one step on. It ends within noise: at the first
challenger that does not win.

The test is the exact one of random signs: where both values are alike, a pair's advantage is as likely the other way
round, so that of all 2^n ways to turn the n pairs over each is as likely. p is the part of them whose sum is at least
the one seen (Fisher 1935). ``ALPHA`` is shared out over all the comparisons that a climb may make (Bonferroni), so that
a climb among values that are alike keeps anything in at most that part of cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import median
from typing import Final, Literal

ALPHA: Final = 0.05
"""In at most this part of climbs something is kept though nothing makes a difference."""
COMPARISONS: Final = 8
"""A climb makes at most so many."""
PAIRS: Final = 10
"""A comparison is decided by so many pairs; sooner where no further pair could make the challenger win."""

Side = Literal["challenger", "in_force"]


@dataclass(frozen=True, slots=True)
class Hill:
    """A tunable: where it stands, where it may go, how far a step leads, and what it takes to win."""

    start: int
    low: int
    high: int
    factor: int
    margin: float
    lower_is_better: bool
    seed: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two values measured one right after the other; None for one that could not be measured."""

    challenger: int
    in_force: int
    of_challenger: float | None
    of_in_force: float | None


@dataclass(frozen=True, slots=True)
class Compare:
    """Measure the two once more, ``first`` first, and ask again. ``pair`` counts from 1."""

    challenger: int
    in_force: int
    pair: int
    first: Side


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of a challenger. ``gain``: the part by which it is better, below 0 when it is worse."""

    challenger: int
    in_force: int
    won: bool
    gain: float | None
    p_value: float | None
    pairs: int
    reason: str


@dataclass(frozen=True, slots=True)
class Top:
    """No challenger is left that could win: the value to keep, and every comparison on the way."""

    value: int
    comparisons: tuple[Comparison, ...]


def next_step(hill: Hill, pairs: Sequence[Pair]) -> Compare | Top:
    """What to do next, after these pairs in their order.

    Up first, as long as that wins; down only where the first step up did not.
    """
    value, done = hill.start, list[Comparison]()
    for up in (True, False):
        while len(done) < COMPARISONS and (challenger := _next(hill, value, up=up)) is not None:
            taken = [pair for pair in pairs if (pair.challenger, pair.in_force) == (challenger, value)]
            judged = judge(hill, challenger, value, taken)
            if judged is None:
                number = len(taken) + 1
                return Compare(challenger, value, number, _first(hill, challenger, value, number))
            done.append(judged)
            if not judged.won:
                break
            value = challenger
        if value != hill.start:
            break
    return Top(value, tuple(done))


def judge(hill: Hill, challenger: int, in_force: int, pairs: Sequence[Pair]) -> Comparison | None:
    """Whether the challenger won; None while further pairs can tell."""
    gains = [gain for pair in pairs if (gain := _gain(hill, pair)) is not None]
    if len(gains) < len(pairs):
        return Comparison(challenger, in_force, False, None, None, len(pairs), "one of the two could not be measured")
    if not gains:
        return None
    line, alpha = _log_times(hill, hill.margin), ALPHA / COMPARISONS
    left, p_value, middle = PAIRS - len(gains), p_of(gains), median(gains)
    short = sum(gain < line for gain in gains)
    reason = ""
    if short > PAIRS // 2 or (not left and middle < line):
        reason = f"it does not win by {hill.margin:.0%}"
    elif p_value / 2**left > alpha:  # even if every pair that is left went its way
        reason = f"what was seen may be chance (p {p_value:.3g}, {alpha:.3g} is needed)"
    if left and not reason:
        return None
    won = not reason
    told = reason or f"it wins by {_part(hill, middle):.1%} (p {p_value:.3g}, {alpha:.3g} is needed)"
    return Comparison(challenger, in_force, won, _part(hill, middle), p_value, len(gains), told)


def p_of(gains: Sequence[float]) -> float:
    """How likely a sum as high as this one is where each gain could as well have been the other way round."""
    sums = [0.0]
    for gain in gains:
        sums = [one + turned for one in sums for turned in (gain, -gain)]
    return sum(one >= sums[0] - 1e-12 for one in sums) / len(sums)


def _next(hill: Hill, value: int, *, up: bool) -> int | None:
    """The next value that way, None at the end of the range."""
    there = min(hill.high, value * hill.factor) if up else max(hill.low, value // hill.factor)
    return there if there != value and hill.low <= there <= hill.high else None


def _first(hill: Hill, challenger: int, in_force: int, pair: int) -> Side:
    drawn = sha256(f"{hill.seed}/{challenger}/{in_force}/{pair}".encode()).digest()[0]
    return "challenger" if drawn % 2 else "in_force"


def _gain(hill: Hill, pair: Pair) -> float | None:
    """The logarithm of how many times better the challenger was; None where that is no number."""
    ours, theirs = pair.of_challenger, pair.of_in_force
    if ours is None or theirs is None or not (0 < ours < math.inf and 0 < theirs < math.inf):
        return None
    return math.log(theirs / ours) if hill.lower_is_better else math.log(ours / theirs)


def _log_times(hill: Hill, part: float) -> float:
    """The gain of a value that is better by this part."""
    return -math.log1p(-part) if hill.lower_is_better else math.log1p(part)


def _part(hill: Hill, gain: float) -> float:
    """The part by which a value with this gain is better."""
    return -math.expm1(-gain) if hill.lower_is_better else math.expm1(gain)
