"""Gathers the evidence that a component serves, and lets a component announce itself. Starts and stops nothing."""

from __future__ import annotations

import http.client
import os
from urllib.parse import urlsplit

from harness.adapters.stack.home import Home
from harness.adapters.stack.plan import Component
from harness.adapters.stack.processes import ProcessId, identify, listening_ports, tree
from harness.adapters.stack.replace import replace_text

ANSWER_TIMEOUT_S = 1.0


def announce(home: Home, name: str) -> None:
    """Called by the component itself once it serves: writes ``run/<name>.ready`` as ``<pid> <start ticks>``."""
    me = identify(os.getpid())
    assert me is not None
    replace_text(home.ready_file(name), f"{me.pid} {me.started_ticks}\n")


def announced(home: Home, name: str) -> ProcessId | None:
    """The living process that wrote the ready file of ``name``; None when there is no file or it is stale."""
    try:
        pid, started_ticks = home.ready_file(name).read_text().split()
        process = ProcessId(int(pid), int(started_ticks))
    except (FileNotFoundError, ValueError):
        return None
    return process if identify(process.pid) == process else None


def is_ready(home: Home, component: Component, pid: int) -> bool:
    """Whether all evidence that the component promises is there, for the process with this pid and its descendants."""
    ready = component.ready
    # The cheap questions come first: this is asked 20 times a second, and listing processes costs 10 ms of CPU.
    announcer = announced(home, component.name) if ready.announced else None
    if ready.announced and announcer is None:
        return False
    if ready.url is not None and not _answers(ready.url, ready.contains):
        return False
    pids = tree(pid)
    if announcer is not None and announcer.pid not in pids:
        return False
    return not ready.ports or set(ready.ports) <= listening_ports(pids)


def _answers(url: str, contains: str) -> bool:
    parts = urlsplit(url)
    assert parts.hostname is not None, url
    # http.client and not a higher library: no proxy of the environment may stand between, and it loads at once
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
        answer = connection.getresponse()
        return answer.status == http.client.OK and contains.encode() in answer.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
