"""The fleet of a stack follows its machines: one that dies takes all with it, and only the provider brings another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.adapters.stack.bring_down import bring_down
from harness.adapters.stack.bring_up import bring_up
from harness.adapters.stack.home import Home
from harness.adapters.stack.machines import LocalMachines
from harness.adapters.stack.plan import NODES, Component, Plan, Ready
from harness.adapters.stack.processes import ProcessId, environment, identify, is_alive, members
from harness.adapters.stack.report import report
from harness.adapters.stack.state import State
from scenarios.machines import drawn, power_off

AGENT = """
import signal, subprocess, sys
from pathlib import Path
from harness.adapters.stack.home import Home
from harness.adapters.stack.readiness import announce
home, node = sys.argv[1:]
# A release as the sandbox starts it: in a session of its own, told from others by its environment.
subprocess.Popen(["sleep", "300"], start_new_session=True,
                 env={"HARNESS_HOME": home, "HARNESS_RELEASE": f"{node}/stable/tree/1/key", "PATH": "/usr/bin:/bin"})
announce(Home(Path(home)), f"node-{node}")
signal.pause()
"""
LAST = """
import signal, sys
from pathlib import Path
from harness.adapters.stack.home import Home
from harness.adapters.stack.readiness import announce
announce(Home(Path(sys.argv[1])), "users")
signal.pause()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path.resolve())
    for folder in home.folders():
        folder.mkdir()
    LocalMachines(home).prepare()
    yield home
    bring_down(home, say=print)
    for sleeper in releases(home):
        os.kill(sleeper.pid, signal.SIGKILL)


def plan(home: Home) -> Plan:
    node = Component(
        name="node-{node}", argv=(sys.executable, "-c", AGENT, str(home.root), "{node}"), ready=Ready(announced=True)
    )
    argv = (sys.executable, "-c", LAST, str(home.root))
    users = Component(name="users", argv=argv, ready=Ready(announced=True), depends_on=(NODES,))
    return Plan(components=(users,), node=node)


def start(home: Home) -> list[str]:
    lines: list[str] = []
    bring_up(home, lambda: plan(home), say=lines.append, within_s=30)
    return [line.split()[0] for line in lines]


def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the evidence did not come in time"
        time.sleep(0.02)


def agent(home: Home, node: str) -> ProcessId | None:
    state = State.read_living(home)
    assert state is not None
    record = state.components.get(f"node-{node}")
    return record.process if record is not None and record.phase == "up" else None


def releases(home: Home, node: str = "") -> list[ProcessId]:
    wanted = (f"HARNESS_HOME={home.root}".encode(), f"HARNESS_RELEASE={node}".encode())
    found = []
    for pid in psutil.pids():
        try:
            entries = environment(pid).split(b"\0")
        except OSError:
            continue
        if wanted[0] in entries and any(entry.startswith(wanted[1]) for entry in entries):
            found.append(identify(pid))
    return [process for process in found if process is not None]


def test_a_machine_that_dies_takes_everything_with_it_and_is_not_brought_back(home: Home) -> None:
    # given a fleet of three nodes with a release each
    assert set(start(home)) == {"node-n1", "node-n2", "node-n3", "users"}
    lost, kept = agent(home, "n2"), agent(home, "n3")
    assert lost is not None and len(releases(home)) == 3

    # when another hand takes a machine away
    power_off(home.root, "n2")

    # then its agent and its release are gone and stay so, and the others are left alone
    until(lambda: "node-n2" not in (State.read(home) or pytest.fail()).components)
    assert not is_alive(lost) and releases(home, "n2/") == [] and len(releases(home)) == 2
    assert [part.name for part in report(home, names=()).components] == ["node-n1", "node-n3", "users"]
    # and when the supervisor has followed the fleet again, to a machine that came and went, it had not brought it back
    later = LocalMachines(home).start("INF-1/1/unit-1")
    until(lambda: agent(home, later))
    assert agent(home, "n2") is None and agent(home, "n3") == kept
    LocalMachines(home).remove(later, "INF-1/1/rollback/1")
    until(lambda: releases(home, f"{later}/") == [] and len(State.read(home).components) == 3)  # type: ignore[union-attr]

    # and a second `up` starts nothing in its place, nor the stack anew
    assert set(start(home)) == {"node-n1", "node-n3", "users"}
    assert agent(home, "n3") == kept and len(releases(home)) == 2


def test_the_record_alone_is_the_power_of_a_machine(home: Home) -> None:
    # given a running fleet
    start(home)
    lost = agent(home, "n1")
    assert lost is not None

    # when a machine's record is gone, then what ran there is killed, its release too
    LocalMachines(home).remove("n1", "INF-1/1/unit-2")
    until(lambda: not is_alive(lost) and releases(home, "n1/") == [])


def test_the_provider_brings_a_node_that_outlives_what_started_it_and_ends_with_the_stack(home: Home) -> None:
    # given a fleet of which one machine died
    start(home)
    power_off(home.root, "n3")

    # when a node is started, twice under one key, by a process that dies right after
    program = (
        "import os, sys; from pathlib import Path; from harness.adapters.stack.home import Home; "
        "from harness.adapters.stack.machines import LocalMachines; "
        "LocalMachines(Home(Path(sys.argv[1]))).start('INF-1/1/unit-1'); os.kill(os.getpid(), 9)"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(home.root)], check=False)

    # then one node comes, and serves
    until(lambda: agent(home, "n4"))
    assert LocalMachines(home).nodes() == ("n1", "n2", "n4") and len(releases(home, "n4/")) == 1

    # and it is kept running like any other, and ends with the stack
    first = agent(home, "n4")
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: agent(home, "n4") not in (None, first))
    bring_down(home, say=print)
    assert not any("sleep" not in member.name for member in members(home))


def test_the_seed_draws_which_machine_dies() -> None:
    draws = [drawn(["n2", "n1", "n3"], 1, seed) for seed in range(20)]
    assert draws == [drawn(["n1", "n2", "n3"], 1, seed) for seed in range(20)]
    assert {one for (one,) in draws} == {"n1", "n2", "n3"}
