"""Keeps the components of one plan running until it is told to stop. Knows processes only, not what they are for.

Run as ``python -m harness.adapters.stack.supervisor HOME``. Every component gets a session of its own, dies with the
supervisor (PDEATHSIG), and is started again when it dies; whatever it leaves in its process group is killed.
Nodes run as long as their machine's record is there (``machines.py``): with it goes everything that ran on it, at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from harness.adapters.stack.home import Home
from harness.adapters.stack.machines import LocalMachines
from harness.adapters.stack.plan import Component, Plan
from harness.adapters.stack.processes import MARK, identify, kill_releases
from harness.adapters.stack.readiness import is_ready
from harness.adapters.stack.replace import replace_text
from harness.adapters.stack.state import Phase, Record, State

NAME = "supervisor"
POLL_S = 0.05
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
HEALTHY_AFTER_S = 10.0
"""A component that served this long gets its next restart without a growing pause."""

log = logging.getLogger(NAME)


class Supervisor:
    """One task per component; ``run`` returns when ``stop`` was called and every component has ended."""

    def __init__(self, home: Home, plan: Plan) -> None:
        me = identify(os.getpid())
        assert me is not None
        self._home = home
        self._plan = plan
        self._machines = LocalMachines(home)
        self._state = State(supervisor=me)
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._was_ready: dict[str, asyncio.Event] = {}
        self._has_ended: dict[str, asyncio.Event] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._fleet: dict[str, str] = {}
        """Component → its node, for those that run on a machine."""
        self._lost: set[str] = set()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        nodes = self._machines.nodes() if self._plan.node else ()
        self._fleet = {self._plan.on(node).name: node for node in nodes}
        for component in self._plan.with_nodes(nodes):
            self._add(component)
        self._state.write(self._home)
        following = asyncio.create_task(self._follow_fleet())
        following.add_done_callback(self._stop_unless_cancelled)
        await self._stop.wait()
        following.cancel()
        for task in self._keeping.values():
            task.cancel()
        outcomes = await asyncio.gather(following, *self._keeping.values(), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    def _add(self, component: Component) -> None:
        self._was_ready[component.name] = asyncio.Event()
        self._has_ended[component.name] = asyncio.Event()
        self._state.components[component.name] = Record(phase="waiting", since=_now())
        self._keeping[component.name] = asyncio.create_task(self._keep(component))
        self._keeping[component.name].add_done_callback(self._stop_unless_cancelled)

    def _stop_unless_cancelled(self, task: asyncio.Task[None]) -> None:
        """A task that ends by itself is a bug here: stop everything and let it be seen."""
        if not task.cancelled():
            self._stop.set()

    async def _follow_fleet(self) -> None:
        """Run a node on every machine that comes, and lose what ran on one that goes."""
        while self._plan.node is not None:
            names = {self._plan.on(node).name: node for node in self._machines.nodes()}
            for name in [name for name in self._fleet if name not in names]:
                await self._lose(name)
            for name in [name for name in names if name not in self._fleet]:
                log.info("%s: its machine is there", name)
                self._fleet[name] = names[name]
                self._add(self._plan.on(names[name]))
                self._state.write(self._home)
            await asyncio.sleep(POLL_S)
        await self._stop.wait()

    async def _lose(self, name: str) -> None:
        """The machine is gone: nothing on it is asked to end, and nothing waits for it."""
        log.warning("%s: its machine is gone, and what ran there", name)
        self._lost.add(name)
        process = self._processes.pop(name, None)
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        task = self._keeping.pop(name)
        task.cancel()
        await asyncio.wait({task})
        if process is not None:
            _kill_group(process.pid)
            await process.wait()
        await asyncio.to_thread(kill_releases, self._home, self._fleet.pop(name))
        self._was_ready[name].set()  # whoever waits for it would wait for ever
        self._home.pid_file(name).unlink(missing_ok=True)
        self._home.ready_file(name).unlink(missing_ok=True)
        del self._state.components[name]
        self._state.write(self._home)

    async def _keep(self, component: Component) -> None:
        try:
            for name in component.depends_on:
                await self._was_ready[name].wait()
            pause_s = FIRST_PAUSE_S
            while True:
                served_s = await self._run_once(component)
                pause_s = FIRST_PAUSE_S if served_s >= HEALTHY_AFTER_S else pause_s
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        finally:
            lost = component.name in self._lost
            for name in () if lost else self._plan.dependents(component.name, self._fleet.values()):
                await self._has_ended[name].wait()
            try:
                await self._end(component)
            finally:
                self._has_ended[component.name].set()  # whatever went wrong: those that wait for it must end too

    async def _run_once(self, component: Component) -> float:
        """From start to death; returns for how many seconds it served."""
        process = await self._start(component)
        ready_at = await self._wait_until_ready(component, process)
        too_late = ready_at is None and process.returncode is None
        if too_late:
            process.kill()
        code = await process.wait()
        _kill_group(process.pid)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if too_late:
            how = f"being killed, not ready within {component.ready_within_s:g} s"
        log.warning("%s: pid %d ended with %s", component.name, process.pid, how)
        record = self._record(component.name, "down", process=False)
        record.exits += 1
        record.last_exit, record.last_exit_at = how, record.since
        self._tell()
        return 0.0 if ready_at is None else time.monotonic() - ready_at

    async def _start(self, component: Component) -> asyncio.subprocess.Process:
        self._home.ready_file(component.name).unlink(missing_ok=True)
        environ = {**os.environ, **component.env, "HARNESS_HOME": str(self._home.root), MARK: component.name}
        with self._home.log(component.name).open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", "--", *component.argv),
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes[component.name] = process
        self._record(component.name, "starting")
        self._tell()
        log.info("%s: started as pid %d", component.name, process.pid)
        return process

    async def _wait_until_ready(self, component: Component, process: asyncio.subprocess.Process) -> float | None:
        started = time.monotonic()
        while process.returncode is None and time.monotonic() - started < component.ready_within_s:
            if await asyncio.to_thread(is_ready, self._home, component, process.pid):
                ready_at = time.monotonic()
                log.info("%s: ready after %.2f s", component.name, ready_at - started)
                self._record(component.name, "up")
                self._tell()
                self._was_ready[component.name].set()
                return ready_at
            await asyncio.sleep(POLL_S)
        return None

    async def _end(self, component: Component) -> None:
        process = self._processes.get(component.name)
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), component.stop_grace_s)
            except TimeoutError:
                log.warning("%s: still there %.1f s after TERM, killed", component.name, component.stop_grace_s)
        _kill_group(process.pid)
        await process.wait()
        self._record(component.name, "down", process=False)
        self._tell()
        log.info("%s: stopped", component.name)

    def _record(self, name: str, phase: Phase, *, process: bool = True) -> Record:
        record = self._state.components[name]
        record.phase, record.since = phase, _now()
        record.process = identify(self._processes[name].pid) if process else None
        pid_file = self._home.pid_file(name)
        with _whatever_the_disk_says(pid_file):
            if record.process is None:
                pid_file.unlink(missing_ok=True)
            else:
                replace_text(pid_file, f"{record.process.pid} {record.process.started_ticks}\n")
        return record

    def _tell(self) -> None:
        with _whatever_the_disk_says(self._home.state):
            self._state.write(self._home)


@contextlib.contextmanager
def _whatever_the_disk_says(path: Path) -> Iterator[None]:
    """Keeping the parts running is worth more than the note of it: a full disk must not take the stack down."""
    try:
        yield
    except OSError as error:
        log.warning("%s: cannot be written: %s", path, error)


def _kill_group(leader_pid: int) -> None:
    """What a dead component left in its process group; sandboxed releases have left it for sessions of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader_pid, signal.SIGKILL)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


async def _supervise(home: Home, plan: Plan) -> None:
    supervisor = Supervisor(home, plan)
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, supervisor.stop)
    await supervisor.run()


def main(root: str) -> int:
    """0 when it was told to stop, 1 when another one keeps this home already."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    home = Home(Path(root))
    plan = Plan.read(home.plan)
    assert plan is not None, f"{home.plan}: is written before the supervisor starts"
    with (home.run / f"{NAME}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go by the kernel, however this process ends
        except BlockingIOError:
            log.error("%s: is supervised already", home.root)
            return 1
        asyncio.run(_supervise(home, plan))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
