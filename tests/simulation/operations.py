"""Runs the harness on a modelled world as its workflows do: the same activities in the same order, in virtual time.

Temporal is not here. What it promises is: an activity that died is run again, from the ledger, by a new process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from harness import lock
from harness.adapters.declarations import load_manifest
from harness.agent.loop import work
from harness.bootstrap import CHECKOUT, Harness, Record, Rules, read_rules
from harness.cause import data_came_back
from harness.core import events as e
from harness.core.command import INTERRUPTS, Command, Verb
from harness.core.ids import lock_stream, ticket_stream
from harness.core.lifecycle import ENDS, STAGE, TIMED, State
from harness.core.record import Recorded, StreamWrite
from harness.core.redaction import Secrets
from harness.core.ticket import Ticket
from harness.core.ticket_spec import TicketSpec
from harness.journal import HARNESS, Journal, decode, encode
from harness.parts import parent_of, told_to_parts
from harness.simulation.ledger import GuardedMemoryBlobs, GuardedMemoryLedger
from harness.simulation.service import Behaviour, Change
from harness.simulation.world import World
from harness.stages import file
from harness.stages.observe import Memory
from workflows.activities import Activities
from workflows.family import SEEN
from workflows.pump import ENDED

RULES = read_rules()
MANIFEST = load_manifest(CHECKOUT / "services" / "ratelimiter" / "service.yaml")
TERMS = lock.Terms(aging_s=RULES.profile.queue.aging_s)
HEALTHY_S = 28.0
"""Traffic before anything goes wrong: the burn rate's windows and the baseline have to be full."""
WATCHED_S = 8.0
"""The last part of that, in which the watch looks on."""
RETRY_S = 0.2
NO_SECRETS = Secrets.of({})
"""Nothing is known by name; patterns are looked for all the same."""
SLOW = Behaviour(wait_ms=85.0, wait_share=0.95)


class Crash(BaseException):
    """The harness's process ends here."""


class HookedLedger(GuardedMemoryLedger):
    """A ledger that tells of every append, right before and right after it holds."""

    before: Callable[[], None] = staticmethod(lambda: None)
    after: Callable[[], None] = staticmethod(lambda: None)

    def append(self, writes: Any) -> list[Recorded]:
        self.before()
        rows = super().append(writes)
        self.after()
        return rows


