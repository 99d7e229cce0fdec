"""Asks the live service itself whether users are well, with a client and counts of its own; reads nothing it judges.

No Prometheus, no ledger, nothing of harness, workflows or services: only answers, as a user gets them through Envoy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scenarios.cost import cost_us
from scenarios.scenario import InvalidScenario, Oracle, read_scenario

LIMIT = "api_default"
RATE_PER_S = 100.0
FIRST_NUMBER = 1000  # keys end in numbers as long as those of users
USES_PER_KEY = 8  # all within the promised burst of 10, so no denial is right, and a burst lowered to 7 or less shows
PROMISED_BURST, PROMISED_INTERVAL_S = 10, 60 / 44
BEYOND_KEYS, BEYOND_USES = 10, 4  # keys that are asked so much more than their burst, at once
TIMEOUT_S = 2.0  # from when the request was due

_OK = 200
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class OracleReading:
    """What ``requests`` users saw. ``slow`` counts late answers and ``errors``; ``errors`` count answers other than 200
    or 429 and no answer at all, which in the percentiles (ms) stands for the whole time a user waits.

    ``beyond``: checks beyond what was promised, beside those requests; ``over_admitted`` of them were admitted.
    ``nodes``: how many answered."""

    requests: int
    slow: int
    errors: int
    denied_wrongly: int
    slow_share: float
    p50_ms: float
    p99_ms: float
    beyond: int = 0
    over_admitted: int = 0
    nodes: int = 0

    @property
    def shares(self) -> dict[str, float]:
        """What is judged, as shares of the requests."""
        return {
            "slow_share": self.slow_share,
            "error_share": self.errors / self.requests,
            "wrong_denial_share": self.denied_wrongly / self.requests,
            "over_admission_share": self.over_admitted / self.beyond if self.beyond else 0.0,
        }


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Shares of requests, 0..1, that a healthy service stays below, and how many nodes have to answer."""

    slow_share: float = 0.10
    error_share: float = 0.01
    wrong_denial_share: float = 0.01
    over_admission_share: float = 0.10
    nodes: int = 0

    @classmethod
    def of(cls, oracle: Oracle) -> Thresholds:
        """Those that an incident's file names."""
        return cls(
            slow_share=oracle.healthy_slow_share_below,
            error_share=oracle.healthy_error_share_below,
            wrong_denial_share=oracle.healthy_wrong_denial_share_below,
            over_admission_share=oracle.healthy_over_admission_share_below,
            nodes=oracle.healthy_nodes_at_least or 0,
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """One request: its status (None without an answer), when it was sent and answered (s), and by which node."""

    status: int | None
    due_s: float
    answered_s: float
    node: str

    @property
    def latency_ms(self) -> float:
        """From when it was due."""
        return (self.answered_s - self.due_s) * 1000


def measure(url: str, requests: int, slow_ms: float, rate_per_s: float) -> OracleReading:
    """Send ``requests`` checks to ``url`` (``http://HOST:PORT``) at a constant rate, on fresh keys, and count.

    Open model: a request is sent when due, whatever became of the ones before, and its latency counts from then.
    Then a few more keys are asked beyond what they were promised. Takes as long as so many requests last and at most
    three times TIMEOUT_S more. Raises ValueError for numbers not above 0.
    """
    if requests < 1 or rate_per_s <= 0 or slow_ms <= 0:
        raise ValueError(f"requests {requests}, rate_per_s {rate_per_s}, slow_ms {slow_ms}: all must be above 0")
    within, beyond = asyncio.run(_ask_all(url, requests, rate_per_s))
    return _reading(within, beyond, slow_ms)


def healthy(reading: OracleReading, thresholds: Thresholds) -> tuple[bool, str]:
    """Whether the users are well, and the reason in words: every share that is too high, or all shares."""
    shares = {
        words: (reading.shares[name], getattr(thresholds, name))
        for name, words in (
            ("slow_share", "slow"), ("error_share", "errors"), ("wrong_denial_share", "denied wrongly"),
            ("over_admission_share", "admitted beyond the promise"),
        )
    }  # fmt: skip
    wrong = [f"{name} {share:.2%}, must be below {most:.2%}" for name, (share, most) in shares.items() if share >= most]
    if reading.nodes < thresholds.nodes:
        wrong.append(f"answered by {reading.nodes} nodes, must be at least {thresholds.nodes}")
    if wrong:
        return False, f"of {reading.requests} requests: {'; '.join(wrong)}"
    return True, f"of {reading.requests} requests: " + "; ".join(f"{name} {s:.2%}" for name, (s, _) in shares.items())


def shows_the_fault(reading: OracleReading, oracle: Oracle) -> bool:
    """Whether every share by which the incident's file says that its fault is seen is as high as it says."""
    least = {
        "slow_share": oracle.faulty_slow_share_above,
        "error_share": oracle.faulty_error_share_above,
        "wrong_denial_share": oracle.faulty_wrong_denial_share_above,
    }
    return all(share is None or reading.shares[name] > share for name, share in least.items())


def is_cheaper(oracle: Oracle, before_us: float | None, after_us: float | None) -> bool | None:
    """Whether a check costs less by as much as the incident's file asks for; None where it asks for nothing."""
    if oracle.cheaper_by is None:
        return None
    return None not in (before_us, after_us) and after_us <= before_us * (1 - oracle.cheaper_by)  # type: ignore[operator]


async def _ask_all(url: str, requests: int, rate_per_s: float) -> tuple[list[_Seen], list[list[_Seen]]]:
    """What was asked within the promise, and beyond it by key. Keys look like any user's: no name tells them apart."""
    prefix = secrets.token_hex(4)
    connections = _Connections(url)
    await _ask(connections, f"{prefix}-uncounted", time.monotonic())  # pays for the client's own first steps
    keys = [f"{prefix}-{FIRST_NUMBER + number // USES_PER_KEY}" for number in range(requests)]
    beyond = [f"{secrets.token_hex(4)}-{FIRST_NUMBER + number}" for number in range(BEYOND_KEYS)]
    uses = PROMISED_BURST + BEYOND_USES
    try:
        seen = await _ask_in_turn(connections, keys, rate_per_s)
        more = await _ask_in_turn(connections, [key for key in beyond for _ in range(uses)], rate_per_s)
    finally:
        connections.close()
    return seen, [more[first : first + uses] for first in range(0, len(more), uses)]


async def _ask_in_turn(connections: _Connections, keys: Sequence[str], rate_per_s: float) -> list[_Seen]:
    start_s = time.monotonic()
    asking = []
    for number, key in enumerate(keys):
        due_s = start_s + number / rate_per_s
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        asking.append(asyncio.create_task(_ask(connections, key, due_s)))
    return await asyncio.gather(*asking)


class _Connections:
    """HTTP/1.1 connections that are kept, each with one request at a time.

    Bare streams, for what is measured is the service: a client that takes 4 ms of CPU a request, as httpx did, starves
    first on a busy machine, and calls a service slow that is not.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ValueError(f"url {url!r}: must be like http://127.0.0.1:8080")
        self._host, self._port = parts.hostname, parts.port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def status(self, key: str) -> tuple[int, str]:
        """Check this key once; the answer's status and node. Raises OSError or EOFError when there is none."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        kept = False
        try:
            writer.write(self._request(key))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, found, rest = head.partition(b"\r\ncontent-length:")
            if found:
                await reader.readexactly(int(rest.partition(b"\r\n")[0]))
            if found and b"\r\nconnection: close\r\n" not in head:
                self._idle.append((reader, writer))
                kept = True
        finally:
            if not kept:
                writer.close()
        _, _, node = head.partition(b"\r\nx-node:")
        return int(head.split(b" ", 2)[1]), node.partition(b"\r\n")[0].strip().decode("latin-1")

    def close(self) -> None:
        """End every connection that is kept."""
        for _, writer in self._idle:
            writer.close()

    def _request(self, key: str) -> bytes:
        body = json.dumps({"limit": LIMIT, "key": key, "cost": 1})
        return (
            f"POST /v1/check HTTP/1.1\r\nhost: {self._host}:{self._port}\r\nx-ratelimit-key: {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode()


async def _ask(connections: _Connections, key: str, due_s: float) -> _Seen:
    status, node = None, ""
    try:
        async with asyncio.timeout(TIMEOUT_S - (time.monotonic() - due_s)):
            status, node = await connections.status(key)
    except (OSError, EOFError):  # TimeoutError is an OSError
        pass  # no answer: said by the status that stays None
    return _Seen(status, due_s, time.monotonic(), node)


def _node_of(socket: str) -> str:
    """The node of a release: its socket lies in a folder named after it. One that was restarted is the same node."""
    return Path(socket).parent.name.partition("-")[0] or socket


def _over_admitted(uses: Sequence[_Seen]) -> int:
    """Admissions of one key, fresh at first, beyond its burst and what came back until the last answer."""
    lasted_s = max(one.answered_s for one in uses) - min(one.due_s for one in uses)
    promised = PROMISED_BURST + math.floor(lasted_s / PROMISED_INTERVAL_S)
    return max(0, sum(one.status == _OK for one in uses) - promised)


def _reading(seen: Sequence[_Seen], beyond: Sequence[Sequence[_Seen]], slow_ms: float) -> OracleReading:
    failed = [s.status not in (_OK, _TOO_MANY_REQUESTS) for s in seen]
    slow = sum(fails or s.latency_ms >= slow_ms for s, fails in zip(seen, failed, strict=True))
    waits_ms = sorted(TIMEOUT_S * 1000 if s.status is None else s.latency_ms for s in seen)
    return OracleReading(
        requests=len(seen),
        slow=slow,
        errors=sum(failed),
        denied_wrongly=sum(s.status == _TOO_MANY_REQUESTS for s in seen),
        slow_share=slow / len(seen),
        p50_ms=_quantile(waits_ms, 0.50),
        p99_ms=_quantile(waits_ms, 0.99),
        beyond=BEYOND_USES * len(beyond),
        over_admitted=sum(map(_over_admitted, beyond)),
        nodes=len({_node_of(s.node) for s in seen if s.node}),
    )


def _quantile(ascending: Sequence[float], q: float) -> float:
    """The nearest-rank quantile: the smallest value that at least a share ``q`` of all does not exceed."""
    return round(ascending[math.ceil(q * len(ascending)) - 1], 3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one reading and what the incident's file makes of it as JSON; the exit code is 0 for any reading."""
    parser = argparse.ArgumentParser(prog="scenarios.oracle", description="What users of the live service see now.")
    parser.add_argument("--url", required=True, help="Envoy's listener, like http://127.0.0.1:8080")
    parser.add_argument("--incident", type=Path, required=True, help="the file that says how to ask, what is healthy")
    parser.add_argument("--sockets", type=Path, nargs="*", default=[], help="of releases, to see what a check costs")
    parser.add_argument("--before-us", type=float, help="what a check cost with the fault")
    options = parser.parse_args(arguments)
    try:
        oracle = read_scenario(options.incident).oracle
        reading = measure(options.url, oracle.requests, oracle.slow_ms, RATE_PER_S)
        check_us = cost_us(options.sockets) if oracle.cheaper_by is not None and options.sockets else None
    except (ValueError, InvalidScenario) as error:
        parser.error(str(error))
    well, why = healthy(reading, Thresholds.of(oracle))
    faulty = oracle.knows_the_fault and shows_the_fault(reading, oracle)
    cheaper = is_cheaper(oracle, options.before_us, check_us)
    costs = {"check_us": check_us, "before_us": options.before_us, "cheaper": cheaper}
    print(json.dumps({**asdict(reading), "healthy": well, "why": why, "shows_the_fault": faulty, **costs}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
