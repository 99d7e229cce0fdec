"""A real Temporal server as the stack starts it, on free ports, and the stages of a ticket as a few lines of a file.

Run as a program (``python -m tests.integration.temporal_world ADDRESS FOLDER``) it is a worker for tickets until it is
killed: its stages keep what they do in the folder, so that another worker can go on.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from harness.adapters.stack.addresses import choose_addresses
from harness.adapters.stack.components import Wanted, stack_plan
from harness.adapters.stack.home import Home
from harness.adapters.stack.programs import find_programs
from harness.adapters.temporal import HARNESS_QUEUE, connect
from harness.core.action import Effect
from harness.core.command import EVENT_OF, Command, refuse_unless_open
from harness.core.errors import HarnessError, Invalid
from harness.core.lifecycle import ENDS, Life, State, evolve
from harness.core.redaction import Secrets
from workflows.agent_session import AgentSession
from workflows.edge import HEARTBEATS_TOLD_EVERY, at_the_edge
from workflows.ticket import TicketWorkflow
from workflows.worker import STICKY_TIMEOUT

NAMESPACE = "default"
NO_SECRETS = Secrets.of({})
STEPS = 3


class Server:
    """Temporal with the stack's own command line; ``start`` after ``stop`` is on the same port and data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._home = Home(folder)
        for made in self._home.folders():
            made.mkdir(parents=True, exist_ok=True)
        addresses = choose_addresses(
            self._home, sockets="", temporal=None, namespace=NAMESPACE, prometheus="http://127.0.0.1:9"
        )
        plan = stack_plan(
            Wanted(
                home=self._home, addresses=addresses,
                programs=find_programs(own_temporal=True, own_prometheus=False), checkout=folder, envoy_command=(),
                prometheus_config=folder, agent="runbook", own_prometheus=False,
            )
        )  # fmt: skip
        self._component = next(part for part in plan.components if part.name == "temporal")
        self._process: subprocess.Popen[bytes] | None = None
        self.address = addresses.temporal

    def start(self) -> None:
        """Returns when it answers."""
        command = ["setpriv", "--pdeathsig", "KILL", "--", *self._component.argv]
        with (self._home.root / "temporal.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ready = self._component.ready
        assert ready.url is not None
        until(lambda: ready.contains in _read(str(ready.url)), within_s=60)

    def stop(self) -> None:
        """As a machine that fails would stop it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lose(self) -> None:
        """As a disk that fails: it is gone, and comes back without anything that it knew."""
        self.stop()
        for part in self._home.root.glob(f"{self._home.temporal.name}*"):
            part.unlink()

    async def client(self) -> Client:
        """A client on the loop that runs."""
        return await connect(self.address, NAMESPACE, NO_SECRETS)


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs; nothing of it runs or lies about afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tw-"))
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def until(fact: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait for a fact, outside of any loop."""
    deadline = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.02)


async def eventually(fact: Callable[[], Awaitable[object]], within_s: float = 20.0) -> Any:
    """Wait for a fact on the loop, and return it."""
    deadline = time.monotonic() + within_s
    while not (seen := await fact()):
        assert time.monotonic() < deadline, "not so in time"
        await asyncio.sleep(0.02)
    return seen


