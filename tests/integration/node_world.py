"""A small real world for node tests: a home, a git repository of a tiny service, agents that die on purpose.

Run as a program (``python -m tests.integration.node_world HOME WHEN``) it is a node whose agent takes an order and is
killed by itself: ``answered`` after it, ``started`` before the start is noted, ``routed`` before the swap is noted.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.adapters.clock import SystemClock
from harness.adapters.node.agent import NodeAgent
from harness.adapters.node.routes import Routes
from harness.adapters.releases import ReleaseStore
from harness.adapters.sandbox import Sandbox, Tag
from harness.adapters.stack.home import Home
from harness.adapters.stack.processes import ProcessId
from harness.adapters.stack.sockets import make_sockets, remove_sockets
from harness.core.deployment import NodeOrder, Tells
from harness.core.events import Slot
from harness.core.redaction import Secrets
from harness.simulation.routes import MemoryRoutes

MANIFEST = """\
build: {lock: requirements.lock, python_path: src}
run: {command: [python, -m, tiny, "{socket}"], health: /readyz, drain: /v1/drain, stop_grace: 2s}
"""

SERVICE = '''\
"""Answers every request with its own version."""
import asyncio, signal, sys

VERSION = "@VERSION@"

async def serve(reader, writer):
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        if head.startswith(b"GET /slow"):
            await asyncio.sleep(0.2)
        body = VERSION.encode()
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
        await writer.drain()

async def quietly(reader, writer):
    try:
        await serve(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await asyncio.start_unix_server(quietly, sys.argv[1])
    await stop.wait()
    print("ended in peace", flush=True)

asyncio.run(main())
'''

BROKEN = 'raise SystemExit("no such limit file")\n'
MUTE = "import time\nprint('listening to nobody', flush=True)\ntime.sleep(600)\n"


class ServiceRepo:
    """A bare git repository, and commits put on its main."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(path)], check=True)

    def commit(
        self, code: str, *, files: Mapping[str, str] | None = None, links: Mapping[str, str] | None = None
    ) -> str:
        """A commit on main with this ``src/tiny.py``; ``files`` adds or replaces, ``links`` are symlinks."""
        content = {"service.yaml": MANIFEST, "requirements.lock": "", "src/tiny.py": code, **(files or {})}
        with tempfile.TemporaryDirectory() as name:
            for path, text in content.items():
                file = Path(name, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            for path, target in (links or {}).items():
                Path(name, path).symlink_to(target)
            environment = {
                **os.environ, "GIT_DIR": str(self.path), "GIT_WORK_TREE": name, "GIT_INDEX_FILE": f"{self.path}/index",
                "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@localhost",
                "GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@localhost",
            }  # fmt: skip

            def git(*words: str) -> str:
                done = subprocess.run(["git", *words], env=environment, check=True, capture_output=True, text=True)
                return done.stdout.strip()

            git("-c", "core.bare=false", "add", "--all", "--force", name)
            parent = [word for head in git("for-each-ref", "--format=%(objectname)", "refs/heads/main").split()
                      for word in ("-p", head)]  # fmt: skip
            commit = git("commit-tree", git("write-tree"), "-m", "a change", *parent)
            git("update-ref", "refs/heads/main", commit)
            return commit

    def version(self, name: str) -> str:
        """A commit whose service answers ``name``."""
        return self.commit(SERVICE.replace("@VERSION@", name))


class World:
    """One HARNESS_HOME with a service, and the node n1 on it."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.repo = ServiceRepo(home.repos / "tiny.git")
        self.routes = MemoryRoutes()

    def agent(
        self, *, routes: Routes | None = None, sandbox: Sandbox | None = None, ready_limit_s: float = 10.0,
        drain_limit_s: float = 10.0,
    ) -> NodeAgent:  # fmt: skip
        """The agent of n1, as a process that was just started would make it."""
        return agent_of(
            self.home, routes or self.routes, sandbox, ready_limit_s=ready_limit_s, drain_limit_s=drain_limit_s
        )

    def starts(self) -> list[dict[str, object]]:
        """What the start log says, which nobody but the sandbox writes."""
        log = self.home.root / "releases.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def living(self) -> dict[str, ProcessId]:
        """Releases in the process table, by tag."""
        return Sandbox(home=self.home, clock=SystemClock()).releases()

    def serving(self, slot: Slot = "stable") -> list[str]:
        """Sockets that get new requests."""
        return [sock for (_, sock), state in self.routes.members[slot].items() if state == "HEALTHY"]

    async def killed_agent(self, when: str) -> int:
        """Run a node's agent in a process of its own until it is killed; returns how it ended."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.node_world", str(self.home.root), when, start_new_session=True
        )
        return await process.wait()


