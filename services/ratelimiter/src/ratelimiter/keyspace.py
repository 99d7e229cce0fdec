"""Holds the TAT of every key of one limit, in bounded memory. Never forgets a key that is in debt; reads no clock."""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace

FORGET_PER_NEW_KEY = 2


class NoRoom(Exception):
    """All keys are in debt. ``wait`` (ticks) is the least time until one of them is not."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"no key is out of debt for another {wait} ticks")
        self.wait = wait


class Keyspace:
    """Up to ``max_keys`` keys with their TAT in ticks.

    A key whose TAT has passed has a full bucket and is like one never seen: forgetting it changes no decision. Keys
    stand in a heap by the TAT they had when they were put there, which never exceeds the one they have now, so a head
    in the future proves that no key can be forgotten. A head that has moved on since is put back where it belongs.
    """

    def __init__(self, max_keys: int) -> None:
        self.max_keys = max_keys
        self._tats: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._tats)

    def tat(self, key: str) -> int:
        """The key's TAT in ticks; 0 for a key that is not held."""
        return self._tats.get(key, 0)

    def put(self, key: str, tat: int, now: int) -> None:
        """Remember ``tat``, not below the key's last one. Raises NoRoom for a new key when none can be forgotten."""
        if key not in self._tats:
            self._forget(now)
            if len(self._tats) >= self.max_keys:
                raise NoRoom(self._heap[0][0] - now)
            heappush(self._heap, (tat, key))
        self._tats[key] = tat

    def _forget(self, now: int) -> None:
        """Drop keys that are out of debt; two for each new one, so that memory follows the debt, not the past."""
        dropped = 0
        while dropped < FORGET_PER_NEW_KEY and self._heap and self._heap[0][0] <= now:
            key = self._heap[0][1]
            tat = self._tats[key]
            if tat > now:
                heapreplace(self._heap, (tat, key))
            else:
                heappop(self._heap)
                del self._tats[key]
                dropped += 1
