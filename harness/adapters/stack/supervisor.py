"""Keeps the components of one plan running until it is told to stop. Knows processes only, not what they are for.

Run as ``python -m harness.adapters.stack.supervisor HOME``. Every component gets a session of its own, dies with the
supervisor (PDEATHSIG), and is started again when it dies; whatever it leaves in its process group is killed.
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
from harness.adapters.stack.plan import Component, Plan
from harness.adapters.stack.processes import MARK, identify
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
        self._state = State(supervisor=me)
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._was_ready = {component.name: asyncio.Event() for component in plan.components}
        self._has_ended = {component.name: asyncio.Event() for component in plan.components}
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        for component in self._plan.components:
            self._state.components[component.name] = Record(phase="waiting", since=_now())
        self._state.write(self._home)
        tasks = [asyncio.create_task(self._keep(component)) for component in self._plan.components]
        stopping = asyncio.create_task(self._stop.wait())
        # A task that ends by itself is a bug here: stop everything and let it be seen.
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, stopping):
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

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
            for name in self._plan.dependents(component.name):
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