@dataclass
class Operations:
    """The harness at work on ``world``. ``restarts`` counts the processes that crashed."""

    world: World
    ledger: HookedLedger
    blobs: GuardedMemoryBlobs
    harness: Harness
    memory: Memory | None = None
    carried: dict[str, asyncio.Task[str]] = field(default_factory=dict)
    tellings: int = 0
    _told: dict[str, list[tuple[Command, asyncio.Future[str]]]] = field(default_factory=dict)
    _woken: dict[str, asyncio.Event] = field(default_factory=dict)
    _person: dict[str, asyncio.Event] = field(default_factory=dict)
    _breakable: dict[str, tuple[str, asyncio.Future[Any]]] = field(default_factory=dict)
    _folded: dict[str, tuple[int, Ticket]] = field(default_factory=dict)
    _followed: int = 0
    restarts: int = 0
    restart_s: float = 1.0
    """How long a process that crashed is away."""
    restart_workflow: bool = False
    """After a crash, begin the ticket's workflow anew (as the pump does) instead of retrying the activity."""

    @classmethod
    def on(cls, world: World, *, rules: Rules = RULES, secrets: Secrets = NO_SECRETS) -> Operations:
        ledger = HookedLedger(now=world.clock.now, secrets=secrets)
        blobs = GuardedMemoryBlobs(ledger=ledger, secrets=secrets, now=world.clock.now)
        # The memory ledger keeps the real one's contract: tests/spec/test_ledger_contract.py
        record = Record(cast(Any, ledger), cast(Any, blobs), world.clock)
        harness = Harness(
            record=record, rules=rules, agent="runbook", metrics=world.metrics, nodes=world.nodes,
            provider=world.provider, router=world.router, repository=world.repository, checks=world.checks,
        )  # fmt: skip
        return cls(world, ledger, blobs, harness)

    # -- what the workflows do ----------------------------------------------------------------------------------

    async def watch(self, until: Callable[[], bool], *, limit_s: float = 300.0) -> None:
        """Tick once a second and start every ticket that is filed, until the condition holds or the time is over."""
        clock = self.world.clock
        ends_at_s = clock.now_s() + limit_s
        while not until() and clock.now_s() < ends_at_s:
            await clock.sleep(1.0)
            self.memory = await self.do("watch_tick", self.memory)
            self.follow()
            for ticket_id in self.tickets():
                if ticket_id not in self.carried:
                    self.carried[ticket_id] = asyncio.create_task(self.carry(ticket_id))
            await self._tell_of_data()
            for task in self.carried.values():
                if task.done():
                    task.result()
        assert until(), f"not within {limit_s} s: {[(one, self.ticket(one).state) for one in self.tickets()]}"

    async def _tell_of_data(self) -> None:
        """As the pump does when data are back."""
        for ticket_id in self.carried:
            if coming := data_came_back(self.ledger, ticket_id):
                await self.tell("answer", ticket_id, request=f"data-back/{coming}", by=HARNESS)

    async def carry(self, ticket_id: str) -> str:
        """A ticket's workflow, begun anew whenever a crash took it along."""
        while True:
            try:
                return await self._workflow(ticket_id)
            except Crash:
                self.restarts += 1
                await self.world.clock.sleep(self.restart_s)

    async def _workflow(self, ticket_id: str) -> str:
        state: str = await self.do("look", ticket_id)
        told = self._told.setdefault(ticket_id, [])
        while told or State(state) not in ENDS:
            if told:
                state = await self._obey(ticket_id, told)
            elif (stage := STAGE.get(State(state))) is None:
                state = await self._rest(ticket_id, state)
            else:
                before, state = state, await self._stage(ticket_id, stage)
                if state == State.QUEUED or before == state == State.VERIFYING:
                    state = await self._rest(ticket_id, state)
        return state

    async def _stage(self, ticket_id: str, stage: str) -> str:
        doing = asyncio.ensure_future(self._session(ticket_id) if stage == "work" else self.do(stage, ticket_id))
        if stage in INTERRUPTS:
            self._breakable[ticket_id] = stage, doing
        try:
            await asyncio.wait({doing})
        finally:
            self._breakable.pop(ticket_id, None)
            doing.cancel()
        if doing.cancelled():
            return str(await self.do("look", ticket_id))
        try:
            return str(doing.result() or await self.do("look", ticket_id))
        except ApplicationError as failure:
            return str(await self.do("escalate", ticket_id, f"{stage}: {failure}"))

    async def _rest(self, ticket_id: str, state: str) -> str:
        try:
            return await self._rested(ticket_id, state)
        except ApplicationError as failure:
            return str(await self.do("escalate", ticket_id, f"waiting: {failure}"))

    async def _rested(self, ticket_id: str, state: str) -> str:
        seconds: float | None = await self.do("rest", ticket_id)
        woken = self._woken.setdefault(ticket_id, asyncio.Event())
        woken.clear()
        if seconds is None:
            self._person.setdefault(ticket_id, asyncio.Event()).set()
        if self._told[ticket_id]:
            return state
        try:
            await asyncio.wait_for(woken.wait(), seconds)
        except TimeoutError:
            if State(state) in TIMED:
                return str(await self.do("open_window", ticket_id))
        return state

    async def _obey(self, ticket_id: str, told: list[tuple[Command, asyncio.Future[str]]]) -> str:
        command, answer = told[0]
        try:
            state = str(await self.do("obey", ticket_id, command))
        except ApplicationError as refusal:
            told.pop(0)
            answer.set_exception(refusal)
            return str(await self.do("look", ticket_id))
        told.pop(0)
        answer.set_result(state)
        return state

    async def lose_temporal(self) -> None:
        """Every workflow and what it waited for is forgotten, the watch's too, and what was done is broken off."""
        lost = [*self.carried.values()]
        for task in lost:
            task.cancel()
        await asyncio.gather(*lost, return_exceptions=True)
        for forgotten in (self.carried, self._told, self._woken, self._person, self._breakable):
            forgotten.clear()
        self.memory = None

    async def begin_ticket(self, ticket_id: str) -> bool:
        """The port ``Workflows``."""
        if (running := self.carried.get(ticket_id)) and not running.done():
            return False
        self.carried[ticket_id] = asyncio.create_task(self.carry(ticket_id))
        return True

    async def begin_watch(self) -> bool:
        """The port ``Workflows``: the watch is what ``watch`` does, and begins when it remembers nothing."""
        return self.memory is None

    async def watch_runs(self) -> bool:
        """The port ``Workflows``."""
        return self.memory is not None

    async def carry_to_a_person(self, ticket_id: str = "INF-1") -> None:
        """A ticket's workflow, until the ticket has ended or waits for a person."""
        asked = self._person.setdefault(ticket_id, asyncio.Event())
        asked.clear()
        if ticket_id not in self.carried:
            self.carried[ticket_id] = asyncio.create_task(self.carry(ticket_id))
        waiting = asyncio.create_task(asked.wait())
        await asyncio.wait({self.carried[ticket_id], waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.cancel():
            return
        self.carried[ticket_id].result()

    async def tell(self, verb: Verb, ticket_id: str = "INF-1", **fields: Any) -> str:
        """A person tells a live ticket something; the state that it is in then. ApplicationError when refused."""
        self.tellings += 1
        if text := fields.pop("text", None):
            fields["text"] = self.blobs.put_json({"text": text})
        command = Command(verb=verb, **{"request": f"telling-{self.tellings}", "by": "ada", **fields})
        return await self._telling(ticket_id, command)

    async def _telling(self, ticket_id: str, command: Command) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._told.setdefault(ticket_id, []).append((command, answer))
        self._woken.setdefault(ticket_id, asyncio.Event()).set()
        stage, doing = self._breakable.get(ticket_id, ("", None))
        if doing is not None and command.verb in INTERRUPTS[stage]:
            doing.cancel()
        if ticket_id not in self.carried:
            self.carried[ticket_id] = asyncio.create_task(self.carry(ticket_id))
        return await answer

    def wake(self, ticket_id: str = "INF-1") -> None:
        """As the pump does when main moved."""
        self._woken.setdefault(ticket_id, asyncio.Event()).set()

    def follow(self) -> None:
        """As pump and family do: wake the parents of tickets that ended, and pass on to parts what is passed on."""
        for row in self.ledger.read_all(after_position=self._followed, limit=10_000):
            ticket_id = row.stream.removeprefix(ticket_stream(""))
            self._followed = row.position
            if isinstance(decode(row), ENDED) and (parent := parent_of(self.ledger, ticket_id)) is not None:
                self.wake(parent)
            if row.type in SEEN:
                for part, command in told_to_parts(self.journal(ticket_id), row):
                    asyncio.get_running_loop().create_task(self._pass_on(part, command))

    async def _pass_on(self, part: str, command: Command) -> None:
        with suppress(ApplicationError):
            await self._telling(part, command)

    def file(self, **spec: Any) -> str:
        """A person files a ticket; its id."""
        self.tellings += 1
        criteria = [{"metric": "slow_share", "condition": "< 10%", "duration": "10s sustained"}]
        given = {"type": "maintenance", "objective": {"description": "wanted"}, "acceptance_criteria": criteria, **spec}
        read = TicketSpec.read({"ticket": given}, "ticket.yaml", service="ratelimiter")
        return file.file_by_hand(
            read, by="ada", request=f"filing-{self.tellings}", ledger=self.ledger, blobs=self.blobs,
            clock=self.world.clock,
        )  # fmt: skip

    async def _session(self, ticket_id: str) -> None:
        steps_allowed = await self.do("begin_attempt", ticket_id)

        async def give_up() -> None:
            await self.do("give_up", ticket_id)

        if steps_allowed:
            await work(
                think=lambda step: self._thought(ticket_id, step),
                act=lambda step, _: self.do("act", ticket_id, step), give_up=give_up, steps_allowed=steps_allowed,
            )  # fmt: skip

    async def _thought(self, ticket_id: str, step: int) -> Any:
        thought = await self.do("think", ticket_id, step)
        return await self.do("ask", ticket_id, step) if thought == "ask" else thought

    async def do(self, name: str, *arguments: Any) -> Any:
        """An activity, retried as ``workflows.edge`` has Temporal retry it."""
        while True:
            activity = getattr(Activities(self.harness), name)
            try:
                return await ActivityEnvironment().run(activity, *arguments)
            except ApplicationError as error:
                if error.non_retryable:
                    raise
                asked = error.next_retry_delay
                await self.world.clock.sleep(RETRY_S if asked is None else asked.total_seconds())
            except Crash:
                if self.restart_workflow and name != "watch_tick":
                    raise
                self.restarts += 1
                await self.world.clock.sleep(self.restart_s)

    # -- what tests ask -----------------------------------------------------------------------------------------

    def tickets(self) -> list[str]:
        return [stream.removeprefix(ticket_stream("")) for stream in self.ledger.streams(ticket_stream(""))]

    def journal(self, ticket_id: str) -> Journal:
        return Journal(ticket_id, ledger=self.ledger, blobs=self.blobs, clock=self.world.clock)

    def ticket(self, ticket_id: str) -> Ticket:
        position = self.ledger.head().position
        if self._folded.get(ticket_id, (0,))[0] != position:
            self._folded[ticket_id] = (position, self.journal(ticket_id).ticket)
        return self._folded[ticket_id][1]

    def state(self, ticket_id: str) -> State | None:
        return self.ticket(ticket_id).state if ticket_id in self.tickets() else None

    def events(self, stream: str) -> list[e.Event]:
        return [decode(row) for row in self.ledger.read_stream(stream)]

    def reached(self, *states: State, ticket_id: str = "INF-1") -> bool:
        return self.state(ticket_id) in states

    def happened(self, kind: type[e.Event], ticket_id: str = "INF-1") -> bool:
        return any(row.type == kind.__name__ for row in self.ledger.read_stream(ticket_stream(ticket_id)))

    def runs_everywhere(self, commit: str) -> bool:
        """Main is at this commit and every node serves it."""
        return self.world.repository.main() == commit and set(self.world.nodes.serving("stable")) == {commit}

    def question(self, ticket_id: str = "INF-1") -> str:
        """What the person who was called last is asked."""
        asked = self.last(ticket_id, e.HelpRequested)
        return str(self.blobs.get_json(asked.question)["question"])

    async def settle(self) -> None:
        """Watch until the first ticket is at an end or with a person."""
        await self.watch(lambda: self.reached(State.RESOLVED, State.ESCALATED))

    def note_in_lock(self, event: e.Event) -> None:
        """The delivery lock as another ticket's delivery writes it."""
        new = encode(
            f"{type(event).__name__} by another", event, clock=self.world.clock, actor="another", correlation="another",
            cause=None,
        )  # fmt: skip
        self.ledger.append([StreamWrite(lock_stream("ratelimiter"), None, [new])])

    def last(self, ticket_id: str, kind: type[Any]) -> Any:
        return [event for event in self.events(ticket_stream(ticket_id)) if isinstance(event, kind)][-1]


def innocent(number: int) -> Change:
    """A change that does nothing to requests."""
    return Change(f"change-{number}")


def days_work(bad: int, behaviour: Behaviour = SLOW, *, of: int = 10) -> list[Change]:
    """So many changes, of which one behaves like this."""
    return [Change(f"change-{n}", behaviour) if n == bad else innocent(n) for n in range(of)]


async def incident(
    changes: list[Change], *, seed: int = 1, rules: Rules = RULES, healthy_s: float = HEALTHY_S,
    secrets: Secrets = NO_SECRETS,
) -> Operations:  # fmt: skip
    """A world that was healthy for a while, under watch at last, until somebody released these changes."""
    operations = Operations.on(World(MANIFEST, seed=seed), rules=rules, secrets=secrets)
    operations.world.release()
    await operations.world.clock.sleep(healthy_s - WATCHED_S)
    await healthy(operations, WATCHED_S)
    operations.world.release(changes)
    return operations


async def healthy(operations: Operations, seconds: float) -> None:
    """Let time pass under watch."""
    ends_at_s = operations.world.clock.now_s() + seconds
    await operations.watch(lambda: operations.world.clock.now_s() >= ends_at_s, limit_s=seconds + 2)
