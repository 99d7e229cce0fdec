"""Decides checks against named limits, one after the other. Holds all state; reads the one clock it is given."""

from __future__ import annotations

from collections.abc import Callable

from ratelimiter.gcra import Decision, decide, divide_up
from ratelimiter.keyspace import Keyspace, NoRoom
from ratelimiter.limits import Limit, LimitsFile
from ratelimiter.problems import KeyspaceFull, UnknownLimit

MAX_KEYS = 1_000_000
SECOND_NS = 10**9


class Limiter:
    """The limits of a file with the state of their keys. ``clock_ns`` counts up from any moment after 0."""

    def __init__(self, file: LimitsFile, *, clock_ns: Callable[[], int], max_keys: int = MAX_KEYS) -> None:
        self.version = file.version
        self.max_keys = max_keys
        self._limits = {limit.name: (limit, Keyspace(max_keys)) for limit in file.limits}
        self._clock_ns = clock_ns
        self._last_ns = 0

    @property
    def limits(self) -> tuple[Limit, ...]:
        """All limits, in the order of the file."""
        return tuple(limit for limit, _ in self._limits.values())

    def limit(self, name: str) -> Limit:
        """The limit of that name. Raises UnknownLimit."""
        return self._find(name)[0]

    def keys_held(self, name: str) -> int:
        """How many keys of a limit are remembered. Raises UnknownLimit."""
        return len(self._find(name)[1])

    def check(self, name: str, key: str, cost: int) -> Decision:
        """Decide and, when allowed, spend ``cost`` tokens. Raises UnknownLimit or KeyspaceFull, and changes nothing."""
        limit, keyspace = self._find(name)
        now = self._now_ns() * limit.quota.ticks_per_ns
        tat = keyspace.tat(key)
        decision, next_tat = decide(limit.quota, tat, cost, now)
        if next_tat != tat:
            try:
                keyspace.put(key, next_tat, now)
            except NoRoom as full:
                wait_s = divide_up(full.wait, limit.quota.ticks_per_ns * SECOND_NS)
                raise KeyspaceFull(
                    f"limit {name!r} holds {self.max_keys} keys and each is in debt; the first is free in {wait_s} s",
                    fields=(("Retry-After", str(max(wait_s, 1))),),
                ) from full
        return decision

    def peek(self, name: str, key: str) -> Decision:
        """What a check of cost 0 says; changes nothing. Raises UnknownLimit."""
        limit, keyspace = self._find(name)
        return decide(limit.quota, keyspace.tat(key), 0, self._now_ns() * limit.quota.ticks_per_ns)[0]

    def _find(self, name: str) -> tuple[Limit, Keyspace]:
        try:
            return self._limits[name]
        except KeyError:
            raise UnknownLimit(f"limit {name!r} is unknown; known: {', '.join(self._limits)}") from None

    def _now_ns(self) -> int:
        """The clock, which never runs backwards here whatever it does outside."""
        self._last_ns = max(self._last_ns, self._clock_ns())
        return self._last_ns