class Stages:
    """The activities of a ticket by their real names; what they do and where the ticket is are files in ``folder``.

    ``script`` says by stage what its calls do, one after the other: a state to go to, or an error to raise; the last
    one stays. ``ends_at``: the step at which the agent ends its session. While the file ``hold-<stage>`` exists, that
    stage waits.
    """

    def __init__(self, folder: Path, script: dict[str, Sequence[State | HarnessError]], *, ends_at: int = 2) -> None:
        self._folder = folder
        self._script = {stage: list(steps) for stage, steps in script.items()}
        self._ends_at = ends_at
        self._held: tuple[State, ...] = ()

    def calls(self, *, by: str = "call") -> list[Any]:
        """What was called, in order; ``by="pid"`` gives the processes that did it."""
        try:
            lines = (self._folder / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line)[by] for line in lines]

    def _note(self, *call: object) -> None:
        line = json.dumps({"call": list(call) if len(call) > 1 else call[0], "pid": os.getpid()})
        with (self._folder / "calls").open("a") as file:
            file.write(line + "\n")

    def rests_for_a_person(self) -> bool:
        """Whether nothing is done until somebody says something."""
        return not (self._folder / "rest").exists() and self.calls()[-1:] == ["rest"]

    def state(self) -> str:
        try:
            return (self._folder / "state").read_text()
        except FileNotFoundError:
            return str(State.FILED)

    async def _do(self, stage: str) -> str:
        async with at_the_edge():
            self._note(stage)
            while (self._folder / f"hold-{stage}").exists():
                await asyncio.sleep(0.02)
            steps = self._script[stage]
            step = steps.pop(0) if len(steps) > 1 else steps[0]
            if isinstance(step, HarnessError):
                raise step
            (self._folder / "state").write_text(step)
            return str(step)

    @activity.defn
    async def look(self, ticket_id: str) -> str:
        """Where the ticket is."""
        return self.state()

    @activity.defn
    async def rest(self, ticket_id: str) -> float | None:
        """As long as the file ``rest`` says, for a person when there is none. In the state that the file
        ``no-rest-when`` names it is refused."""
        self._note("rest")
        if (named := self._folder / "no-rest-when").exists() and named.read_text() == self.state():
            async with at_the_edge():
                raise Invalid("its hours never end")
        try:
            return float((self._folder / "rest").read_text())
        except FileNotFoundError:
            return None

    @activity.defn
    async def open_window(self, ticket_id: str) -> str:
        """The time has come."""
        return await self._do("open_window")

    @activity.defn
    async def obey(self, ticket_id: str, told: Command) -> str:
        """Goes where the table says, or refuses as the harness would. A pause remembers where it was."""
        async with at_the_edge():
            self._note("obey", told.verb)
            life = Life(state=State(self.state()), held=self._held, attempt=1, admitted=True)
            refuse_unless_open(life.state, told.verb)
            event = EVENT_OF[told.verb].model_construct(final=told.final)
            after = evolve(life, event)
            self._held = after.held
            (self._folder / "state").write_text(after.state)
            return str(after.state)

    @activity.defn
    async def escalate(self, ticket_id: str, reason: str) -> str:
        """Keeps the reason; is refused as often as the script says."""
        async with at_the_edge():
            self._note("escalate", reason)
            if refusals := self._script.get("escalate"):
                error = refusals.pop(0)
                assert isinstance(error, HarnessError)
                raise error
            (self._folder / "state").write_text(State.ESCALATED)
            return str(State.ESCALATED)

    @activity.defn
    async def begin_attempt(self, ticket_id: str) -> int:
        """As many steps as the script's ``begin_attempt`` state allows: none when a human was called."""
        return STEPS if await self._do("begin_attempt") == State.WORKING else 0

    @activity.defn
    async def think(self, ticket_id: str, step: int) -> Effect:
        """Always has a thought: to work first, to look then, and to end the session at the step that was agreed."""
        self._note("think", step)
        return "end" if step == self._ends_at else "work" if step == 1 else "read"

    @activity.defn
    async def act(self, ticket_id: str, step: int) -> bool:
        """Ends the session at the step that was agreed."""
        self._note("act", step)
        if step == self._ends_at:
            await self._do("work")
        return step == self._ends_at

    @activity.defn
    async def give_up(self, ticket_id: str) -> str:
        """A limit ended the session."""
        return await self._do("give_up")

    @activity.defn
    async def admit(self, ticket_id: str) -> str:
        """Scripted."""
        return await self._do("admit")

    @activity.defn
    async def test(self, ticket_id: str) -> str:
        """Scripted."""
        return await self._do("test")

    @activity.defn
    async def canary(self, ticket_id: str) -> str:
        """Scripted."""
        return await self._do("canary")

    @activity.defn
    async def deploy(self, ticket_id: str) -> str:
        """Scripted."""
        return await self._do("deploy")

    @activity.defn
    async def verify(self, ticket_id: str) -> str:
        """Scripted."""
        return await self._do("verify")

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.look, self.escalate, self.begin_attempt, self.think, self.act, self.give_up, self.admit,
                self.test, self.canary, self.deploy, self.verify, self.rest, self.open_window, self.obey]  # fmt: skip


SMOOTH: dict[str, Sequence[State | HarnessError]] = {
    "admit": [State.ADMITTED], "begin_attempt": [State.WORKING], "work": [State.TESTING],
    "give_up": [State.ESCALATED], "test": [State.CANARYING], "canary": [State.DEPLOYING],
    "deploy": [State.VERIFYING], "verify": [State.RESOLVED], "open_window": [State.WORKING],
}  # fmt: skip
"""A ticket to which nothing happens on its way."""


async def left(client: Client, ticket_id: str, stages: Stages) -> State:
    """Where the ticket is once its workflow has ended, or nothing is done until a person says something."""

    async def settled() -> bool:
        return stages.state() in ENDS or stages.rests_for_a_person()

    await eventually(settled)
    if stages.state() in ENDS:
        return State(await client.get_workflow_handle(ticket_id).result())
    return State(stages.state())


@asynccontextmanager
async def tickets_worked(client: Client, stages: Stages) -> AsyncIterator[None]:
    """A worker with the real workflows of tickets around these stages."""
    async with Worker(
        client, task_queue=HARNESS_QUEUE, workflows=[TicketWorkflow, AgentSession], activities=stages.all(),
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT, max_heartbeat_throttle_interval=HEARTBEATS_TOLD_EVERY,
    ):  # fmt: skip
        yield


def _read(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body: bytes = answer.read()
    except OSError:
        return ""
    return body.decode()


async def _main(address: str, folder: str) -> None:
    async with tickets_worked(await connect(address, NAMESPACE, NO_SECRETS), Stages(Path(folder), SMOOTH)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
