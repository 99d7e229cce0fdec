"""Whether a metric became worse than it is used to be, where nobody declared a limit. Decides; touches nothing.

Each window's value is ranked among those before it, and evidence is added up by bets (a CUSUM of log payoffs): a bet is
won when the value lies beyond a high rank of the reference. While windows are exchangeable, whatever their
distribution, a bet pays 1 on average, so that the mean time between false alarms is at least what policy declares
(e-detectors: Shin, Ramdas and Rinaldo, 2022; the odds are those of Pólya's urn). Ranks alone count: neither the scale
nor single outliers matter, and a value that equals the reference is never beyond it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, isfinite, log
from typing import Final, Literal

STAKE: Final = 0.5
"""The part of what was won so far that each bet risks."""
LEVELS: Final = (1 / 40, 1 / 10)
"""Beyond which part of the reference a bet is won. The first finds a shift soon; the second, later, one that is
smaller than what disturbs the metric now and then. Each has its share of the false alarms."""

State = Literal["warming_up", "ok", "strange", "no_data"]


@dataclass(frozen=True, slots=True)
class Detection:
    """How a metric is judged, in windows: each against the last ``reference`` ones before the ``guard``.

    ``guard``: the windows right before it, which a shift has while it is found. Nothing is judged before there are
    ``warm_up`` in the reference. ``windows_per_false_alarm``: so many are judged, on average and at least, until one
    metric raises a false alarm.
    """

    reference: int
    guard: int
    warm_up: int
    windows_per_false_alarm: float

    @property
    def enough(self) -> float:
        """The evidence (natural logarithm) from which on a metric is strange."""
        return log(self.windows_per_false_alarm * len(LEVELS))


@dataclass(frozen=True, slots=True)
class Judged:
    """A metric after one more window. ``evidence``: natural logarithm of what the bets have won, the larger level's.

    ``run``: how many of the last windows the shift has, this one included, if there is one. ``limit``: what is usual up
    to there, and ``middle``: the median of the reference; None while nothing is judged.
    """

    state: State
    evidence: float = 0.0
    run: int = 0
    limit: float | None = None
    middle: float | None = None


def walk(values: Iterable[float | None], detection: Detection) -> Iterator[Judged]:
    """Judge value by value, where more is worse. One that is None or not finite is no data: it is left out."""
    usual: list[float] = []
    order: deque[float] = deque()
    guard: deque[float] = deque()
    evidence, runs = [0.0] * len(LEVELS), [0] * len(LEVELS)
    enough = detection.enough
    for value in values:
        if value is None or not isfinite(value):
            yield Judged("no_data")
            continue
        if len(usual) < detection.warm_up:
            yield Judged("warming_up")
        else:
            for number, level in enumerate(LEVELS):
                gained = _gained(value, usual, guard, level)
                evidence[number] = max(0.0, evidence[number] + gained)
                runs[number] = runs[number] + 1 if evidence[number] else 0
            most = max(range(len(LEVELS)), key=evidence.__getitem__)
            yield Judged(
                "strange" if evidence[most] >= enough else "ok", evidence[most], runs[most],
                limit=usual[-_rank(usual, LEVELS[most])], middle=usual[len(usual) // 2],
            )  # fmt: skip
        guard.append(value)
        if len(guard) > detection.guard:
            order.append(guard.popleft())
            insort(usual, order[-1])
            if len(order) > detection.reference:
                del usual[bisect_left(usual, order.popleft())]


def _gained(value: float, usual: Sequence[float], guard: Collection[float], level: float) -> float:
    """What one bet adds to the evidence.

    So many values of the reference reach the limit, and so many of the guard are beyond it: of all of them and the next
    one, that one is beyond it with the probability ``odds`` at most, if they are exchangeable.
    """
    rank = _rank(usual, level)
    limit = usual[-rank]
    if value <= limit:
        return log(1 - STAKE)
    odds = (rank + sum(one > limit for one in guard)) / (len(usual) + len(guard) + 1)
    return log(1 - STAKE + STAKE / odds)


def _rank(usual: Sequence[float], level: float) -> int:
    return ceil(level * len(usual))
