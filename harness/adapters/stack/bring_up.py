"""Brings a plan up and waits for the evidence that it serves. Starts the supervisor, which starts the rest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from harness.adapters.stack import supervisor
from harness.adapters.stack.bring_down import end_supervisor
from harness.adapters.stack.home import Home
from harness.adapters.stack.lock import stack_lock
from harness.adapters.stack.machines import LocalMachines
from harness.adapters.stack.plan import Component, External, Plan
from harness.adapters.stack.processes import MARK, ProcessId, end, is_alive, send
from harness.adapters.stack.readiness import is_ready
from harness.adapters.stack.state import Record, State
from harness.core.errors import Retryable

POLL_S = 0.03
DEATHS = 3
"""A component that died this often during one ``up`` won't come up."""
SILENT_S = 5.0
"""A component that runs and gives no evidence of serving for this long is killed, so that it is started anew."""
LOG_LINES = 12
SUPERVISOR_TRIES = 3


def bring_up(home: Home, make_plan: Callable[[], Plan], *, say: Callable[[str], None], within_s: float = 120.0) -> None:
    """Makes the stack be as planned; nothing happens when it is. ``make_plan`` is called once the stack is locked.

    Says one line per component as it gets ready. Raises Retryable, with the end of its log, for a component that
    can't be started within ``within_s`` seconds or keeps dying; the others keep running, ``bring_down`` ends them.
    """
    with stack_lock(home, say):
        wait = _Wait(home, say, within_s)
        for _ in range(SUPERVISOR_TRIES):
            plan = _ensure_supervisor(home, make_plan, say)
            if wait.until_up(plan):
                return
        raise Retryable(_with_log(home, supervisor.NAME, f"ended {SUPERVISOR_TRIES} times during this start"))


def _ensure_supervisor(home: Home, make_plan: Callable[[], Plan], say: Callable[[str], None]) -> Plan:
    living = State.read_living(home) is not None
    if not living:
        end(home, sandboxes=False, grace_s=1.0)  # what a killed supervisor left; releases are adopted by nodes
    plan = make_plan()
    for external in plan.external:
        require_answer(external)
    if living and Plan.read(home.plan) != plan:
        say("the stack was started with other settings; it is started anew")
        end_supervisor(home)
        living = False
    if not living:
        _start_supervisor(home, plan)
    return plan


def require_answer(external: External) -> None:
    """Raises Retryable when nobody accepts connections at the address."""
    host, _, port = external.address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2.0).close()
    except OSError as error:
        raise Retryable(
            f"{external.name}: not reachable at {external.address} ({error}), which {external.variable} names; "
            f"start it, or unset {external.variable} to let `harness up` run one"
        ) from error


def _start_supervisor(home: Home, plan: Plan) -> None:
    home.logs.mkdir(parents=True, exist_ok=True)
    home.state.unlink(missing_ok=True)
    plan.write(home.plan)
    with home.log(supervisor.NAME).open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", supervisor.__name__, str(home.root)],
            env={**os.environ, "HARNESS_HOME": str(home.root), MARK: supervisor.NAME},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    while State.read_living(home) is None:
        if process.poll() is not None:
            raise Retryable(_with_log(home, supervisor.NAME, f"ended with exit status {process.returncode}"))
        time.sleep(POLL_S)


class _Wait:
    """One waiting for all components, with what it has already seen and said."""

    def __init__(self, home: Home, say: Callable[[str], None], within_s: float) -> None:
        self._home = home
        self._say = say
        self._started = time.monotonic()
        self._within_s = within_s
        self._exits_before: dict[str, int] = {}
        self._silent_since: dict[ProcessId, float] = {}

    def until_up(self, plan: Plan) -> bool:
        """True once every component serves; False when the supervisor is gone (killed, and everything with it)."""
        machines = LocalMachines(self._home)
        up: set[str] = set()
        while True:
            # The fleet is looked at anew: a machine may come or go meanwhile.
            components = plan.with_nodes(machines.nodes() if plan.node else ())
            pending = {component.name: component for component in components if component.name not in up}
            if not pending:
                return True
            state = State.read_living(self._home)
            if state is None:
                return False
            for name, component in list(pending.items()):
                if name in state.components and self._is_up(component, state.components[name]):
                    self._say(f"{name} ready, {time.monotonic() - self._started:.1f} s")
                    up.add(name)
                    del pending[name]
            if pending and time.monotonic() - self._started > self._within_s:
                raise self._failure(pending, state)
            if pending:
                time.sleep(POLL_S)

    def _is_up(self, component: Component, record: Record) -> bool:
        """Evidence, not the record: what was up a minute ago may be stuck now."""
        name = component.name
        if record.exits - self._exits_before.setdefault(name, record.exits) >= DEATHS:
            raise Retryable(_with_log(self._home, name, f"died {DEATHS} times, last with {record.last_exit}"))
        process = record.process
        if record.phase != "up" or process is None or not is_alive(process):
            return False
        if is_ready(self._home, component, process.pid):
            return True
        now = time.monotonic()
        if now - self._silent_since.setdefault(process, now) > SILENT_S:
            self._say(f"{name} runs as pid {process.pid} but does not answer; it is started anew")
            send(process, signal.SIGKILL)
        return False

    def _failure(self, pending: Iterable[str], state: State) -> Retryable:
        """Names the first one that is at fault; those that wait for another one are not."""
        pending = list(pending)
        waiting = [name for name in pending if name in state.components and state.components[name].phase == "waiting"]
        # All of them wait while what they wait for has just come up, or while the supervisor has only begun.
        first = next((name for name in pending if name not in waiting), pending[0])
        waiting = [name for name in waiting if name != first]
        reason = f"not ready within {self._within_s:.0f} s"
        return Retryable(_with_log(self._home, first, reason, waiting))


def _with_log(home: Home, name: str, reason: str, waiting: Sequence[str] = ()) -> str:
    try:
        with home.log(name).open(errors="replace") as file:
            end_of_log = [f"  {line.rstrip()}" for line in deque(file, maxlen=LOG_LINES)]
    except FileNotFoundError:
        end_of_log = ["  (nothing was written)"]
    lines = [f"{name}: {reason}; the end of {home.log(name)}:", *end_of_log]
    if waiting:
        lines.append(f"waiting for it: {', '.join(waiting)}")
    return "\n".join([*lines, "put it right and run `harness up` again; `harness down` stops the rest"])
