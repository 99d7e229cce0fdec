"""Proves that a stack is kept running and ends whole, with real processes that stand in for its parts."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.adapters.stack.bring_down import bring_down
from harness.adapters.stack.bring_up import bring_up
from harness.adapters.stack.home import Home
from harness.adapters.stack.plan import Component, Plan, Ready
from harness.adapters.stack.processes import ProcessId, identify, is_alive, members
from harness.adapters.stack.report import ComponentReport, report
from harness.adapters.stack.sockets import make_sockets
from harness.adapters.stack.state import State
from harness.core.errors import Retryable
from tests.integration.ports import free_port

ANNOUNCES = """
import signal, sys
from pathlib import Path
from harness.adapters.stack.home import Home
from harness.adapters.stack.readiness import announce
announce(Home(Path(sys.argv[1])), sys.argv[2])
signal.pause()
"""
BWRAP_PROBE = ["bwrap", "--unshare-pid", "--ro-bind", "/", "/", "true"]
STARTS_A_GRANDCHILD = "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True)\n" + ANNOUNCES
STARTS_A_RELEASE = (
    """
import subprocess, sys
subprocess.Popen(
    ["bwrap", "--unshare-pid", "--clearenv", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin",
     "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
     "--bind", sys.argv[1] + "/releases", "/release", "/bin/sleep", "300"],
    start_new_session=True,
)
"""
    + ANNOUNCES
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path.resolve())
    for folder in home.folders():
        folder.mkdir()
    yield home
    bring_down(home, say=print)


def announcing(home: Home, name: str, program: str = ANNOUNCES, depends_on: tuple[str, ...] = ()) -> Component:
    argv = (sys.executable, "-c", program, str(home.root), name)
    return Component(name=name, argv=argv, ready=Ready(announced=True), depends_on=depends_on, stop_grace_s=1.0)


def start(home: Home, *components: Component, within_s: float = 30.0) -> list[str]:
    lines: list[str] = []
    bring_up(home, lambda: Plan(components=components), say=lines.append, within_s=within_s)
    return lines


def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the evidence did not come in time"
        time.sleep(0.02)


def process_of(home: Home, name: str) -> ProcessId:
    state = State.read_living(home)
    assert state is not None
    process = state.components[name].process
    assert process is not None
    return process


def part(home: Home, name: str) -> ComponentReport:
    return next(component for component in report(home, names=()).components if component.name == name)


def test_a_second_up_finds_all_well_and_starts_nothing(home: Home) -> None:
    # given two parts, one of which needs the other
    parts = (announcing(home, "store"), announcing(home, "reader", depends_on=("store",)))
    lines = start(home, *parts)
    assert [line.split()[0] for line in lines] == ["store", "reader"]
    before = [process_of(home, name) for name in ("store", "reader")]

    # when it is brought up again
    started = time.monotonic()
    start(home, *parts)

    # then it takes a moment, and the same processes serve
    assert time.monotonic() - started < 10
    assert [process_of(home, name) for name in ("store", "reader")] == before
    until(lambda: report(home, names=()).all_up)


def test_a_killed_part_is_started_again_and_its_death_is_recorded(home: Home) -> None:
    # given a running part with a child of its own
    start(home, announcing(home, "store"), announcing(home, "reader"))
    killed, untouched = process_of(home, "store"), process_of(home, "reader")

    # when it is killed
    os.kill(killed.pid, signal.SIGKILL)
    until(lambda: not is_alive(killed))

    # then another one serves, the death is on record, and the other part was left alone
    until(lambda: part(home, "store").state == "up")
    seen = part(home, "store")
    assert seen.pid != killed.pid
    assert (seen.restarts, seen.last_exit) == (1, "signal SIGKILL")
    assert seen.last_exit_at is not None
    assert process_of(home, "reader") == untouched


def children(supervisor: ProcessId) -> list[psutil.Process]:
    try:
        return psutil.Process(supervisor.pid).children()
    except psutil.Error:
        return []


def test_a_supervisor_that_cannot_write_goes_on_and_repairs_once_it_can(home: Home) -> None:
    # given a supervisor whose writes fail, as on a full disk
    start(home, announcing(home, "store"), announcing(home, "reader"))
    state = State.read_living(home)
    assert state is not None
    untouched = process_of(home, "reader")
    resource.prlimit(state.supervisor.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    # when a part dies meanwhile, and the one that is started for it cannot write either
    killed = process_of(home, "store")
    os.kill(killed.pid, signal.SIGKILL)
    until(lambda: {child.pid for child in children(state.supervisor)} - {killed.pid, untouched.pid})

    # then nothing else was taken down, and with space again the part comes back
    assert is_alive(state.supervisor) and is_alive(untouched)
    resource.prlimit(state.supervisor.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    until(lambda: report(home, names=()).all_up)
    assert process_of(home, "reader") == untouched


def test_up_after_the_supervisor_was_killed_leaves_no_duplicate(home: Home) -> None:
    # given a part with a grandchild in a session of its own, which no parent-death signal reaches
    store = announcing(home, "store", STARTS_A_GRANDCHILD)
    start(home, store)
    state = State.read_living(home)
    assert state is not None
    old = [member.process for member in members(home)]
    assert len(old) == 3  # the supervisor, the part, its grandchild

    # when the supervisor is killed and the stack brought up again
    os.kill(state.supervisor.pid, signal.SIGKILL)
    until(lambda: not is_alive(state.supervisor))
    start(home, store)

    # then everything old is gone and everything new is there once
    assert not any(is_alive(process) for process in old)
    assert Counter(member.name for member in members(home))["sleep"] == 1
    assert len(members(home)) == 3


def test_a_release_outlives_the_supervisor_but_not_down(home: Home) -> None:
    if subprocess.run(BWRAP_PROBE, capture_output=True, check=False).returncode != 0:
        pytest.skip("bubblewrap cannot run here, so no release can be started")
    # given a part that started a sandboxed release, whose environment is empty
    store = announcing(home, "store", STARTS_A_RELEASE)
    start(home, store)
    until(lambda: any(member.name == "sleep" for member in members(home)))
    release = next(member for member in members(home) if member.name == "sleep")
    assert release.in_sandbox
    state = State.read_living(home)
    assert state is not None

    # when the supervisor is killed and the stack repaired
    os.kill(state.supervisor.pid, signal.SIGKILL)
    until(lambda: not is_alive(state.supervisor))
    start(home, announcing(home, "store", STARTS_A_RELEASE))

    # then the release is there still; down ends it
    assert is_alive(release.process)
    bring_down(home, say=print)
    assert not is_alive(release.process)
    assert members(home) == []


def test_down_leaves_nothing_and_spares_who_only_has_the_same_environment(home: Home) -> None:
    # given a stack with a grandchild, and a person's own process with the same HARNESS_HOME
    start(home, announcing(home, "store", STARTS_A_GRANDCHILD))
    sockets = make_sockets(home)
    bystander = subprocess.Popen(["sleep", "300"], env={**os.environ, "HARNESS_HOME": str(home.root)})
    try:
        # when it is brought down, twice
        ended = bring_down(home, say=print)
        again = bring_down(home, say=print)

        # then only the bystander is left, and the short folder is gone
        assert {member.name for member in ended} >= {"sleep"}
        assert again == []
        assert members(home) == []
        assert identify(bystander.pid) is not None
        assert not sockets.exists()
        assert not home.sockets.is_symlink()
        assert report(home, names=()).components[0].state == "down"
    finally:
        bystander.kill()
        bystander.wait()


def test_down_finds_a_stack_whose_folder_was_removed(home: Home) -> None:
    # given a running stack
    start(home, announcing(home, "store"))

    # when someone removes its files, and then brings it down
    for file in home.run.iterdir():
        file.unlink()
    home.run.rmdir()
    bring_down(home, say=print)

    # then nothing runs
    assert members(home) == []


def test_a_part_that_keeps_dying_is_reported_with_the_end_of_its_log(home: Home) -> None:
    # given a part that can't start, one that needs it, and one that is fine
    broken = announcing(home, "broken", "raise SystemExit('no such licence')")
    needy = announcing(home, "needy", depends_on=("broken",))

    # when the stack is brought up, then it says which, why, where to look and what waits
    with pytest.raises(Retryable) as refused:
        start(home, announcing(home, "fine"), broken, needy)
    message = str(refused.value)
    assert message.startswith("broken: died 3 times, last with exit status 1")
    assert "no such licence" in message
    assert str(home.log("broken")) in message
    until(lambda: part(home, "fine").state == "up")
    assert part(home, "needy").state == "down"


def test_an_up_whose_time_is_over_before_anything_began_says_what_is_not_ready(home: Home) -> None:
    # given an up that may take no time, so that all that the supervisor has said is that its parts wait
    parts = (announcing(home, "store"), announcing(home, "reader", depends_on=("store",)))

    # when it is over, then a part is named, as ever, and the rest goes on: another up finds it well
    with pytest.raises(Retryable, match=r"(store|reader): not ready within 0 s"):
        start(home, *parts, within_s=0.0)
    start(home, *parts)


def test_a_port_that_somebody_else_answers_proves_nothing(home: Home) -> None:
    # given a port in the hands of another process, and a part that should serve there and does not
    with socket.create_server(("127.0.0.1", 0)) as other:
        silent = Component(name="silent", argv=("sleep", "300"), ready=Ready(ports=(other.getsockname()[1],)))

        # when it is brought up, then it does not count as ready
        with pytest.raises(Retryable, match="silent: not ready within"):
            start(home, silent, within_s=1.0)
        until(lambda: part(home, "silent").state == "degraded")


def test_a_part_that_does_not_get_ready_in_its_time_is_started_anew(home: Home) -> None:
    # given a part that runs and never says that it serves
    slow = Component(name="slow", argv=("sleep", "300"), ready=Ready(announced=True), ready_within_s=0.2)

    # when it is brought up, then it was tried again, and the reason is given
    with pytest.raises(Retryable, match=r"slow: died 3 times, last with being killed, not ready within 0\.2 s"):
        start(home, slow)


def test_up_repairs_a_part_that_hangs(home: Home) -> None:
    # given a server that serves, and then does not go on
    port = free_port()
    argv = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(home.run))
    server = Component(name="server", argv=argv, ready=Ready(ports=(port,), url=f"http://127.0.0.1:{port}/"))
    start(home, server)
    hanging = process_of(home, "server")
    os.kill(hanging.pid, signal.SIGSTOP)
    assert part(home, "server").state == "degraded"

    # when the stack is brought up again
    lines = start(home, server)

    # then it says so, and another one serves
    assert f"server runs as pid {hanging.pid} but does not answer" in lines[0]
    until(lambda: part(home, "server").state == "up")
    assert not is_alive(hanging)


def test_two_ups_at_once_make_one_stack(home: Home) -> None:
    # given two commands that start the same stack at the same time
    store = announcing(home, "store")
    said: list[list[str]] = []
    ups = [threading.Thread(target=lambda: said.append(start(home, store))) for _ in range(2)]

    # when both run
    for thread in ups:
        thread.start()
    for thread in ups:
        thread.join()

    # then both end well, one of them waited and said so, and there is one stack
    assert len(said) == 2
    assert sum("waiting for it" in line for lines in said for line in lines) == 1
    assert len(members(home)) == 2


def test_other_settings_start_the_stack_anew(home: Home) -> None:
    # given a stack of one part
    start(home, announcing(home, "store"))
    old = process_of(home, "store")

    # when it is brought up with another part beside it
    lines = start(home, announcing(home, "store"), announcing(home, "reader"))

    # then it says so and runs what was asked for
    assert "other settings" in lines[0]
    assert not is_alive(old)
    until(lambda: report(home, names=()).all_up)
