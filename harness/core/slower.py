"""Whether a check takes longer than it used to, and since which commit. Decides; touches nothing.

Two looks, for two ways to be wrong. The record of past runs says whether a shift lasts: at each place where it could
have begun, the exact test of Mann and Whitney (1947) of the runs since against those before, and the level is shared
out over the places, so that it holds for any noise whose runs could have come in any order. That is not so where others
use the machine for days. So the same minute is asked as well: pairs of runs, of the tree from before and of main.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from math import comb, exp, log
from statistics import median
from typing import Final

from harness.core.climb import p_of
from harness.core.criteria import check_seconds_of
from harness.core.outlook import LEAST, MOST, Outlook
from harness.core.policy import Slower
from harness.core.units import Quantity

ALPHA: Final = 0.01
"""Of so many records of the same check, shifted nowhere, one seems to be."""
SHORTEST_S: Final = 0.001
"""What takes less took so long: it is compared by parts, and clocks may stand still."""
PAIRS: Final = 6
PAIRS_ALPHA: Final = 0.05
"""Of so many trees that are no slower, one wins all the pairs that it needs."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A check that passed on a tree, within the delivery of a ticket. ``tests``: how many it says passed, if any."""

    commit: str
    ticket: str
    at: datetime
    seconds: float
    tests: int | None = None


@dataclass(frozen=True, slots=True)
class Shift:
    """``before`` and ``since``, in the order of time. ``reference``: of those before, the last that was no slower than
    the middle of them: to be compared with main, as the place where a shift begins is known within a run or two."""

    check: str
    before: tuple[Ran, ...]
    since: tuple[Ran, ...]

    @property
    def was_s(self) -> float:
        """How long it took in the middle of the runs before."""
        return _middle_s(self.before)

    @property
    def is_s(self) -> float:
        """How long it takes in the middle of the runs since."""
        return _middle_s(self.since)

    @property
    def reference(self) -> Ran:
        """See above."""
        return next(run for run in reversed(self.before) if run.seconds <= self.was_s)


def shift_of(check: str, runs: Sequence[Ran], policy: Slower) -> Shift | None:
    """Where the check became slower for good, in the last runs of policy's number; None where it did not.

    A quarter of them has to lie on each side. Whether there is a shift is asked of ranks at every place; it began where
    both sides keep closest to their medians. More tests take longer: where their number is known, a test has to take
    longer on average, too.
    """
    last = tuple(runs[-policy.runs :])
    if len(last) < policy.runs:
        return None
    edge = policy.runs // 4
    places = range(edge, policy.runs - edge + 1)
    seconds = [one.seconds for one in last]
    if min(p_later_is_more(seconds[:at], seconds[at:]) for at in places) * len(places) > ALPHA:
        return None
    place = min(places, key=lambda at: _spread(seconds[:at]) + _spread(seconds[at:]))
    shift = Shift(check, last[:place], last[place:])
    if shift.is_s < shift.was_s * (1 + policy.by):
        return None
    was, now = (_tests(side) for side in (shift.before, shift.since))
    if was and now and shift.is_s / now < shift.was_s / was * (1 + policy.by):
        return None
    return shift


def p_later_is_more(earlier: Sequence[float], later: Sequence[float]) -> float:
    """How likely so many pairs with the later one greater are where neither side is. A tie counts as not greater."""
    m, n = len(earlier), len(later)
    more = sum(after > before for after in later for before in earlier)
    return sum(_ways(m, n)[more:]) / comb(m + n, m)


@lru_cache(maxsize=4096)
def _ways(m: int, n: int) -> tuple[int, ...]:
    """In how many orders of m earlier and n later values 0, 1, … m x n pairs have the later one greater."""
    if not m or not n:
        return (1,)
    ways = [0] * (m * n + 1)
    for shifted, part in ((m, _ways(m, n - 1)), (0, _ways(m - 1, n))):  # the greatest is a later one, or an earlier one
        for more, count in enumerate(part):
            ways[more + shifted] += count
    return tuple(ways)


def why_not_slower(pairs: Sequence[tuple[float, float]], policy: Slower) -> str | None:
    """Why pairs of seconds, of the tree from before and of main, don't show that main takes longer; None if they do.

    Half of what policy cares about has to be there in the middle pair, and more than chance in all of them.
    """
    gains = [log(max(now, SHORTEST_S) / max(before, SHORTEST_S)) for before, now in pairs]
    part = Quantity.of(max(0.0, exp(median(gains)) - 1), "%", 2).text
    if median(gains) < log(1 + policy.by / 2):
        return f"in {len(pairs)} pairs of runs, one right after the other, it takes {part} longer: the machine did"
    if (p_value := p_of(gains)) > PAIRS_ALPHA:
        return f"in {len(pairs)} pairs it takes {part} longer, which may be chance (p {p_value:.3g})"
    return None


def outlook_of(shift: Shift) -> Outlook:
    """What is told of it, and asked: half of what it lost, at least a tenth."""
    check, lost = shift.check, 1 - shift.was_s / shift.is_s
    asked = Quantity.of(min(MOST, max(LEAST, lost / 2)), "%", 2).text
    was, now = (Quantity.of(seconds, "s", 3).text for seconds in (shift.was_s, shift.is_s))
    last, first = shift.before[-1], shift.since[0]
    began = f"{first.commit[:12]} ({first.ticket}, {first.at:%Y-%m-%d})"
    between = f"between {last.commit[:12]} ({last.ticket}) and {began}"
    return Outlook(
        "slower", check_seconds_of(check), shift.is_s, of=check, condition=f"at least {asked} better",
        reason=f"{check} took {was} in the middle of {len(shift.before)} runs and takes {now} in the middle of the "
        f"{len(shift.since)} since; it began about {between}",
        objective=f"Have the check {check} take less time again: {was} before, {now} now, since about {between}",
    )  # fmt: skip


def _spread(seconds: Sequence[float]) -> float:
    logs = [log(max(one, SHORTEST_S)) for one in seconds]
    middle = median(logs)
    return sum(abs(one - middle) for one in logs)


def _middle_s(runs: Sequence[Ran]) -> float:
    return median(run.seconds for run in runs)


def _tests(runs: Sequence[Ran]) -> float | None:
    counted = [run.tests for run in runs if run.tests]
    return median(counted) if len(counted) == len(runs) else None
