"""Whether a series has a trend, and when that will reach a limit. Decides; touches nothing.

The slope is Theil and Sen's: the median of the slopes between all pairs, here of the medians of equal blocks, so that
neither outliers nor what lasts shorter than a block counts. Its interval is Sen's (1968), from the variance of
Kendall's statistic, made larger by what the blocks still have to do with each other (as Hamed and Rao, 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import floor, sqrt
from statistics import NormalDist, median
from typing import Final

BLOCKS: Final = 28
WINDOWS: Final = 12
"""In each block."""
FEWEST_BLOCKS: Final = 20
CONFIDENCE: Final = 0.99
"""Of the interval of a slope: of so many series without a trend, one in 200 seems to get worse."""
MOST_ALIKE: Final = 0.9
"""The correlation of a block with the next one is not taken to be more than this."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A slope, in the metric's base unit a second, and the ends of its interval; ``level`` is where the line ends."""

    slope: float
    low: float
    high: float
    level: float

    def before(self, seconds: float) -> float:
        """Where the line was so long before its end."""
        return self.level - self.slope * seconds


@dataclass(frozen=True, slots=True)
class Breach:
    """In how many seconds a limit is reached if it goes on so, and the interval of that."""

    in_s: float
    soonest_s: float
    latest_s: float


def trend_of(values: Sequence[float | None], window_s: float) -> Trend | None:
    """The trend of the values of BLOCKS x WINDOWS windows, in the order of time; None where too few are known.

    A block of which half is missing is left out.
    """
    points = [
        (number, median(known))
        for number in range(BLOCKS)
        if len(known := [v for v in values[number * WINDOWS : (number + 1) * WINDOWS] if v is not None]) * 2 >= WINDOWS
    ]
    if len(points) < FEWEST_BLOCKS:
        return None
    slopes = sorted((after - before) / (end - start) for (start, before), (end, after) in combinations(points, 2))
    slope = median(slopes)
    offset = median(value - slope * number for number, value in points)
    reach = _reach([value - slope * number - offset for number, value in points])
    low = floor((len(slopes) - reach) / 2) - 1
    if low < 0:
        return None
    block_s = WINDOWS * window_s
    return Trend(slope / block_s, slopes[low] / block_s, slopes[-1 - low] / block_s, offset + slope * (BLOCKS - 0.5))


def _reach(residuals: Sequence[float]) -> float:
    """Half the interval's length, counted in slopes by size, times two: Kendall's statistic that CONFIDENCE allows."""
    n, squares = len(residuals), sum(one * one for one in residuals)
    alike = sum(one * after for one, after in pairwise(residuals)) / squares if squares else 0.0
    larger = (1 + min(alike, MOST_ALIKE)) / (1 - min(alike, MOST_ALIKE)) if alike > 0 else 1.0
    return NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * sqrt(larger * n * (n - 1) * (2 * n + 5) / 18)


def breach(trend: Trend, limit: float, *, upper: bool) -> Breach | None:
    """When the trend reaches the limit; None where it may not lead there at all, or the limit is reached already."""
    sign = 1.0 if upper else -1.0
    way = sign * (limit - trend.level)
    slowest, fastest = sorted((sign * trend.low, sign * trend.high))
    if way <= 0 or slowest <= 0:
        return None
    return Breach(way / (sign * trend.slope), way / fastest, way / slowest)
