"""Measures how long a tree of the service takes from its start to ready, a hundred times. Writes nothing there.

Usage: python cold_start.py TREE. Prints one line, ``{"ready_s": [100 numbers], "ok": true}``, or else
``{"ok": false, "reason": "..."}``. A start is that of a new process, counted until ``GET /readyz`` answers 200; what
the system keeps of the files that it reads is warm after the first one, as on a host that served a release before.
Exit codes: 0 measured, 2 bad usage, 3 the tree does not start or is not ready in time, so that nothing was measured.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from latency import SOCKET, START_S, DoesNotStart, connect, last_words, main, start, stop

STARTS = 100
POLL_S = 0.001
READY = b"GET /readyz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"


def measure(tree: Path) -> dict[str, object]:
    """Start the tree again and again. Raises DoesNotStart."""
    return {"ready_s": [cold_start_s(tree) for _ in range(STARTS)], "ok": True}


def cold_start_s(tree: Path) -> float:
    """One start. Raises DoesNotStart."""
    began_s = time.perf_counter()
    service = start(tree)
    try:
        while not is_ready():
            if service.poll() is not None:
                raise DoesNotStart(f"the service ended with {service.returncode}: {last_words()}")
            if time.perf_counter() > began_s + START_S:
                raise DoesNotStart(f"not ready within {START_S} s: {last_words()}")
            time.sleep(POLL_S)
        return time.perf_counter() - began_s
    finally:
        stop(service)
        Path(SOCKET).unlink(missing_ok=True)


def is_ready() -> bool:
    """Whether the service answers that it is."""
    try:
        with connect() as connection:
            connection.settimeout(START_S)
            connection.sendall(READY)
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], __doc__, measure))
