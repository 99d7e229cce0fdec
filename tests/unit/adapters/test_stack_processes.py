"""A process is its pid and its start time: what is known about one, and who is signalled."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.adapters.stack.home import Home
from harness.adapters.stack.processes import MARK, ProcessId, identify, is_alive, is_marked, send
from harness.adapters.stack.readiness import announce, announced


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], env={"HARNESS_HOME": "/home/var", MARK: "worker"})
    yield process
    process.kill()
    process.wait()


def test_a_zombie_is_no_process(sleeper: subprocess.Popen[bytes]) -> None:
    # given a child that has ended and that nobody has asked for its exit status
    process = identify(sleeper.pid)
    assert process is not None
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)

    # then its pid is still taken, and it does not count as alive
    os.kill(sleeper.pid, 0)
    assert identify(sleeper.pid) is None
    assert not is_alive(process)


def test_a_pid_that_was_used_again_is_not_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    # given the record of a process that is gone and whose pid another one has now
    process = identify(sleeper.pid)
    assert process is not None
    gone = ProcessId(process.pid, process.started_ticks - 1)

    # when the record is signalled, then the new one lives
    send(gone, signal.SIGKILL)
    assert is_alive(process)
    assert not is_alive(gone)

    # and its own record ends it
    send(process, signal.SIGKILL)
    assert sleeper.wait() == -signal.SIGKILL


def test_a_process_belongs_to_the_home_that_its_environment_names(sleeper: subprocess.Popen[bytes]) -> None:
    process = identify(sleeper.pid)
    assert process is not None
    assert is_marked(process, Home(Path("/home/var")))
    assert not is_marked(process, Home(Path("/home/var2")))
    assert not is_marked(process, Home(Path("/home")))


def test_a_ready_file_counts_only_while_its_writer_lives(tmp_path: Path) -> None:
    # given a home in which this process announced itself
    home = Home(tmp_path)
    home.run.mkdir()
    announce(home, "worker")
    assert announced(home, "worker") == identify(os.getpid())

    # when the file is of an earlier process with the same pid, or there is none, then nobody is ready
    home.ready_file("worker").write_text(f"{os.getpid()} 1\n")
    assert announced(home, "worker") is None
    assert announced(home, "node-n1") is None
