"""Measures what a check costs a tree of the service: its CPU time, for clients that keep their connections. Starts and
stops that tree, writes nothing there.

Usage: python cost.py TREE. Prints one line, ``{"cpu_s": [7 numbers], "ok": true}``, per repetition the CPU seconds a
check, or else ``{"ok": false, "reason": "..."}``. A client opens another connection only when an answer was the last on
its own. Exit codes: 0 measured (also when the answers were wrong), 2 bad usage, 3 the tree does not start, so that
nothing was measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

from latency import ask_all, connect, main, serving
from latency import settled_cpu_ns as cpu_ns

REPETITIONS = 7
CLIENTS = 20
CHECKS_EACH = 16
AHEAD = 3  # each client has asked so many checks more than the one before it, so that they do not reconnect in step


def measure(tree: Path) -> dict[str, object]:
    """Start the tree, repeat the measurement, stop it. Raises DoesNotStart or WrongAnswer."""
    with serving(tree) as service:
        clients = [connect() for _ in range(CLIENTS)]
        for number in range(AHEAD * CLIENTS):
            late = clients[: number // AHEAD]
            ask_all(late, f"ahead-{number}")
            clients[: len(late)] = late
        costs = []
        for repetition in range(REPETITIONS):
            before_ns = cpu_ns(service.pid)
            for number in range(CHECKS_EACH):
                ask_all(clients, f"probe-{repetition}-{number // 8}")
            costs.append((cpu_ns(service.pid) - before_ns) / (CHECKS_EACH * CLIENTS) / 1e9)
    return {"cpu_s": costs, "ok": True}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], __doc__, measure))