def agent_of(
    home: Home, routes: Routes, sandbox: Sandbox | None = None, *, ready_limit_s: float = 10.0,
    drain_limit_s: float = 10.0,
) -> NodeAgent:  # fmt: skip
    return NodeAgent(
        "n1",
        home=home,
        releases=ReleaseStore(home=home, repository=home.repos / "tiny.git"),
        sandbox=sandbox or Sandbox(home=home, clock=SystemClock()),
        routes=routes,
        clock=SystemClock(),
        secrets=Secrets.of({}),
        tells=Tells(route="/v1/limits", field="version"),
        ready_limit_s=ready_limit_s,
        drain_limit_s=drain_limit_s,
    )


@contextmanager
def new_world() -> Iterator[World]:
    """A home in the system's temporary folder; nothing of it runs or lies about afterwards."""
    home = Home(Path(tempfile.mkdtemp(prefix="nw-")))
    for folder in home.folders():
        folder.mkdir(parents=True, exist_ok=True)
    make_sockets(home)
    world = World(home)
    try:
        yield world
    finally:
        for process in world.living().values():
            os.kill(process.pid, signal.SIGKILL)
        remove_sockets(home)
        shutil.rmtree(home.root)


def order(
    key: str, commit: str | None = None, *, verb: str = "swap", slot: str = "stable", token: int = 1
) -> NodeOrder:
    return NodeOrder.model_validate({"verb": verb, "key": key, "token": token, "slot": slot, "commit": commit})


def ask(socket_path: str | Path, route: str = "/v1/who", timeout_s: float = 5.0) -> str:
    """The body that a release answers with."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(socket_path))
        connection.sendall(f"GET {route} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return connection.recv(65536).decode().rpartition("\r\n\r\n")[2]


async def until(fact: Callable[[], object], within_s: float = 30.0) -> float:
    """Wait for a fact; returns the seconds it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not fact():
        assert loop.time() - started < within_s, "not so in time"
        await asyncio.sleep(0.01)
    return loop.time() - started


class SandboxOfADyingAgent(Sandbox):
    """Starts the release, and dies before anybody could note it."""

    async def spawn(
        self, argv: Sequence[str], *, tree: Path, venv: Path, socket_dir: Path, log_path: Path, tag: Tag,
        env: Mapping[str, str] | None = None,
    ) -> ProcessId:  # fmt: skip
        await super().spawn(
            argv, tree=tree, venv=venv, socket_dir=socket_dir, log_path=log_path, tag=tag, env=env
        )  # fmt: skip
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


class RoutesOfADyingAgent(MemoryRoutes):
    """Says that the new release serves, and dies before anybody could note it."""

    def swap(self, cluster: str, node: str, socket: str, token: int, note: str) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


async def _main(root: str, when: str) -> None:
    home = Home(Path(root))
    routes = RoutesOfADyingAgent() if when == "routed" else MemoryRoutes()
    sandbox_type = SandboxOfADyingAgent if when == "started" else Sandbox
    agent = agent_of(home, routes, sandbox_type(home=home, clock=SystemClock()))
    head = ReleaseStore(home=home, repository=home.repos / "tiny.git").head()
    await agent.obey(order("k1", head, verb="place"))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
