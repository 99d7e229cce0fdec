"""Decides, from outside, whether a rate limiter's answers keep the contract; pure: no clock, no network, no file.

The follower does not predict the limiter, it *follows what was granted*. Per key it keeps bounds on the contracted TAT
(GCRA's theoretical arrival time: the bucket holds ``burst - (TAT - now) / interval`` units), fed by observed
admissions. A check of cost 1 is admitted at ``t`` iff ``max(TAT, t) - t <= (burst - 1) * interval``, and then
``TAT = max(TAT, t) + interval``. All times are integers in ns of one monotonic clock, that of the process which asks.

What is not known is *when* the limiter decided: at some moment between send and receipt. Therefore two bounds:

**Upper TAT, for denials.** Charge each admission as late as possible, at its receipt, in order of receipt:
``U = max(U, receipt) + interval``. Written out, a TAT is the largest ``t_i + interval * (admissions at or after t_i)``
over the admissions ``i``. Of those decided at or after ``t_i`` let ``m`` be received first: all of them are received at
or after ``m``, and ``receipt_m >= t_m >= t_i``, so U is at least the true TAT, whatever the order of decisions was.
Requests without a known outcome may have been granted as well: ``k`` of them raise it by at most ``k * interval``, and
start no chain later than the decision itself. A denial decided at ``t`` in ``[send, receipt]`` is thus surely against
the contract iff ``max(U - t, 0) + (k + 1) * interval <= burst * interval``. The left side is largest at ``t = send``,
so it is tested there; every request that was in flight between send and receipt is by then denied, in U, or in k.
A limiter never holds a TAT beyond ``now + burst * interval``, so U is cut there: the bucket is empty, not worse.
All this is monotone: a limiter that saw only some of the key's admissions (because the key moved to another node, or
state was lost) has a lower TAT, so *lost state can never make a right denial look wrong*.

**Lower TAT, for admissions.** Charge each as early as possible: at the earliest send among the key's requests in
flight at its receipt (itself included), ``L = max(L, earliest) + interval``. The plain send would be too late: of two
overlapping requests the one received second may have been decided first, and then starts the chain. An admission is
surely more than the contract gives iff ``L > receipt + (burst - 1) * interval``: an over-admission. It takes L no
further: the bucket stays as empty as it was, so that lost state shows as at most one burst of over-admissions until
both agree again (the limiter's units minus those by L are at most ``burst``, fall by one with each, and never rise
while positive). So much is allowed after each *move*, a change of the arm or node that answers for the key. What
exceeds it is reported as over-admission, which is a count and never a verdict on a release.

A request that failed or was given up may still be granted later. It counts as in flight for ``linger_ns`` more, and
then as granted in U and not granted in L.

The interval need not be a whole number of ns (44/1m is not). U is kept with the interval rounded up and L with it
rounded down, so that a limiter which rounds either way keeps the contract.
"""

from __future__ import annotations

import enum
from collections import deque

from .contract import GcraLimit

LINGER_NS = 10 * 10**9  # longer than a stalled limiter and its drain keep a request whose user has left


class Verdict(enum.Enum):
    """What an answer was, seen from the contract."""

    RIGHT = "right"
    WRONG_DENIAL = "wrong_denial"
    ALLOWED_BY_MOVE = "allowed_by_move"
    OVER_ADMISSION = "over_admission"


class _Key:
    """What is known of one key: both bounds, the requests without outcome, who answered last."""

    __slots__ = ("allowance", "in_flight_ns", "lower_tat_ns", "source", "unknown", "upper_tat_ns")

    def __init__(self) -> None:
        self.upper_tat_ns: int | None = None
        self.lower_tat_ns: int | None = None
        self.in_flight_ns: list[int] = []  # send times, ascending
        self.unknown = 0  # failed or given up, and perhaps granted yet
        self.source: object = None
        self.allowance = 0  # over-admissions that the last move still explains


