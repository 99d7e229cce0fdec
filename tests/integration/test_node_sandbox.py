"""Proves on real bubblewrap what code inside a sandbox can't do, and that nothing of it is left afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.adapters.clock import SystemClock
from harness.adapters.sandbox import TREE_DIR, Finished, Sandbox
from harness.adapters.stack.home import Home
from harness.core.errors import Invalid, Refused

VENV = Path(sys.prefix)
MIB = 1024**2


def why_bubblewrap_cannot_run() -> str:
    if shutil.which("bwrap") is None:
        return "not installed"
    words = ["bwrap", "--unshare-pid", "--unshare-net", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib"]
    words += ["--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "/usr/bin/true"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stderr.strip()


_WHY = why_bubblewrap_cannot_run()
needs_bubblewrap = pytest.mark.skipif(bool(_WHY), reason=f"bubblewrap cannot run here: {_WHY}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because socket paths are limited, and 0700 as a home folder may be."""
    made = Path(tempfile.mkdtemp(prefix="sb-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def tree(folder: Path) -> Path:
    made = folder / "tree"
    made.mkdir(mode=0o700)
    (made / "script.sh").write_text("#!/bin/sh\necho from the tree\n")
    (made / "script.sh").chmod(0o700)
    return made


@pytest.fixture
def sandbox(folder: Path) -> Sandbox:
    return Sandbox(home=Home(folder / "home"), clock=SystemClock())


async def run(sandbox: Sandbox, tree: Path, *argv: str, timeout_s: float = 20, memory_mib: int = 512) -> Finished:
    return await sandbox.run(argv, tree=tree, venv=VENV, timeout_s=timeout_s, memory_bytes=memory_mib * MIB)


def pids_with(word: str) -> list[int]:
    """Living processes with this word in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if word in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


async def until_gone(word: str, within_s: float = 15.0) -> bool:
    deadline = time.monotonic() + within_s
    while pids_with(word):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


@needs_bubblewrap
async def test_a_check_runs_on_a_writable_copy_of_its_tree(sandbox: Sandbox, tree: Path) -> None:
    done = await run(sandbox, tree, "sh", "-c", "./script.sh && echo changed > script.sh && echo new > other && pwd")

    assert (done.exit_code, done.stdout.split("\n")[:2]) == (0, ["from the tree", TREE_DIR]), done.stderr
    assert "from the tree" in (tree / "script.sh").read_text()
    assert not (tree / "other").exists()


@needs_bubblewrap
async def test_python_inside_is_the_one_of_the_venv_and_finds_its_packages(sandbox: Sandbox, tree: Path) -> None:
    done = await run(
        sandbox, tree, "python", "-c", "import sys, pydantic, tempfile; print(sys.prefix, tempfile.mkdtemp())"
    )

    assert done.exit_code == 0, done.stderr
    assert done.stdout.split()[0] == str(VENV)


@needs_bubblewrap
async def test_secrets_of_the_host_are_out_of_reach(
    sandbox: Sandbox, folder: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = folder / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o600)
    (tree / "link").symlink_to(secret)
    monkeypatch.setenv("SOME_API_KEY", "hunter2")
    profile = str(Path.home() / ".bashrc")
    looked_at = [str(secret), "link", "/etc/shadow", "/etc/passwd", profile, f"/proc/{os.getpid()}/environ"]

    read = await run(sandbox, tree, "cat", *looked_at)
    environment = await run(sandbox, tree, "sh", "-c", "env; cat /proc/*/environ")
    listing = await run(sandbox, tree, "ls", "/")

    assert read.exit_code != 0 and read.stdout == ""
    assert "hunter2" not in environment.stdout + environment.stderr
    assert {"etc", "home", "var", "srv", "mnt"} & set(listing.stdout.split()) <= {"etc"}  # etc: the loader's cache only


@needs_bubblewrap
async def test_unix_sockets_of_the_host_are_out_of_reach(sandbox: Sandbox, folder: Path, tree: Path) -> None:
    listening = folder / "docker.sock"  # stands for those of docker and PostgreSQL: anything that listens on the host
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as abstract:
        server.bind(str(listening))
        server.listen()
        abstract.bind(f"\0harness-test-{os.getpid()}")
        abstract.listen()
        connect = (
            "import os, socket, sys\n"
            "for path in sys.argv[1:]:\n"
            "    try:\n"
            "        socket.socket(socket.AF_UNIX).connect(path.replace('@', chr(0)))\n"
            "        print('reached', path)\n"
            "    except OSError as error:\n"
            "        print('refused', path)\n"
        )
        paths = [
            str(listening),
            f"@harness-test-{os.getpid()}",
            "/run/docker.sock",
            "/var/run/postgresql/.s.PGSQL.5432",
        ]
        done = await run(sandbox, tree, "python", "-c", connect, *paths)

    assert done.exit_code == 0, done.stderr
    assert "reached" not in done.stdout and done.stdout.count("refused") == 4


@needs_bubblewrap
async def test_there_is_no_network_not_even_the_hosts_loopback(sandbox: Sandbox, tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = await run(
            sandbox, tree, "python", "-c",
            f"import socket; print(socket.if_nameindex()); socket.create_connection(('127.0.0.1', {port}), 2)",
        )  # fmt: skip

    assert done.exit_code == 1 and "ConnectionRefusedError" in done.stderr
    assert done.stdout.strip() == "[(1, 'lo')]"


@needs_bubblewrap
async def test_no_privilege_is_left_and_the_system_is_read_only(sandbox: Sandbox, tree: Path) -> None:
    done = await run(
        sandbox, tree, "sh", "-c",
        "id -u; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; touch /usr/x /x /dev/x /run/source/x",
    )  # fmt: skip

    assert done.exit_code != 0 and done.stderr.count("touch: ") == 4
    assert done.stdout.split()[0] != "0"
    assert "CapEff:\t0000000000000000" in done.stdout and "NoNewPrivs:\t1" in done.stdout


@needs_bubblewrap
async def test_a_timeout_ends_the_whole_tree_of_processes(sandbox: Sandbox, tree: Path) -> None:
    word = f"31{os.getpid()}.5"
    for timeout_s in (1, 10):  # a sandbox that is made in a stall of the machine has said nothing after a second
        started = time.monotonic()
        done = await run(
            sandbox, tree, "sh", "-c", f"setsid sleep {word} & sleep {word} & echo up; sleep {word}",
            timeout_s=timeout_s,
        )  # fmt: skip
        if done.stdout:
            break

    assert done.timed_out and done.exit_code is None and done.stdout == "up\n"
    assert timeout_s <= time.monotonic() - started < timeout_s + 30
    assert await until_gone(word)


@needs_bubblewrap
async def test_cancelling_ends_the_whole_tree_of_processes(sandbox: Sandbox, tree: Path) -> None:
    word = f"32{os.getpid()}.5"
    task = asyncio.create_task(run(sandbox, tree, "sh", "-c", f"setsid sleep {word} & sleep {word}", timeout_s=60))
    async with asyncio.timeout(10):
        while len(pids_with(word)) < 2:
            await asyncio.sleep(0.02)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await until_gone(word)


@needs_bubblewrap
async def test_a_process_left_behind_ends_with_the_check(sandbox: Sandbox, tree: Path) -> None:
    word = f"33{os.getpid()}.5"
    done = await run(sandbox, tree, "sh", "-c", f"setsid sleep {word} >/dev/null 2>&1 & exit 3")

    assert done.exit_code == 3 and not done.timed_out
    assert await until_gone(word)


@needs_bubblewrap
async def test_a_fork_bomb_stays_within_its_bounds(sandbox: Sandbox, tree: Path) -> None:
    bomb = "import os, time\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.05)\n"
    here, highest = psutil.Process(), 0
    others = set(here.children(recursive=True))  # a server of the session, say
    for timeout_s in (2, 10):  # a bomb that is lit in a stall of the machine has not gone off after two seconds
        task = asyncio.create_task(run(sandbox, tree, "python", "-c", bomb, timeout_s=timeout_s, memory_mib=4096))
        while not task.done():
            highest = max(highest, len(set(here.children(recursive=True)) - others))
            await asyncio.sleep(0.05)
        assert task.result().timed_out
        if highest > 50:
            break

    assert 50 < highest < 256 + 10  # 10: those around it, which have another uid
    assert (await run(sandbox, tree, "echo", "fine")).stdout == "fine\n"


@needs_bubblewrap
async def test_one_process_cannot_take_more_memory_than_allowed(sandbox: Sandbox, tree: Path) -> None:
    done = await run(sandbox, tree, "python", "-c", "x = bytearray(600 * 2**20)", memory_mib=256)

    assert done.exit_code == 1 and "MemoryError" in done.stderr
    assert done.max_rss_bytes < 256 * MIB


@needs_bubblewrap
async def test_many_processes_together_cannot_take_more_memory_than_allowed(sandbox: Sandbox, tree: Path) -> None:
    hog = "import os, time\nfor _ in range(3): os.fork()\nx = os.urandom(60 * 2**20)\ntime.sleep(30)"
    started = time.monotonic()
    done = await run(sandbox, tree, "python", "-c", hog, memory_mib=200)

    assert done.out_of_memory and not done.timed_out and done.exit_code is None
    assert time.monotonic() - started < 60


@needs_bubblewrap
async def test_output_without_end_is_cut_in_the_middle(sandbox: Sandbox, tree: Path) -> None:
    done = await run(sandbox, tree, "sh", "-c", "echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last")

    assert done.exit_code == 0
    assert done.stdout.startswith("first\n") and done.stdout.endswith("\nlast\n")
    assert "bytes left out" in done.stdout and len(done.stdout) < 300_000


@needs_bubblewrap
async def test_what_a_check_used_is_told_and_cannot_be_forged(sandbox: Sandbox, tree: Path) -> None:
    spin = (
        "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\nx = bytearray(64 * 2**20)"
    )
    forge = "for fd in 3 4 5 6 7 8 9; do echo staged 0m9.0s >&$fd; done 2>/dev/null; "
    done = await run(sandbox, tree, "sh", "-c", f"{forge} python -c '{spin}; time.sleep(0.2)'")

    assert done.exit_code == 0, done.stderr
    assert 0.4 <= done.cpu_s < 1.5
    assert 64 * MIB < done.max_rss_bytes < 200 * MIB
    assert 0.5 < (done.ended_at - done.started_at).total_seconds() < 60


@needs_bubblewrap
async def test_a_check_is_nice_and_sees_what_was_added(sandbox: Sandbox, folder: Path, tree: Path) -> None:
    added = folder / "plugin"
    added.mkdir(mode=0o755)
    (added / "fact").write_text("added")
    done = await sandbox.run(
        ["sh", "-c", 'nice; cat /opt/plugin/fact; echo " $COLOUR"'],
        tree=tree, venv=VENV, timeout_s=10, memory_bytes=256 * MIB,
        extra_ro={"/opt/plugin": added}, env={"COLOUR": "red"},
    )  # fmt: skip

    assert done.stdout == "19\nadded red\n", done.stderr


@needs_bubblewrap
async def test_a_tree_that_does_not_fit_or_is_missing_is_refused(sandbox: Sandbox, folder: Path, tree: Path) -> None:
    with (tree / "huge").open("wb") as file:
        for _ in range(300):
            file.write(bytes(MIB))
    with pytest.raises(Invalid, match="could not be copied"):
        await run(sandbox, tree, "true")
    with pytest.raises(Invalid, match="is no folder"):
        await run(sandbox, folder / "nowhere", "true")


@needs_bubblewrap
async def test_it_works_from_a_loop_in_another_thread_that_lives_on(sandbox: Sandbox, tree: Path) -> None:
    outcomes: list[Finished] = []
    thread = threading.Thread(target=lambda: outcomes.append(asyncio.run(run(sandbox, tree, "echo", "hello"))))
    thread.start()
    await asyncio.to_thread(thread.join)

    assert outcomes[0].stdout == "hello\n"


async def test_without_bubblewrap_nothing_runs(folder: Path, tree: Path) -> None:
    sandbox = Sandbox(home=Home(folder / "home"), clock=SystemClock(), bwrap="no-such-bubblewrap")
    with pytest.raises(Refused, match="install bubblewrap"):
        await run(sandbox, tree, "true")
