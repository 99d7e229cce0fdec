"""Measures how fast a tree of the service answers 20 checks at once. Starts and stops that tree, writes nothing there.

Usage: python latency.py TREE. Prints one line, ``{"wall_ms": [7 numbers], "cpu_ms": [7 numbers], "ok": true}``,
per repetition the time until the last answer and the CPU time that the service used for it, or else
``{"ok": false, "reason": "..."}``. Exit codes: 0 measured (also when the answers were wrong), 2 bad usage, 3 the tree
does not start, so that nothing was measured.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPETITIONS = 7
WARM_UPS = 3
CONCURRENT = 20
START_S = 10.0
REPETITION_S = 2.0
STOP_S = 6.0
# Relative to the temporary folder, where service and probe both run: a socket's path must fit into 107 bytes.
SOCKET = "s"
MEASURED, BAD_USAGE, DOES_NOT_START = 0, 2, 3


class DoesNotStart(Exception):
    """The tree cannot be measured; the message says why."""


class WrongAnswer(Exception):
    """The service runs but does not answer checks as it should; the message says how."""


def main(arguments: list[str], usage: str | None, measure: Callable[[Path], dict[str, object]]) -> int:
    """Measure the tree named by the only argument and print the result; ``measure`` runs in an empty folder."""
    if len(arguments) != 1:
        print(usage, file=sys.stderr)
        return BAD_USAGE
    tree = Path(arguments[0]).resolve()
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        os.chdir(folder)
        try:
            result, code = measure(tree), MEASURED
        except WrongAnswer as error:
            result, code = {"ok": False, "reason": str(error)}, MEASURED
        except DoesNotStart as error:
            result, code = {"ok": False, "reason": str(error)}, DOES_NOT_START
        os.chdir("/")
    print(json.dumps(result))
    return code


def measure(tree: Path) -> dict[str, object]:
    """Start the tree, repeat the measurement, stop it. Raises DoesNotStart or WrongAnswer."""
    with serving(tree) as service:
        connections = [connect() for _ in range(CONCURRENT)]
        for repetition in range(WARM_UPS):
            ask_all(connections, f"warm-up-{repetition}")
        readings = [reading(service.pid, connections, f"probe-{repetition}") for repetition in range(REPETITIONS)]
    walls, cpus = zip(*readings, strict=True)
    return {"wall_ms": walls, "cpu_ms": cpus, "ok": True}


@contextmanager
def serving(tree: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The tree's service, answering on SOCKET below the working directory until the block ends. Raises DoesNotStart."""
    service = start(tree)
    try:
        wait_until_answering(service)
        yield service
    finally:
        stop(service)


def start(tree: Path) -> subprocess.Popen[bytes]:
    """The tree's service, told to listen on SOCKET; its output is in ``log``."""
    with Path("log").open("wb") as log:
        serve = [sys.executable, "-m", "ratelimiter", "serve"]
        return subprocess.Popen(
            [*serve, "--http", f"unix:{SOCKET}", "--limits", str(tree / "limits.yaml")],
            env=os.environ | {"PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def reading(pid: int, connections: list[socket.socket], prefix: str) -> tuple[float, float]:
    """One repetition: (wall, CPU) in ms."""
    cpu_before_ns = settled_cpu_ns(pid)
    start_ns = time.perf_counter_ns()
    ask_all(connections, prefix)
    wall_ns = time.perf_counter_ns() - start_ns
    return wall_ns / 1e6, (settled_cpu_ns(pid) - cpu_before_ns) / 1e6


def wait_until_answering(service: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if service.poll() is not None:
            raise DoesNotStart(f"the service ended with {service.returncode}: {last_words()}")
        try:
            with connect():
                return
        except OSError:
            time.sleep(0.01)
    raise DoesNotStart(f"nothing answered within {START_S} s: {last_words()}")


def connect() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(SOCKET)
    except OSError:
        connection.close()
        raise
    connection.setblocking(False)
    return connection


def ask_all(connections: list[socket.socket], prefix: str) -> None:
    """Send one check on every connection and wait for all answers. Raises WrongAnswer.

    A connection whose answer says that it was the last one gives its place in the list to a new one.
    """
    deadline_s = time.monotonic() + REPETITION_S
    with selectors.DefaultSelector() as selector:
        for number, connection in enumerate(connections):
            key = f"{prefix}-{number}"
            body = json.dumps({"limit": "api_default", "key": key})
            fields = f"Host: probe\r\nx-ratelimit-key: {key}\r\nContent-Length: {len(body)}\r\n"
            selector.register(connection, selectors.EVENT_READ, (number, bytearray()))
            try:
                connection.send(f"POST /v1/check HTTP/1.1\r\n{fields}\r\n{body}".encode())
            except OSError as error:
                raise WrongAnswer(f"the service does not take requests: {error}") from error
        waiting = len(connections)
        while waiting:
            ready = selector.select(deadline_s - time.monotonic())
            if not ready:
                raise WrongAnswer(f"{waiting} of {len(connections)} checks had no answer within {REPETITION_S} s")
            for key_of, _ in ready:
                answer: bytearray
                number, answer = key_of.data
                received = receive(key_of.fileobj)
                answer += received
                if not received:
                    raise WrongAnswer(f"the service closed a connection after {bytes(answer[:200])!r}")
                if is_complete(answer):
                    selector.unregister(key_of.fileobj)
                    if b"\r\nconnection: close\r\n" in answer.lower():
                        connections[number].close()
                        connections[number] = connect()
                    waiting -= 1


def receive(connection: object) -> bytes:
    assert isinstance(connection, socket.socket)
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def is_complete(answer: bytes | bytearray) -> bool:
    """True when head and body are there and the check was decided. Raises WrongAnswer for any other status."""
    head, end, body = bytes(answer).partition(b"\r\n\r\n")
    if not end:
        return False
    lines = head.decode("latin-1").split("\r\n")
    if lines[0].split(" ")[1:2] not in (["200"], ["429"]):
        raise WrongAnswer(f"a check was answered with {lines[0]!r}")
    lengths = [line.partition(":")[2] for line in lines if line.lower().startswith("content-length:")]
    if len(lengths) != 1:
        raise WrongAnswer("an answer has no single Content-Length")
    return len(body) >= int(lengths[0])


def settled_cpu_ns(pid: int) -> int:
    """CPU time of the service so far, read once it stands still."""
    last_ns, deadline_s = -1, time.monotonic() + 0.2
    while (now_ns := cpu_ns(pid)) != last_ns and time.monotonic() < deadline_s:
        last_ns = now_ns
        time.sleep(0.002)
    return now_ns


def cpu_ns(pid: int) -> int:
    """Nanoseconds on a CPU of all threads of a process and its descendants. Raises WrongAnswer when it has ended.

    From the scheduler's statistics: the clock ticks of ``/proc/PID/stat`` are 10 ms, more than a repetition takes.
    """
    total_ns = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total_ns += int((thread / "schedstat").read_text().split()[0])
            children = thread / "children"  # not every kernel has this file
            if children.exists():
                total_ns += sum(cpu_ns(int(child)) for child in children.read_text().split())
    except OSError as error:
        raise WrongAnswer(f"the service's CPU time cannot be read any more: {error}") from error
    return total_ns


def stop(service: subprocess.Popen[bytes]) -> None:
    """TERM, then KILL for the whole session that was started here."""
    if service.poll() is None:
        service.terminate()
        try:
            service.wait(STOP_S)
            return
        except subprocess.TimeoutExpired:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()


def last_words() -> str:
    lines = Path("log").read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], __doc__, measure))