class Follower:
    """Follows the keys ``0 .. keys-1`` of one limit. Calls must come in order of time, each with its own time."""

    def __init__(self, limit: GcraLimit, *, keys: int, linger_ns: int = LINGER_NS) -> None:
        self._burst = limit.burst
        self._ceil_ns = limit.interval_ceil_ns
        self._floor_ns = limit.interval_floor_ns
        self._full_ns = limit.burst * self._ceil_ns  # an empty bucket fills in this time
        self._lower_room_ns = (limit.burst - 1) * self._floor_ns
        self._linger_ns = linger_ns
        self._keys = [_Key() for _ in range(keys)]
        self._lingering: deque[tuple[int, _Key]] = deque()  # (when it can no longer be granted, key), ascending

    def sent(self, key: int, *, now_ns: int) -> None:
        """A check of cost 1 left for the limiter."""
        self._settle(now_ns)
        self._keys[key].in_flight_ns.append(now_ns)

    def lost(self, key: int, *, sent_ns: int, now_ns: int) -> None:
        """The check sent at ``sent_ns`` failed or was given up: nobody knows whether it was, or will be, granted."""
        self._settle(now_ns)
        state = self._keys[key]
        state.in_flight_ns.remove(sent_ns)
        state.unknown += 1
        self._lingering.append((now_ns + self._linger_ns, state))

    def answered(self, key: int, *, sent_ns: int, now_ns: int, admitted: bool, source: object) -> Verdict:
        """Judge the answer to the check sent at ``sent_ns``; ``source`` is the arm and node that gave it."""
        self._settle(now_ns)
        state = self._keys[key]
        earliest_ns = state.in_flight_ns[0]
        state.in_flight_ns.remove(sent_ns)
        if source != state.source:
            state.allowance = self._owed(state, earliest_ns)  # nothing before the first answer of a key: no move
            state.source = source
        return self._admission(state, earliest_ns, now_ns) if admitted else self._denial(state, sent_ns)

    def _owed(self, state: _Key, now_ns: int) -> int:
        """Units by which whoever lost the state may be ahead of the lower TAT at ``now_ns`` or later."""
        if state.lower_tat_ns is None:
            return 0
        return min(self._burst, -(-max(state.lower_tat_ns - now_ns, 0) // self._floor_ns))

    def _denial(self, state: _Key, sent_ns: int) -> Verdict:
        spent_ns = 0 if state.upper_tat_ns is None else max(state.upper_tat_ns - sent_ns, 0)
        perhaps_granted = len(state.in_flight_ns) + state.unknown
        surely_free = spent_ns + (perhaps_granted + 1) * self._ceil_ns <= self._full_ns
        return Verdict.WRONG_DENIAL if surely_free else Verdict.RIGHT

    def _admission(self, state: _Key, earliest_ns: int, now_ns: int) -> Verdict:
        self._charge_upper(state, now_ns)
        if state.lower_tat_ns is not None and state.lower_tat_ns > now_ns + self._lower_room_ns:
            if state.allowance == 0:
                return Verdict.OVER_ADMISSION
            state.allowance -= 1
            return Verdict.ALLOWED_BY_MOVE
        known_ns = earliest_ns if state.lower_tat_ns is None else max(state.lower_tat_ns, earliest_ns)
        state.lower_tat_ns = known_ns + self._floor_ns
        return Verdict.RIGHT

    def _charge_upper(self, state: _Key, now_ns: int) -> None:
        known_ns = now_ns if state.upper_tat_ns is None else max(state.upper_tat_ns, now_ns)
        state.upper_tat_ns = min(known_ns + self._ceil_ns, now_ns + self._full_ns)

    def _settle(self, now_ns: int) -> None:
        """Requests of unknown outcome that can no longer be granted were, for the upper bound, granted at the last."""
        while self._lingering and self._lingering[0][0] <= now_ns:
            last_ns, state = self._lingering.popleft()
            state.unknown -= 1
            self._charge_upper(state, last_ns)
