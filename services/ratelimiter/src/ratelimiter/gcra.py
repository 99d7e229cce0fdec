"""Decides one check by the generic cell rate algorithm (GCRA). Pure: integers in and out, no clock, no state."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd
from typing import NamedTuple

NEVER = -1


@dataclass(frozen=True, slots=True)
class Quota:
    """``count`` tokens flow back every ``period_ns``; at most ``burst`` of them can be spent at once.

    Time is counted in ticks, the coarsest unit in which a token takes a whole number of them. 44 per minute is
    1,363,636,363.63… ns per token: rounded it would drift, in ticks of 1/11 ns it is exact.
    """

    count: int
    period_ns: int
    burst: int
    ticks_per_ns: int = field(init=False)
    ticks_per_token: int = field(init=False)
    burst_ticks: int = field(init=False)

    def __post_init__(self) -> None:
        shared = gcd(self.count, self.period_ns)
        object.__setattr__(self, "ticks_per_ns", self.count // shared)
        object.__setattr__(self, "ticks_per_token", self.period_ns // shared)
        object.__setattr__(self, "burst_ticks", self.burst * self.ticks_per_token)

    @property
    def refill_ns(self) -> int:
        """Nanoseconds from an empty bucket to a full one, rounded up."""
        return divide_up(self.burst_ticks, self.ticks_per_ns)


class Decision(NamedTuple):
    """The answer to one check. Durations are in ns, rounded up, so that whoever waits so long is not early.

    ``retry_after_ns`` is 0 when allowed and ``NEVER`` when the cost exceeds the burst; ``more_after_ns`` is the time
    until ``remaining`` grows by one and ``reset_after_ns`` until it is the burst again (both 0 when it is).
    """

    allowed: bool
    remaining: int
    retry_after_ns: int
    more_after_ns: int
    reset_after_ns: int


def decide(quota: Quota, tat: int, cost: int, now: int) -> tuple[Decision, int]:
    """Decide a check of ``cost`` >= 0 tokens at ``now`` (ticks) and return the decision with the key's next TAT.

    ``tat`` is the theoretical arrival time in ticks: the moment at which the bucket will be full again. A key never
    seen has TAT 0. A denial and a peek (cost 0) leave it as it was. Source: ITU-T I.371, virtual scheduling algorithm.
    """
    spent = tat + cost * quota.ticks_per_token if tat > now else now + cost * quota.ticks_per_token
    wait = spent - now - quota.burst_ticks
    if wait <= 0:
        return _decision(quota, True, 0, spent - now), spent if cost else tat
    retry_after_ns = NEVER if cost > quota.burst else divide_up(wait, quota.ticks_per_ns)
    return _decision(quota, False, retry_after_ns, max(tat - now, 0)), tat


def _decision(quota: Quota, allowed: bool, retry_after_ns: int, debt: int) -> Decision:
    """Say what a key that owes ``debt`` ticks has left."""
    remaining, part = divmod(quota.burst_ticks - debt, quota.ticks_per_token)
    more_after = quota.ticks_per_token - part if debt else 0
    return Decision(
        allowed,
        remaining,
        retry_after_ns,
        divide_up(more_after, quota.ticks_per_ns),
        divide_up(debt, quota.ticks_per_ns),
    )


def divide_up(amount: int, unit: int) -> int:
    """``amount / unit`` for integers, rounded towards plus infinity."""
    return -(-amount // unit)
