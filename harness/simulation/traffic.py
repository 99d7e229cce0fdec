"""Modelled traffic: keyed requests at a constant rate, counted by arm as the real traffic process counts them.

Requests are made up when somebody looks, or right before the world changes; in between, nothing depends on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from harness.simulation.service import HEALTHY, Behaviour

REQUESTS_PER_S = 400
KEYS = 4_000
ARMS = ("canary", "stable", "baseline", "none")
NOISE = 0.01
"""The share of requests that the machine itself makes slow."""
UNREACHABLE = Behaviour(error_share=1.0)

Count = tuple[str, str]
"""Name of a counter, arm."""


class Traffic:
    """``route``: position of a key (0..1) → the arm and the commit that answer it, None when none does.

    ``outside``: a behaviour of the world around the service, on top of that of every release.
    """

    def __init__(
        self,
        *,
        route: Callable[[float], tuple[str, str | None]],
        behaviour: Callable[[str], Behaviour],
        chance: Random,
    ) -> None:
        self._route, self._behaviour, self._chance = route, behaviour, chance
        self._position = [(number + 0.5) / KEYS for number in range(KEYS)]
        chance.shuffle(self._position)
        self._requests = 0
        self.outside = HEALTHY
        self.counts: Counter[Count] = Counter()

    def advance(self, now_s: float) -> None:
        """Make all requests up to this moment; who answers them has been the same since the last call."""
        until = round(now_s * REQUESTS_PER_S)
        answered = Counter(self._route(self._position[number % KEYS]) for number in range(self._requests, until))
        self._requests = max(self._requests, until)
        for (arm, commit), requests in answered.items():
            self._count(arm, requests, UNREACHABLE if commit is None else self._behaviour(commit))

    def restart(self) -> None:
        """The process that counts begins anew: from 0, and without the arms that it has not seen."""
        self.counts.clear()

    def _count(self, arm: str, requests: int, release: Behaviour) -> None:
        met = release.and_also(self.outside)
        errors = self._some(requests, met.error_share)
        answers = requests - errors
        slow = self._some(answers, met.slow_share)
        self.counts["traffic_requests_total", arm] += requests
        self.counts["traffic_errors_total", arm] += errors
        self.counts["traffic_slow_total", arm] += errors + slow + self._some(answers - slow, NOISE)
        self.counts["traffic_wrong_denials_total", arm] += self._some(answers, met.wrong_denial_share)
        self.counts["traffic_over_admissions_total", arm] += self._some(answers, met.over_admission_share)

    def _some(self, requests: int, share: float) -> int:
        """How many of them it happens to."""
        return sum(self._chance.random() < share for _ in range(requests)) if share else 0
