"""Ends a stack and everything it started, and proves that nothing is left. Keeps its data."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import nullcontext

from harness.adapters.stack.home import Home
from harness.adapters.stack.lock import stack_lock
from harness.adapters.stack.processes import Member, end, is_alive, is_marked, members, send
from harness.adapters.stack.sockets import remove_sockets
from harness.adapters.stack.state import State

SUPERVISOR_WITHIN_S = 15.0


def bring_down(home: Home, *, say: Callable[[str], None]) -> list[Member]:
    """Returns the processes that were running; empty when none was. The supervisor goes first: it would restart them.

    Raises Broken when a process survives SIGKILL.
    """
    # Someone may have removed the folder of a running stack: its processes are found all the same.
    with stack_lock(home, say) if home.run.is_dir() else nullcontext():
        running = members(home)
        end_supervisor(home)
        end(home, sandboxes=True, grace_s=1.0)
        remove_sockets(home)
        for left in (*home.run.glob("*.ready"), *home.run.glob("*.pid"), home.state):
            left.unlink(missing_ok=True)
    return running


def end_supervisor(home: Home) -> None:
    """Asks the supervisor to end its components and itself, and waits; one that does not is killed, with them."""
    state = State.read_living(home)
    if state is None or not is_marked(state.supervisor, home):
        return
    send(state.supervisor, signal.SIGTERM)
    started = time.monotonic()
    while is_alive(state.supervisor):
        if time.monotonic() - started > SUPERVISOR_WITHIN_S:
            send(state.supervisor, signal.SIGKILL)
        time.sleep(0.02)
