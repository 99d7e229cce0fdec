"""Decides which key is asked beyond what it was promised, so that every arm shows soon what it does then. Pure: sends
nothing, reads no clock.

A rested key is asked ``burst`` times and BEYOND more, one check after the other; a limiter that keeps the contract
admits the burst and what comes back meanwhile. Without this an arm could only be told by keys that always ask too much:
they are few, at a small share of the traffic none may be in the arm, and a fresh arm owes them a burst first.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

from .schedule import ABUSIVE_KEYS

BEYOND = 6
LOOKS_FOR_A_KEY = 200
"""How many keys are drawn in search of one of the arm whose turn it is; where it has a tenth of all, one is found."""


class Auditor:
    """Takes the arms in turn, whatever their share. ``arm_of_key``: key → the arm that answered it last, or None."""

    def __init__(self, arm_of_key: Sequence[Hashable | None], *, burst: int, shuffle: random.Random) -> None:
        self._arm_of_key = arm_of_key
        self._asks = burst + BEYOND
        self._shuffle = shuffle
        self._key = 0
        self._left = 0
        self._turns: list[Hashable] = []

    def next(self, arms: Sequence[Hashable]) -> int | None:
        """The key to ask now, ``arms`` being those that have keys; None where no key is known of any."""
        if self._left == 0:
            found = self._of_the_next_arm(arms)
            if found is None:
                return None
            self._key, self._left = found, self._asks
        self._left -= 1
        return self._key

    def drop(self, key: int) -> None:
        """No more of this key for now: it failed or was denied wrongly, and to go on would count that many times."""
        if key == self._key:
            self._left = 0

    def _of_the_next_arm(self, arms: Sequence[Hashable]) -> int | None:
        """Of the arm whose turn was longest ago; of another where none of its keys is found."""
        waiting = [arm for arm in self._turns if arm in arms]
        for arm in [*(arm for arm in arms if arm not in waiting), *waiting]:
            for _ in range(LOOKS_FOR_A_KEY):
                key = self._shuffle.randrange(ABUSIVE_KEYS, len(self._arm_of_key))
                if self._arm_of_key[key] is arm:
                    self._turns = [other for other in self._turns if other != arm] + [arm]
                    return key
        return None
