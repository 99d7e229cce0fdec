"""The specification of a limit as a bucket that is filled by the clock. Written without a look at the service's code.

The bucket holds its level in units of 1/period tokens, so that ``count`` units flow in every nanosecond and all numbers
stay whole. The service keeps a moment in time instead of a level: the two agree only if both are right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Verdict(NamedTuple):
    """What a check must be answered; durations in ms, rounded up."""

    allowed: bool
    remaining: int
    retry_after_ms: int
    reset_after_ms: int


@dataclass
class Bucket:
    """One key's bucket, full at first. Times are ns and do not run backwards."""

    count: int
    period_ns: int
    burst: int
    at_ns: int = 0
    level: int = field(init=False)

    def __post_init__(self) -> None:
        self.level = self.burst * self.period_ns

    def check(self, cost: int, now_ns: int) -> Verdict:
        full = self.burst * self.period_ns
        self.level = min(full, self.level + (now_ns - self.at_ns) * self.count)
        self.at_ns = now_ns
        price = cost * self.period_ns
        allowed = price <= self.level
        if allowed:
            self.level -= price
        if allowed:
            retry_after_ms = 0
        elif cost > self.burst:
            retry_after_ms = -1
        else:
            retry_after_ms = self._ms_to_gain(price - self.level)
        return Verdict(allowed, self.level // self.period_ns, retry_after_ms, self._ms_to_gain(full - self.level))

    def _ms_to_gain(self, units: int) -> int:
        gained_per_ms = self.count * 10**6
        whole, rest = divmod(units, gained_per_ms)
        return whole + (rest > 0)
