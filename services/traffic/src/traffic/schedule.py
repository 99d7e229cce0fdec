"""Decides who asks when: which key at which moment of an open, constant-rate model. Sends nothing, reads no clock."""

from __future__ import annotations

import random
from collections.abc import Iterator

ABUSIVE_KEYS = 20
AUDITED_PER_100 = 8  # visits of good keys that are left out for a check of the auditor
ABUSIVE_PER_100 = 11  # at 400 requests per second 44/s: each of the 20 keys asks 3 times what 44/1m gives it

_NS_PER_S = 10**9


def due_ns(request: int, *, start_ns: int, rate_per_s: int) -> int:
    """The moment (ns) at which the request with this number, from 0, is due; exact, so that no drift adds up."""
    return start_ns + request * _NS_PER_S // rate_per_s


def asks(keys: int, *, shuffle: random.Random) -> Iterator[int | None]:
    """As ``visits``, but in 8 of each 100 requests a good key is left out for the auditor, who names another: None."""
    share = 0
    for key in visits(keys, shuffle=shuffle):
        share += AUDITED_PER_100
        if share >= 100 and key >= ABUSIVE_KEYS:
            share -= 100
            yield None
        else:
            yield key


def visits(keys: int, *, shuffle: random.Random) -> Iterator[int]:
    """Key numbers, one per request, without end.

    Keys ``0 .. ABUSIVE_KEYS-1`` take turns in 11 of each 100 requests, evenly spread. All others are good: each is
    visited once per cycle, in an order drawn anew for every cycle. ``keys`` must be above ``ABUSIVE_KEYS``.
    """
    if keys <= ABUSIVE_KEYS:
        raise ValueError(f"keys: {keys}, must be above {ABUSIVE_KEYS}, the number of abusive ones")
    return _visits(keys, shuffle)


def _visits(keys: int, shuffle: random.Random) -> Iterator[int]:
    good = _good_visits(list(range(ABUSIVE_KEYS, keys)), shuffle)
    abusive, share = 0, 0
    while True:
        share += ABUSIVE_PER_100
        if share >= 100:
            share -= 100
            yield abusive
            abusive = (abusive + 1) % ABUSIVE_KEYS
        else:
            yield next(good)


def _good_visits(good: list[int], shuffle: random.Random) -> Iterator[int]:
    while True:
        shuffle.shuffle(good)
        yield from good
