"""Runs checks to their end and starts releases that outlive their starter, each in a cage. Decides nothing about them.

Every start of a release is a line in ``HARNESS_HOME/releases.log``, and every release carries its tag in its
environment: effects can be counted, and found again, without asking the harness.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from harness.adapters.sandbox.cage import SOCKET_DIR, TREE_DIR, Cage, limits
from harness.adapters.sandbox.capture import capture, read_to_end
from harness.adapters.sandbox.meter import Meter, cpu_of_children_s
from harness.adapters.sandbox.start_log import StartLog, Tag
from harness.adapters.stack.home import Home
from harness.adapters.stack.processes import RELEASE_MARK, ProcessId, environment, identify, is_alive, send
from harness.core.errors import Broken, Invalid, Refused, Retryable
from harness.ports import Clock

_UIDS = range(61184, 65520)  # the range that systemd, too, hands out to services that need a uid of their own
_PROCESSES = 256
_SOURCE_DIR = "/run/source"
_RELEASE_MEMORY_BYTES = 1024**3  # per process; no manifest says it yet, and a leak must not take the machine along
_STOP_POLL_S = 0.01
_PROBE_TIMEOUT_S = 20
_STOP_LIMIT_S = 5.0

# Standard input is the pipe to the harness; the payload gets an empty one and not the pipe. Started by root, this stays
# root and the payload does not, so the account can't be forged; started by a user, both have one uid, and it can.
# $1 is the payload's uid, the rest is the payload.
_STAGE = f"""
exec 9>&0 </dev/null
cp -R --preserve=timestamps {_SOURCE_DIR}/. {TREE_DIR} && chmod -R u+rwX {TREE_DIR} || exit 1
[ -z "$1" ] || chown -hR "$1:$1" {TREE_DIR} || exit 1
shift
echo staged >&9
"$@" 9>&-
status=$?
times >&9
exit $status
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A check that ran. ``exit_code`` is None when the sandbox ended it: ``timed_out`` or ``out_of_memory``.

    ``cpu_s``: exact when it ended by itself, else short by at most 50 ms per core. ``max_rss_bytes``: the highest sum
    over all its processes, read every 50 ms. Outputs above 256 KiB have a marker where the middle was left out.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    started_at: datetime
    ended_at: datetime
    cpu_s: float
    max_rss_bytes: int
    timed_out: bool
    out_of_memory: bool


