"""Plays the users: sends what is due, gives up what is late, has each answer judged, counts each request once."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, deque
from dataclasses import dataclass

from .auditor import Auditor
from .client import Client, Flight
from .contract import Contract
from .metrics import ArmSeries, Metrics
from .oracle import Follower, Verdict
from .schedule import asks, due_ns

TIMEOUT_NS = 2 * 10**9  # from when the request was due; nobody waits longer
MAX_IN_FLIGHT = 512  # what a limiter can keep waiting before further users find no connection

_OK = 200
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Who asks whom: ``rate_per_s`` requests over ``keys`` keys named ``<prefix>-<number>``, to ``host:port``."""

    host: str
    port: int
    rate_per_s: int
    keys: int
    prefix: str


class Player:
    """Plays for ever, until stopped. The loop's turn is the only thing that moves it."""

    def __init__(self, play: Play, contract: Contract, metrics: Metrics) -> None:
        self._rate_per_s = play.rate_per_s
        self._slow_ns = contract.slow_ns
        self._metrics = metrics
        self._follower = Follower(contract.limit, keys=play.keys)
        self._asks = asks(play.keys, shuffle=random.Random())
        self._payloads = [_payload(play, contract.limit.name, key) for key in range(play.keys)]
        self._arm_of_key: list[ArmSeries | None] = [None] * play.keys
        self._keys_of_arm: Counter[ArmSeries] = Counter()
        self._auditor = Auditor(self._arm_of_key, burst=contract.limit.burst, shuffle=random.Random())
        self._client = Client(play.host, play.port, listener=self, max_connections=MAX_IN_FLIGHT)
        self._flights: deque[Flight] = deque()  # in the order they were due; at most rate * timeout
        self._timer: asyncio.TimerHandle | None = None
        self._start_ns = 0
        self._requests = 0

    def start(self) -> None:
        """Begin now. To be called in the loop that plays."""
        self._start_ns = time.monotonic_ns()
        self._turn()

    def stop(self) -> None:
        """End now; requests in the air are neither awaited nor counted."""
        if self._timer is not None:
            self._timer.cancel()
        self._client.close()

    def _turn(self) -> None:
        self._give_up_late()
        while (due := self._due_ns()) <= (now_ns := time.monotonic_ns()):
            self._requests += 1
            self._play(Flight(self._next_key(), due), now_ns)
        # The loop's timers have whole milliseconds and round to the nearest: rounded down, it would spin until due.
        wait_ms = -(-(due - now_ns) // 10**6)
        self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._turn)

    def _next_key(self) -> int:
        """Of the schedule, or of the auditor when it is his turn and he knows of any."""
        while (key := next(self._asks)) is None:
            if (audited := self._auditor.next([arm for arm, keys in self._keys_of_arm.items() if keys])) is not None:
                return audited
        return key

    def _due_ns(self) -> int:
        return due_ns(self._requests, start_ns=self._start_ns, rate_per_s=self._rate_per_s)

    def _play(self, flight: Flight, now_ns: int) -> None:
        # After a stall of this process older users have left already: sending for them would be a burst of its own.
        if now_ns - flight.due_ns < TIMEOUT_NS and self._client.send(flight):
            self._flights.append(flight)
        else:
            flight.done = True
            self._count_error(self._metrics.no_arm)

    def _give_up_late(self) -> None:
        now_ns = time.monotonic_ns()
        while self._flights and (self._flights[0].done or now_ns - self._flights[0].due_ns >= TIMEOUT_NS):
            flight = self._flights.popleft()
            if flight.done:
                continue
            arm = b""
            if flight.connection is not None:
                arm = flight.connection.arm
                flight.connection.abandon()
            self.lost(flight, arm=arm, now_ns=now_ns)

    # What the client tells.

    def payload(self, flight: Flight) -> bytes:
        return self._payloads[flight.key]

    def sent(self, flight: Flight) -> None:
        self._follower.sent(flight.key, now_ns=flight.sent_ns)

    def lost(self, flight: Flight, *, arm: bytes, now_ns: int) -> None:
        flight.done = True
        self._auditor.drop(flight.key)
        if flight.sent_ns:
            self._follower.lost(flight.key, sent_ns=flight.sent_ns, now_ns=now_ns)
        self._count_error(self._metrics.arm(arm))

    def answered(self, flight: Flight, *, status: int, arm: bytes, node: bytes, now_ns: int) -> None:
        flight.done = True
        series = self._metrics.arm(arm)
        self._note_arm(flight.key, series)
        series.latency_s.observe((now_ns - flight.due_ns) / 1e9)
        if status != _OK and status != _TOO_MANY_REQUESTS:
            self._follower.lost(flight.key, sent_ns=flight.sent_ns, now_ns=now_ns)
            self._auditor.drop(flight.key)
            self._count_error(series)
            return
        series.requests.inc()
        if now_ns - flight.due_ns >= self._slow_ns:
            series.slow.inc()
        self._judge(flight, series, admitted=status == _OK, source=(arm, node), now_ns=now_ns)

    def _judge(self, flight: Flight, series: ArmSeries, *, admitted: bool, source: object, now_ns: int) -> None:
        verdict = self._follower.answered(
            flight.key, sent_ns=flight.sent_ns, now_ns=now_ns, admitted=admitted, source=source
        )
        if not admitted:
            series.denials.inc()
        if verdict is Verdict.WRONG_DENIAL:
            series.wrong_denials.inc()
            self._auditor.drop(flight.key)
        elif verdict is Verdict.OVER_ADMISSION:
            series.over_admissions.inc()

    def _note_arm(self, key: int, series: ArmSeries) -> None:
        before = self._arm_of_key[key]
        if before is series:
            return
        if before is not None:
            before.keys.dec()
            self._keys_of_arm[before] -= 1
        series.keys.inc()
        self._keys_of_arm[series] += 1
        self._arm_of_key[key] = series

    def _count_error(self, series: ArmSeries) -> None:
        series.requests.inc()
        series.slow.inc()  # for the user an error is no better than a late answer
        series.errors.inc()


def _payload(play: Play, limit: str, key: int) -> bytes:
    name = f"{play.prefix}-{key}"
    body = json.dumps({"limit": limit, "key": name, "cost": 1}, separators=(",", ":"))
    return (
        f"POST /v1/check HTTP/1.1\r\nhost: {play.host}:{play.port}\r\nx-ratelimit-key: {name}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()
