"""Starts the service as a process and talks to it over its socket. Uses nothing of the service's own code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

TREE = Path(__file__).parents[2]
START_S = 10.0
ANSWER_S = 5.0
LIMITS = """
limits:
  - {name: api_default, algorithm: gcra, rate: 10/1m, burst: 10}
  - {name: hourly, algorithm: gcra, rate: 1/1h, burst: 2}
"""


class Reply(NamedTuple):
    """One answer; header names are in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """One connection, and the next one once an answer was the last. Sends bytes as they are given and reads answers by
    their Content-Length."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_S)
        self._socket.connect(self._path)
        self._received = b""
        self._ended = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Write raw bytes."""
        if self._ended:
            self._socket.close()
            self._open()
        self._socket.sendall(data)

    def reply(self, *, to_head: bool = False) -> Reply:
        """Read one answer."""
        while b"\r\n\r\n" not in self._received:
            self._read_more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = 0 if to_head else int(fields.get("content-length", "0"))
        while len(self._received) < length:
            self._read_more()
        body, self._received = self._received[:length], self._received[length:]
        self._ended = fields.get("connection") == "close"
        return Reply(int(first.split(" ")[1]), fields, body)

    def ask(self, method: str, path: str, body: bytes = b"") -> Reply:
        """Send one request and read its answer."""
        self.send(request(method, path, body))
        return self.reply(to_head=method == "HEAD")

    def ask_at_once(self, requests: Sequence[bytes]) -> list[Reply]:
        """Send all requests before reading an answer; those that a connection ended without are sent once more."""
        replies: list[Reply] = []
        while len(replies) < len(requests):
            self.send(b"".join(requests[len(replies) :]))
            while len(replies) < len(requests) and not self._ended:
                replies.append(self.reply())
        return replies

    def check(self, limit: str, key: str, cost: int = 1) -> Reply:
        """Ask whether ``key`` may spend ``cost``."""
        return self.ask("POST", "/v1/check", check_body(limit, key, cost))

    def is_closed_by_service(self) -> bool:
        """Wait for the end of the stream; False when more bytes come instead."""
        return not self._received and self._socket.recv(1) == b""

    def _read_more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError(f"the service closed the connection after {self._received!r}")
        self._received += data


class Service:
    """A running process with the folder its socket lies in."""

    def __init__(self, process: subprocess.Popen[bytes], path: str, log: Path) -> None:
        self.process = process
        self.path = path
        self._log = log

    def connect(self) -> Client:
        """Open a new connection."""
        return Client(self.path)

    def log(self) -> str:
        """What the process has written so far."""
        return self._log.read_text()

    def wait_for_log(self, text: str) -> None:
        """Wait until the process has written ``text``."""
        deadline_s = time.monotonic() + START_S
        while text not in self.log():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log()}"
            assert time.monotonic() < deadline_s, f"no {text!r} within {START_S} s in {self.log()!r}"
            time.sleep(0.005)


def request(method: str, path: str, body: bytes = b"", *, fields: str = "") -> bytes:
    """The bytes of a request; ``fields`` are further header lines, each with its line end."""
    head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    return head.encode() + body


def check_body(limit: str, key: str, cost: int = 1) -> bytes:
    """The body of a check."""
    return json.dumps({"limit": limit, "key": key, "cost": cost}).encode()


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m ratelimiter`` of this tree with stdout and stderr piped together; killed if it is still there."""
    with subprocess.Popen(
        [sys.executable, "-m", "ratelimiter", *arguments],
        env=os.environ | {"PYTHONPATH": str(TREE / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def running(limits: str, *options: str) -> Iterator[Service]:
    """Run the service with a limits file of that text; it is stopped, and killed when it does not stop, at the end."""
    # Not pytest's tmp_path: the path of a socket must fit into 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rl-") as folder:
        path, file, log = f"{folder}/s", Path(folder, "limits.yaml"), Path(folder, "log")
        file.write_text(limits)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "ratelimiter", "serve", "--http", f"unix:{path}", "--limits", file, *options],
                env=os.environ | {"PYTHONPATH": str(TREE / "src")},
                stdout=output,
                stderr=output,
            )
        try:
            service = Service(process, path, log)
            service.wait_for_log('"listening"')
            yield service
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(ANSWER_S + 1)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
