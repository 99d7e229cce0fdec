"""Proves that the real Temporal, Prometheus and Envoy come up, are repaired and go away. Loopback only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.adapters.stack.addresses import Addresses
from harness.adapters.stack.bring_down import bring_down
from harness.adapters.stack.bring_up import bring_up
from harness.adapters.stack.home import Home
from harness.adapters.stack.plan import Plan
from harness.adapters.stack.prepare import prepare
from harness.adapters.stack.processes import is_alive, members
from harness.adapters.stack.report import report
from harness.adapters.stack.state import State
from harness.core.errors import Retryable

STANDING = ("temporal", "prometheus", "envoy")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path.resolve() / "var")
    yield home
    bring_down(home, say=print)


def standing_plan(home: Home, checkout: Path, temporal: str | None = None) -> Callable[[], Plan]:
    """The real plan without the parts that are the harness's own programs."""

    def make() -> Plan:
        plan = prepare(
            home, checkout=checkout, temporal=temporal, namespace="default", prometheus=None, agent="runbook"
        )
        standing = tuple(part for part in plan.components if part.name in STANDING)
        return replace(plan, components=standing, node=None)

    return make


def pids(home: Home) -> dict[str, int | None]:
    return {part.name: part.pid for part in report(home, names=()).components}


def test_the_real_parts_come_up_are_repaired_and_leave_nothing(home: Home, tmp_path: Path) -> None:
    # given an empty home, when its stack is brought up
    lines: list[str] = []
    plan = standing_plan(home, tmp_path)
    bring_up(home, plan, say=lines.append)

    # then every part says so and answers at the address on file
    assert {line.split()[0] for line in lines} == set(STANDING)
    addresses = Addresses.read(home)
    assert urllib.request.urlopen(f"{addresses.prometheus}/-/ready", timeout=2).status == 200
    assert urllib.request.urlopen(f"{addresses.url('envoy_admin')}/ready", timeout=2).status == 200
    assert home.sockets.resolve() == Path(addresses.sockets)
    assert len(addresses.sockets) < 40

    # when it is brought up again, then nothing is started and it takes a moment
    before = pids(home)
    started = time.monotonic()
    bring_up(home, plan, say=print)
    assert time.monotonic() - started < 10
    assert pids(home) == before

    # when the supervisor and, with it, everything is killed, then the next up repairs it on the same ports
    state = State.read_living(home)
    assert state is not None
    os.kill(state.supervisor.pid, signal.SIGKILL)
    bring_up(home, plan, say=print)
    assert report(home, names=()).all_up
    assert set(pids(home).values()).isdisjoint(before.values())
    assert Addresses.read(home) == addresses

    # when Temporal alone is killed, then the supervisor repairs it
    killed = State.read_living(home)
    assert killed is not None
    temporal = killed.components["temporal"].process
    assert temporal is not None
    os.kill(temporal.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while is_alive(temporal) or not report(home, names=()).all_up:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    # when it is brought down, then nothing is left
    bring_down(home, say=print)
    assert members(home) == []
    assert not Path(addresses.sockets).exists()


def test_a_temporal_of_somebody_else_that_is_away_is_named(home: Home, tmp_path: Path) -> None:
    with pytest.raises(Retryable, match=r"temporal: not reachable at 127\.0\.0\.1:1 .* TEMPORAL_ADDRESS"):
        bring_up(home, standing_plan(home, tmp_path, temporal="127.0.0.1:1"), say=print)
    assert members(home) == []


def test_an_interrupted_up_says_how_to_go_on_and_down_ends_it(home: Home) -> None:
    # given `harness up` of the whole stack, as a person runs it
    environ = {**os.environ, "HARNESS_HOME": str(home.root)}
    program = "import typer; from harness.cli.stack import up; typer.run(up)"
    command = subprocess.Popen(
        [sys.executable, "-c", program], env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    assert command.stdout.readline().startswith("token of the HTTP interface")  # a home that is new
    assert command.stdout.readline().endswith(" s\n")

    # when Ctrl-C is pressed after the first part got ready
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=30)

    # then it ends as interrupted, without a traceback, and `harness down` ends what goes on
    assert command.returncode == 130
    assert "harness down" in errors
    assert "Traceback" not in errors
    bring_down(home, say=print)
    assert members(home) == []
