"""A connection gives so many answers and ends with the last of them, which says so; no client loses a request."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TREE = Path(__file__).parents[2]
REQUEST = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
SHARE = 3
WITH_ANOTHER_SHARE = f"""
import sys
from ratelimiter import cli, connection
connection.ANSWERS_PER_CONNECTION = {SHARE}
sys.exit(cli.main())
"""


@contextmanager
def connected() -> Iterator[socket.socket]:
    """A connection to this tree's service, which runs until the block ends."""
    with tempfile.TemporaryDirectory(prefix="rl-") as folder:
        path = f"{folder}/s"
        serve = [sys.executable, "-c", WITH_ANOTHER_SHARE, "serve", "--http", f"unix:{path}", "--limits"]
        with subprocess.Popen([*serve, TREE / "limits.yaml"], cwd=TREE / "src", stderr=subprocess.DEVNULL) as process:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(5)
            try:
                deadline_s = time.monotonic() + 10
                while client.connect_ex(path) and time.monotonic() < deadline_s:
                    time.sleep(0.01)
                yield client
            finally:
                client.close()
                process.terminate()


def answers(client: socket.socket, count: int) -> list[bytes]:
    """The heads of so many answers, in lower case."""
    heads, received = [], b""
    while len(heads) < count:
        head, end, body = received.partition(b"\r\n\r\n")
        length = int((head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0").strip())
        if end and len(body) >= length:
            heads.append(head.lower())
            received = body[length:]
            continue
        more = client.recv(65536)
        assert more, f"the connection was closed without a word, after {received!r}"
        received += more
    assert not received
    return heads


def test_the_last_answer_of_a_connection_ends_it_and_says_so() -> None:
    with connected() as client:
        for number in range(1, SHARE + 1):
            client.sendall(REQUEST)
            (head,) = answers(client, 1)
            assert (b"connection: close" in head) == (number == SHARE)
        assert client.recv(1) == b""


def test_what_was_sent_beyond_the_last_answer_is_not_answered() -> None:
    with connected() as client:
        client.sendall(REQUEST * (SHARE + 2))
        heads = answers(client, SHARE)
        assert [b"connection: close" in head for head in heads] == [False, False, True]
        assert client.recv(1) == b""
