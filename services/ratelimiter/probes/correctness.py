"""Measures for how many keys a tree of the service fails, and how many it denies what they were promised.

Usage: python correctness.py TREE. Starts and stops that tree, writes nothing there. Prints one line,
``{"failing_keys": [share], "wrongly_denied_keys": [share], "ok": true}``, shares of the keys asked (0..1; a good tree
has 0), or ``{"ok": false, "reason": "..."}``. Exit codes: 0 measured, 2 bad usage, 3 the tree does not start.

What was promised stands beside this file (``promised.yaml``) and not in the tree: there, a limit that is too low makes
every denial look right. A fresh key may spend its burst at once, and one token more after every interval; both are
asked for, the second only of a tree that kept the first. A key fails when a check gets no 200 or 429 in time.
"""

from __future__ import annotations

import hashlib
import json
import re
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from latency import connect, main, receive, serving

PROMISED = Path(__file__).with_name("promised.yaml")
NUMBERED_KEYS, OTHER_KEYS = 120, 80
NUMBER_STEP = 17  # prime to 10, so that the numbers end in every digit
BURST_AT_MOST = 20
ANSWERS_WITHIN_S = 5.0
LONGEST_WAIT_S = 4.0
MARGIN_S = 0.01
CLEARLY_WRONG = 0.05  # of the keys: then nothing is learnt from waiting for the next token
UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
RATE = re.compile(r"(\d+)/(\d+)(ms|s|m|h|d)")


@dataclass(frozen=True)
class Promise:
    """A limit as it was promised: ``burst`` checks at once, one more every ``interval_s``."""

    name: str
    interval_s: float
    burst: int


@dataclass
class Client:
    """One key on a connection of its own, and what became of its checks."""

    key: str
    connection: socket.socket
    left: int = 0
    answer: bytearray = field(default_factory=bytearray)
    failed: bool = False
    denied: bool = False


def measure(tree: Path) -> dict[str, object]:
    """Ask for what was promised, on fresh keys. Raises DoesNotStart."""
    with serving(tree):
        asked = [client for promise in promises() for client in ask(promise)]
    return {
        "failing_keys": [sum(client.failed for client in asked) / len(asked)],
        "wrongly_denied_keys": [sum(client.denied for client in asked) / len(asked)],
        "ok": True,
    }


def promises() -> list[Promise]:
    return [promise(entry) for entry in yaml.safe_load(PROMISED.read_text(encoding="utf-8"))["limits"]]


def promise(entry: dict[str, Any]) -> Promise:
    rate = RATE.fullmatch(entry["rate"])
    assert rate is not None, f"{PROMISED}: {entry['rate']!r} is no rate"
    return Promise(entry["name"], int(rate[2]) * UNIT_S[rate[3]] / int(rate[1]), entry["burst"])


def ask(promise: Promise) -> list[Client]:
    """Every key spends its burst; an interval after the last answer it is owed one check more."""
    clients = [Client(key, connect()) for key in keys()]
    ask_all(clients, promise, min(promise.burst, BURST_AT_MOST))
    wrong = sum(client.failed or client.denied for client in clients)
    spent = promise.burst <= BURST_AT_MOST and promise.interval_s <= LONGEST_WAIT_S
    if spent and wrong < CLEARLY_WRONG * len(clients):
        time.sleep(promise.interval_s + MARGIN_S)
        ask_all(clients, promise, 1)
    for client in clients:
        client.connection.close()
    return clients


def keys() -> list[str]:
    """The same for every tree, so that trees can be compared: names that end in numbers, and some that don't."""
    return [
        *(f"probe-{number * NUMBER_STEP}" for number in range(NUMBERED_KEYS)),
        *(hashlib.sha256(b"%d" % number).hexdigest()[:12] for number in range(OTHER_KEYS)),
    ]


def ask_all(clients: list[Client], promise: Promise, times: int) -> None:
    """Each client asks so many times, one check after the other, all clients at once."""
    deadline_s = time.monotonic() + ANSWERS_WITHIN_S
    waiting = 0
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.left = times
            if client.connection.fileno() >= 0:
                send(client, promise)
                selector.register(client.connection, selectors.EVENT_READ, client)
                waiting += 1
        while waiting and (ready := selector.select(deadline_s - time.monotonic())):
            for key, _ in ready:
                client = key.data
                selector.unregister(client.connection)
                if goes_on(client, promise):
                    selector.register(client.connection, selectors.EVENT_READ, client)
                else:
                    waiting -= 1
    for client in clients:
        client.failed |= client.left > 0


def send(client: Client, promise: Promise) -> None:
    body = json.dumps({"limit": promise.name, "key": client.key})
    fields = f"Host: probe\r\nx-ratelimit-key: {client.key}\r\nContent-Length: {len(body)}\r\n"
    client.answer.clear()
    try:
        client.connection.send(f"POST /v1/check HTTP/1.1\r\n{fields}\r\n{body}".encode())
    except OSError:
        client.failed = True  # and nothing comes back, which is seen when it is read


def goes_on(client: Client, promise: Promise) -> bool:
    """Take what has come; False when this client has nothing more to wait for."""
    received = receive(client.connection)
    client.answer += received
    if not received:
        client.failed, client.left = True, 0
        anew(client)
        return False
    head, end, body = bytes(client.answer).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    lengths = [line.partition(":")[2].strip() for line in lines if line.startswith("content-length:")]
    if not end or (lengths and len(body) < int(lengths[0])):
        return True
    status = lines[0].split(" ")[1:2]
    client.failed |= status not in (["200"], ["429"])
    client.denied |= status == ["429"]
    client.left -= 1
    if "connection: close" in lines:
        anew(client)
    if not client.left or client.connection.fileno() < 0:
        return False
    send(client, promise)
    return True


def anew(client: Client) -> None:
    """A connection that the service ended is followed by another one."""
    client.connection.close()
    try:
        client.connection = connect()
    except OSError:
        client.failed = True  # and stays closed, so that it is asked nothing more


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], __doc__, measure))