class Sandbox:
    """Sandboxes of one HARNESS_HOME. Raises Refused where bubblewrap does not work on this machine."""

    def __init__(self, *, home: Home, clock: Clock, bwrap: str = "bwrap") -> None:
        self._home = home
        self._clock = clock
        self._bwrap = shutil.which(bwrap) or bwrap
        self._starts = StartLog(home.root / "releases.log")
        self._works = False
        self._next_uid = itertools.count(os.getpid() * 61)
        self._outer: list[subprocess.Popen[bytes]] = []

    async def run(
        self,
        argv: Sequence[str],
        *,
        tree: Path,
        venv: Path,
        timeout_s: float,
        memory_bytes: int,
        extra_ro: Mapping[str, Path] | None = None,
        env: Mapping[str, str] | None = None,
        nice: int = 19,
        processes: int = _PROCESSES,
    ) -> Finished:
        """Run ``argv`` on a writable copy of ``tree`` at ``TREE_DIR``, without network, and wait for its end.

        ``extra_ro`` maps paths inside to host paths that others may read. ``memory_bytes`` bounds each process's data
        and what all of them hold together; the copy, /tmp and /dev/shm hold 256 MiB each on top. Await it on a loop
        whose thread outlives the check (the main one): bubblewrap kills when the *thread* that started it ends.
        Cancelling kills all of it. Raises Invalid for a tree that is missing or too large, Broken when bwrap fails.
        """
        await asyncio.to_thread(self._probe)
        _require_folder(tree)
        cage = Cage(
            venv=venv,
            uid=self._uid(),
            read_only={_SOURCE_DIR: tree, **(extra_ro or {})},
            scratch=("/tmp", TREE_DIR),
            env=env or {},
            dies_with_starter=True,
        )
        stage = ["/bin/sh", "-c", _STAGE, "stage", "" if cage.uid is None else str(cage.uid)]
        payload = [*cage.drop(), *limits(memory_bytes=memory_bytes, processes=processes), *argv]
        started_at = self._clock.now()
        with ExitStack() as ours, ExitStack() as theirs:
            info_fd, info_end = _pipe(ours, theirs)
            report_fd, report_end = _pipe(ours, theirs)
            outer = await asyncio.create_subprocess_exec(
                "/usr/bin/nice", "-n", str(nice), *cage.command(self._bwrap, info_end), *stage, *payload,
                stdin=report_end, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                pass_fds=(info_end,), env={"HARNESS_HOME": str(self._home.root)}, start_new_session=True,
            )  # fmt: skip
            ours.pop_all()  # from here on their readers close them
        assert outer.stdout is not None and outer.stderr is not None
        ending = asyncio.gather(capture(outer.stdout), capture(outer.stderr), read_to_end(report_fd), outer.wait())
        meter = Meter(memory_bytes)
        metering = asyncio.create_task(meter.follow(info_fd))
        try:
            either: set[asyncio.Future[Any]] = {ending, metering}
            await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if metering.done() and not meter.exceeded:  # the sandbox is gone: what it printed is still on its way
                await asyncio.wait({ending}, timeout=_STOP_LIMIT_S)
            killed = not ending.done()
        finally:
            if outer.returncode is None:
                outer.kill()  # and with it, by --die-with-parent, everything inside
            metering.cancel()
            stdout, stderr, report, _ = await ending
        if not killed and not report.startswith(b"staged"):
            if meter.seen_inside:
                raise Invalid(f"tree: {tree} could not be copied into the sandbox (256 MiB at most): {stderr[-500:]}")
            raise Broken(f"bubblewrap could not make the sandbox: {stderr[-500:] or 'it said nothing'}")
        return Finished(
            exit_code=None if killed else outer.returncode,
            stdout=stdout,
            stderr=stderr,
            started_at=started_at,
            ended_at=self._clock.now(),
            cpu_s=cpu_of_children_s(report) or meter.cpu_s,
            max_rss_bytes=meter.max_rss_bytes,
            timed_out=killed and not meter.exceeded,
            out_of_memory=killed and meter.exceeded,
        )

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        tree: Path,
        venv: Path,
        socket_dir: Path,
        log_path: Path,
        tag: Tag,
        env: Mapping[str, str] | None = None,
    ) -> ProcessId:
        """Start a release on ``tree`` (read-only at ``TREE_DIR``); it lives on when its starter dies.

        Its only door is ``socket_dir``, which it finds at ``SOCKET_DIR``. Returns the first process inside: it lives
        as long as the release. One that died at once has a start time of 0 and was never alive. Raises Broken when
        bubblewrap fails.
        """
        return await asyncio.to_thread(self._spawn, list(argv), tree, venv, socket_dir, log_path, tag, env or {})

    def _spawn(
        self,
        argv: list[str],
        tree: Path,
        venv: Path,
        socket_dir: Path,
        log_path: Path,
        tag: Tag,
        env: Mapping[str, str],
    ) -> ProcessId:
        self._probe()
        _require_folder(tree)
        cage = Cage(
            venv=venv,
            uid=self._uid(),
            read_only={TREE_DIR: tree},
            writable={SOCKET_DIR: socket_dir},
            env=env,
            dies_with_starter=False,
        )
        if cage.uid is not None:
            os.chown(socket_dir, cage.uid, cage.uid)
        info_fd, info_end = os.pipe()
        payload = [*cage.drop(), *limits(memory_bytes=_RELEASE_MEMORY_BYTES, processes=_PROCESSES), *argv]
        with log_path.open("ab") as log, os.fdopen(info_fd, "rb") as info:
            try:
                log.write(f"--- {self._clock.now().isoformat()} start {tag}\n".encode())
                log.flush()
                outer = subprocess.Popen(
                    [*cage.command(self._bwrap, info_end), *payload],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(info_end,), start_new_session=True,
                    env={"HARNESS_HOME": str(self._home.root), RELEASE_MARK: str(tag)},
                )  # fmt: skip
            finally:
                os.close(info_end)
            answer = info.read()
        self._outer = [*(process for process in self._outer if process.poll() is None), outer]
        if not answer:
            raise Broken(f"bubblewrap could not make the sandbox for {tag}; {log_path} says why")
        child_pid = int(json.loads(answer)["child-pid"])
        self._starts.add(tag, child_pid, self._clock.now())
        return identify(child_pid) or ProcessId(child_pid, 0)

    def releases(self) -> dict[str, ProcessId]:
        """Every living release of this home by its tag, as the process table says it, whoever started it."""
        home = f"HARNESS_HOME={self._home.root}".encode()
        found: dict[str, ProcessId] = {}
        for pid in psutil.pids():
            process = identify(pid)
            entries = _environ(pid)
            mark = f"{RELEASE_MARK}=".encode()
            tags = [entry.removeprefix(mark).decode() for entry in entries if entry.startswith(mark)]
            if process is not None and tags and home in entries and _is_first_in_namespace(pid):
                found[tags[0]] = process
        return found

    def find(self, tag: Tag) -> ProcessId | None:
        """The living release that was started with this tag: what a retry asks before it starts one."""
        process = self.releases().get(str(tag))
        if process is not None and not self._starts.has(tag, process.pid):
            self._starts.add(tag, process.pid, self._clock.now())  # its starter died between the two
        return process

    def alive(self, release: ProcessId) -> bool:
        """Whether it still runs; a zombie does not."""
        self._outer = [process for process in self._outer if process.poll() is None]  # reaps ours
        return is_alive(release)

    async def stop(self, release: ProcessId, grace_s: float) -> None:
        """TERM the release's own process, and KILL the whole sandbox after ``grace_s`` seconds; fine when it is gone.

        A TERM or KILL to the outer bubblewrap would leave everything inside alive.
        """
        loop = asyncio.get_running_loop()
        kill_at = loop.time() + grace_s
        told: list[ProcessId] = []
        while self.alive(release):
            if not told:  # right after its start there is nobody yet to tell
                told = _children(release)
                for payload in told:
                    send(payload, signal.SIGTERM)
            if loop.time() >= kill_at:
                send(release, signal.SIGKILL)
            if loop.time() >= kill_at + _STOP_LIMIT_S:
                raise Broken(f"release: process {release.pid} still lives {_STOP_LIMIT_S:.0f} s after SIGKILL")
            await asyncio.sleep(_STOP_POLL_S)

    def _uid(self) -> int | None:
        """A uid per sandbox, because the limit on processes counts per uid. None when we are no root."""
        return _UIDS[next(self._next_uid) % len(_UIDS)] if os.geteuid() == 0 else None

    def _probe(self) -> None:
        if self._works:
            return
        cage = Cage(venv=Path("/usr"), uid=self._uid(), read_only={}, scratch=(TREE_DIR,), dies_with_starter=False)
        try:
            probe = subprocess.run(
                [*cage.command(self._bwrap), *cage.drop(), *limits(memory_bytes=2**28, processes=64), "/bin/true"],
                capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise Refused(
                f"sandbox: {self._bwrap} is not installed, and agent-written code never runs outside of one; "
                "install bubblewrap (Debian: the package bubblewrap)"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise Retryable(f"sandbox: {self._bwrap} did not run `true` within {_PROBE_TIMEOUT_S} s") from error
        if probe.returncode != 0:
            raise Refused(
                f"sandbox: bubblewrap does not work here ({probe.stderr.strip()[-300:]}); run as root, or allow user "
                "namespaces (sysctl kernel.unprivileged_userns_clone=1), and have util-linux installed"
            )
        self._works = True


def _pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    ours.callback(os.close, read_end)
    theirs.callback(os.close, write_end)
    return read_end, write_end


def _require_folder(tree: Path) -> None:
    if not tree.is_dir():
        raise Invalid(f"tree: {tree} is no folder; build the release first")


def _environ(pid: int) -> list[bytes]:
    try:
        return environment(pid).split(b"\0")
    except OSError:
        return []


def _is_first_in_namespace(pid: int) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    numbers: Iterator[list[str]] = (line.split()[1:] for line in lines if line.startswith("NSpid:"))
    return any(len(pids) > 1 and pids[-1] == "1" for pids in numbers)


def _children(process: ProcessId) -> list[ProcessId]:
    if not is_alive(process):
        return []
    try:
        pids = [child.pid for child in psutil.Process(process.pid).children()]
    except psutil.Error:
        return []
    return [child for child in map(identify, pids) if child is not None]
