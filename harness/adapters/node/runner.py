"""The steps of one release's life on a node: start, answer, serve, retire. Each may be repeated; none remembers.

What they are called for, and in which order, is the agent's; this file knows neither orders nor state.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from datetime import datetime
from pathlib import Path

from harness.adapters.node.http_on_socket import status_of
from harness.adapters.node.routes import Routes
from harness.adapters.node.run_spec import RunSpec
from harness.adapters.node.state import Occupant
from harness.adapters.releases import Release
from harness.adapters.sandbox import SOCKET_DIR, TREE_DIR, Sandbox, Tag
from harness.adapters.stack.home import Home
from harness.core.events import Slot
from harness.core.redaction import Secrets
from harness.ports import Clock

_POLL_S = 0.02
_ANSWER_TIMEOUT_S = 1.0
_APPLIED_TIMEOUT_S = 5.0
_DRAIN_CALL_TIMEOUT_S = 1.0
_SOCKET = "http.sock"
_LOG_BYTES_READ = 64 * 1024
_LAST_LOG_CHARS = 2000


class Runner:
    """Runs releases for the node ``name``. Limits in seconds: until a start counts as failed, until a drain ends."""

    def __init__(
        self, name: str, *, home: Home, sandbox: Sandbox, routes: Routes, clock: Clock, secrets: Secrets,
        ready_limit_s: float, drain_limit_s: float,
    ) -> None:  # fmt: skip
        self._name = name
        self._home = home
        self._sandbox = sandbox
        self._routes = routes
        self._clock = clock
        self._secrets = secrets
        self._ready_limit_s = ready_limit_s
        self._drain_limit_s = drain_limit_s
        self._specs: dict[str, RunSpec] = {}

    async def start(self, release: Release, *, slot: Slot, start: int, key: str, actor: str) -> Occupant:
        """Start the release, or find the one that this very start made before."""
        tag = Tag(key=key, node=self._name, slot=slot, tree=release.tree, start=start)
        # Its own folder: a release that could write beside it could take another one's socket away.
        folder = self._home.sockets.resolve() / f"{self._name}-{slot}-{release.tree[:8]}-{start}"
        folder.mkdir(mode=0o700, exist_ok=True)
        process = await asyncio.to_thread(self._sandbox.find, tag)
        since = self._clock.now()
        if process is None:
            process = await self._sandbox.spawn(
                release.spec.argv(f"{SOCKET_DIR}/{_SOCKET}"),
                tree=release.path,
                venv=release.venv,
                socket_dir=folder,
                log_path=self._log(slot),
                tag=tag,
                env={"PYTHONPATH": f"{TREE_DIR}/{release.spec.build.python_path}"},
            )
        return Occupant(
            commit=release.commit, tree=release.tree, socket=folder / _SOCKET, tag=str(tag), process=process,
            since=since, key=key, actor=actor,
        )  # fmt: skip

    async def await_answer(self, occupant: Occupant, slot: Slot) -> str:
        """Wait until the release has answered on its health route. Returns why it did not; empty when it did."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._ready_limit_s
        route = self._spec(occupant).run.health
        while True:
            if await self.answers(occupant):
                return ""
            if not self.alive(occupant):
                return f"its process ended before it answered {route}; last of its log: {self._last_of_log(slot)}"
            if loop.time() >= deadline:
                limit = f"{self._ready_limit_s:g} s"
                return f"no good answer on {route} within {limit}; last of its log: {self._last_of_log(slot)}"
            await asyncio.sleep(_POLL_S)

    async def answers(self, occupant: Occupant) -> bool:
        """Whether it answers its health route with 2xx, now."""
        route = self._spec(occupant).run.health
        status = await status_of("GET", occupant.socket, route, _ANSWER_TIMEOUT_S)
        return status is not None and 200 <= status < 300

    def alive(self, occupant: Occupant) -> bool:
        """Whether its process runs."""
        return self._sandbox.alive(occupant.process)

    def serve(self, occupant: Occupant, slot: Slot, token: int, note: str) -> str:
        """Give the release the node's requests, others of the slot drain; returns the version to be applied."""
        version = self._routes.swap(slot, self._name, str(occupant.socket), token, note)
        if slot == "stable":
            self._point_operations_at(occupant)
        return version

    async def applied(self, slot: Slot, version: str) -> None:
        """Wait until the data plane does it. Raises Retryable when it does not."""
        await self._routes.applied(f"cluster.{slot}", version, _APPLIED_TIMEOUT_S)

    async def retire(self, occupant: Occupant, slot: Slot, token: int, note: str) -> tuple[datetime, datetime, str]:
        """Take requests away, wait for those in flight, then stop it. Returns the drain's start, its end (the release
        is gone), and what is left.

        What is in flight after the limit is finished by the service itself, within its stop grace.
        """
        socket = str(occupant.socket)
        await self.applied(slot, self._routes.put(slot, self._name, socket, "DRAINING", token, note))
        drain_from = self._clock.now()
        in_flight = await self._wait_until_idle(slot, socket)
        await self.applied(slot, self._routes.remove(slot, self._name, socket, token, note))
        await self.stop(occupant)
        drain_to = self._clock.now()
        left = f"{in_flight} requests in flight after {self._drain_limit_s:g} s of draining" if in_flight else ""
        return drain_from, drain_to, left

    def unroute(self, occupant: Occupant, slot: Slot, token: int, note: str) -> None:
        """Take it out at once: nobody answers there any more."""
        self._routes.remove(slot, self._name, str(occupant.socket), token, note)

    async def stop(self, occupant: Occupant, *, at_once: bool = False) -> None:
        """End it: told to drain, TERM, KILL after its stop grace (or KILL without any of it); forget its socket."""
        run = self._spec(occupant).run
        if not at_once:
            await status_of("POST", occupant.socket, run.drain, _DRAIN_CALL_TIMEOUT_S)  # no answer: TERM says the same
        await self._sandbox.stop(occupant.process, 0.0 if at_once else run.stop_grace_s)
        shutil.rmtree(occupant.socket.parent, ignore_errors=True)
        link = self._operations_link()
        if link.is_symlink() and link.readlink() == self._link_target(occupant):
            link.unlink()

    async def stop_strays(self, known_tags: set[str]) -> None:
        """End releases of this node that nobody remembers: their starter died before it could note them."""
        for tag, process in (await asyncio.to_thread(self._sandbox.releases)).items():
            if tag.startswith(f"{self._name}/") and tag not in known_tags:
                await self._sandbox.stop(process, 0.0)

    async def _wait_until_idle(self, slot: Slot, socket: str) -> int:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_limit_s
        while in_flight := await self._routes.active_requests(slot, socket):
            if loop.time() >= deadline:
                return in_flight
            await asyncio.sleep(_POLL_S)
        return 0

    def _point_operations_at(self, occupant: Occupant) -> None:
        """``<sockets>/<node>.sock`` leads scrapes to the stable release; renamed in, so that it is never missing."""
        link = self._operations_link()
        draft = link.with_name(f".{link.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        draft.symlink_to(self._link_target(occupant))
        draft.replace(link)

    def _operations_link(self) -> Path:
        return self._home.sockets.resolve() / f"{self._name}.sock"

    def _link_target(self, occupant: Occupant) -> Path:
        return Path(occupant.socket.parent.name) / occupant.socket.name

    def _spec(self, occupant: Occupant) -> RunSpec:
        """Read once a tree: a release's folder never changes, and the watch asks five times a second."""
        if occupant.tree not in self._specs:
            manifest = self._home.releases / occupant.tree / "service.yaml"
            self._specs[occupant.tree] = RunSpec.from_manifest_file(manifest)
        return self._specs[occupant.tree]

    def _log(self, slot: Slot) -> Path:
        return self._home.log(f"{self._name}-{slot}")

    def _last_of_log(self, slot: Slot) -> str:
        """Without secrets, and only then cut: half of one could not be told from other text."""
        text = self._log(slot).read_bytes()[-_LOG_BYTES_READ:].decode(errors="replace")
        clean, _ = self._secrets.taken_from_text(text.rpartition("\n--- ")[2])
        return clean[-_LAST_LOG_CHARS:].strip()
