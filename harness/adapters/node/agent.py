"""Keeps the releases of one node as ordered: takes orders once, repairs what dies, tells what it has.

It knows no Temporal and no ledger. An order is noted before it is acted on and answered from memory afterwards; what
was cut off in between is observed and carried on.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from datetime import datetime

import structlog

from harness.adapters.node import inventory
from harness.adapters.node.as_started import Sight, look
from harness.adapters.node.http_on_socket import is_dead
from harness.adapters.node.routes import Routes
from harness.adapters.node.runner import Runner
from harness.adapters.node.state import Intent, NodeState, Occupant
from harness.adapters.releases import ReleaseStore
from harness.adapters.sandbox import Sandbox, Tag
from harness.adapters.stack.home import Home
from harness.core.deployment import NodeAnswer, NodeOrder, NodeReport, RunningRelease, Tells
from harness.core.errors import Forbidden, HarnessError, Invalid, Retryable
from harness.core.events import Slot
from harness.core.redaction import Secrets
from harness.ports import Clock

_LOOK_EVERY_S = 0.2
_LOOK_INTO_EVERY_S = 1.0
_CLUSTERS: tuple[Slot, ...] = ("stable", "canary", "baseline")
_MISSES = 3  # one slow answer on a busy machine is no death; each may take 1 s
_RETRY_FIRST_S = 0.5
_RETRY_LAST_S = 10.0
_LOG = structlog.get_logger(__name__)


class NodeAgent:
    """The node ``name``. Call ``resume`` once, then ``watch`` for ever; ``obey`` and ``report`` whenever asked.

    ``tells``: where a release says by which configuration it runs. ``ready_limit_s``: until a start that does
    not answer counts as failed. ``drain_limit_s``: the longest wait for requests in flight.
    """

    def __init__(
        self,
        name: str,
        *,
        home: Home,
        releases: ReleaseStore,
        sandbox: Sandbox,
        routes: Routes,
        clock: Clock,
        secrets: Secrets,
        tells: Tells | None,
        ready_limit_s: float = 10.0,
        drain_limit_s: float = 10.0,
    ) -> None:
        self._name = name
        self._releases = releases
        self._tells = tells
        self._sight: Sight | None = None
        """How the stable release was at the last look into it."""
        self._routes = routes
        self._clock = clock
        self._runner = Runner(
            name, home=home, sandbox=sandbox, routes=routes, clock=clock, secrets=secrets,
            ready_limit_s=ready_limit_s, drain_limit_s=drain_limit_s,
        )  # fmt: skip
        self._state_path = home.nodes / name / "state.json"
        self._state = NodeState.load(self._state_path)
        self._locks: defaultdict[Slot, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._healthy: dict[Slot, bool] = {}
        self._misses: defaultdict[Slot, int] = defaultdict(int)
        self._not_before: dict[Slot, float] = {}
        self._retry_s: dict[Slot, float] = {}

    async def obey(self, order: NodeOrder) -> NodeAnswer:
        """Do what the order says, once: the same key gets the first answer, whatever happened in between.

        ``place`` and ``swap`` are one: whoever held the slot serves until the new release has answered, then drains.
        A release that does not start is an answer with ``ok`` False and its last words; the old one keeps serving.
        Raises Forbidden for a token below the highest seen, Invalid for an order without a commit or with one that
        does not exist, Retryable when the data plane or uv does not answer (the same order then carries on).
        """
        async with self._locks[order.slot]:
            if (answer := self._state.answers.get(order.key)) is not None:
                return answer
            self._fence(order)
            return await self._carry_out(await self._intend(order), confirm=True)

    async def report(self) -> NodeReport:
        """The node's account of itself; ``healthy``, ``altered`` and ``told`` are what the last look saw."""
        total_bytes, used_bytes = inventory.memory_bytes()
        seen = {self._sight.tag: self._sight} if self._sight else {}
        return NodeReport(
            node=self._name,
            at=self._clock.now(),
            highest_token=max(self._newest_token(slot) for slot in _CLUSTERS),
            slots={
                slot: RunningRelease(
                    commit=occupant.commit, tree=occupant.tree, since=occupant.since, actor=occupant.actor,
                    healthy=self._healthy.get(slot, False) and self._runner.alive(occupant),
                    **(seen[occupant.tag].as_fields() if occupant.tag in seen else {}),
                )
                for slot, occupant in self._state.slots.items()
            },
            cpu_percent=inventory.cpu_percent(),
            memory_total_bytes=total_bytes,
            memory_used_bytes=used_bytes,
            gpus=await asyncio.to_thread(inventory.gpus),
        )  # fmt: skip

    async def resume(self) -> None:
        """Take up what a node of this name left: adopt living releases, finish orders, restart what died.

        A node without any past starts main's head as stable. The data plane need not be up yet.
        """
        intents = list(self._state.intents.values())
        occupants = [*self._state.slots.values(), *(i.before for i in intents), *(i.after for i in intents)]
        known = {occupant.tag for occupant in occupants if occupant is not None}
        await self._runner.stop_strays(known | {intent.tag for intent in intents})
        for intent in intents:
            async with self._locks[intent.order.slot]:
                try:
                    await self._carry_out(intent, confirm=True)
                except HarnessError as error:
                    _LOG.warning("order left unfinished", node=self._name, key=intent.order.key, error=str(error))
        for slot in list(self._state.slots):
            await self._adopt(slot)
        if not intents and not any(answer.ok for answer in self._state.answers.values()):
            await self._boot()

    async def watch(self) -> None:
        """Look at every slot five times a second, for ever: a dead release leaves the routes within 1 s, and returns.

        A slot with an order in progress is left to that order. Who died together with its agent is taken out by the
        neighbours: a node has nobody else.
        """
        await asyncio.gather(self._keep(), self._look_into())

    async def _keep(self) -> None:
        while True:
            await asyncio.gather(*(self._look(slot) for slot in list(self._state.slots)))
            self._look_at_neighbours()
            await asyncio.sleep(_LOOK_EVERY_S)

    # -- orders -------------------------------------------------------------------------------------------------

    def _fence(self, order: NodeOrder) -> None:
        highest = self._newest_token(order.slot)
        if order.token < highest:
            raise Forbidden(
                f"node {self._name}: token {order.token} of {order.key} is older than {highest}, the highest seen; "
                "another delivery has taken over, take the service lock again to get a new token"
            )
        if order.token > self._state.highest_token:
            self._state.highest_token = order.token
            self._save()

    async def _intend(self, order: NodeOrder) -> Intent:
        """Note the order before it is acted on; one that was cut off is taken up, another's leftovers are cleared."""
        started_at = self._clock.now()
        left = self._state.intents.get(order.slot)
        if left is not None and left.order.key == order.key:
            return left
        tree = ""
        if order.verb != "remove":
            if order.commit is None:
                raise Invalid(f"order {order.key}: {order.verb} needs a commit")
            # Built before anything is noted or touched: it is slow, harmless, and most of what can be refused.
            tree = (await asyncio.to_thread(self._releases.build, order.commit)).tree
        if left is not None:
            await self._abandon(left, order.token)
        self._state.starts += 1
        start = self._state.starts
        intent = Intent(
            order=order, started_at=started_at, start=start, before=self._state.slots.get(order.slot),
            tag=str(Tag(key=order.key, node=self._name, slot=order.slot, tree=tree, start=start)),
        )  # fmt: skip
        self._note(intent)
        return intent

    async def _carry_out(self, intent: Intent, *, confirm: bool) -> NodeAnswer:
        """Every step may have happened before. ``confirm``: wait until the data plane does it."""
        if intent.order.verb == "remove":
            answer = await self._empty(intent)
        else:
            answer = await self._replace(intent, confirm=confirm)
        self._state.answers[intent.order.key] = answer
        del self._state.intents[intent.order.slot]
        self._save()
        return answer

    async def _replace(self, intent: Intent, *, confirm: bool) -> NodeAnswer:
        """Start the new release, let it serve once it has answered, then retire the one before."""
        order = intent.order
        slot, token, note = order.slot, order.token, _note_of(order.key)
        if intent.after is None:
            assert order.commit is not None, "an intent to place was noted without a commit"
            release = await asyncio.to_thread(self._releases.build, order.commit)
            started = await self._runner.start(release, slot=slot, start=intent.start, key=order.key, actor=order.actor)
            intent = self._note(intent.model_copy(update={"after": started}))
        after = intent.after
        assert after is not None, "noted above"
        if intent.answered_at is None:
            if reason := await self._runner.await_answer(after, slot):
                await self._runner.stop(after, at_once=True)
                return self._answer(intent, ok=False, reason=reason)
            intent = self._note(intent.model_copy(update={"answered_at": self._clock.now()}))
        version = self._runner.serve(after, slot, token, note)
        self._state.slots[slot] = after
        self._healthy[slot] = True
        self._save()
        if confirm:
            await self._runner.applied(slot, version)
        if intent.before is None:
            return self._answer(intent, ok=True)
        drain_from, drain_to, left = await self._runner.retire(intent.before, slot, token, note)
        return self._answer(intent, ok=True, reason=left, drained=(drain_from, drain_to))

    async def _empty(self, intent: Intent) -> NodeAnswer:
        if intent.before is None:
            return self._answer(intent, ok=True, reason="the slot was empty")
        slot = intent.order.slot
        self._forget(slot)  # first, so that the watch does not bring back what is being stopped
        drain_from, drain_to, left = await self._runner.retire(
            intent.before, slot, intent.order.token, _note_of(intent.order.key)
        )
        return self._answer(intent, ok=True, reason=left, drained=(drain_from, drain_to))

    async def _abandon(self, left: Intent, token: int) -> None:
        """Clear what another order left unfinished: forward when its release already serves, else back."""
        slot, note = left.order.slot, _note_of(left.order.key)
        serving = self._state.slots.get(slot)
        started = [occupant for occupant in (left.before, left.after) if occupant is not None]
        for occupant in started:
            if serving is None or occupant.tag != serving.tag:
                await self._runner.retire(occupant, slot, token, note)
        if serving is not None:
            self._runner.serve(serving, slot, token, note)
        del self._state.intents[slot]
        self._save()

    def _answer(
        self, intent: Intent, *, ok: bool, reason: str = "", drained: tuple[datetime, datetime] | None = None
    ) -> NodeAnswer:
        return NodeAnswer(
            node=self._name,
            ok=ok,
            reason=reason,
            commit=intent.order.commit,
            before=None if intent.before is None else intent.before.commit,
            started_at=intent.started_at,
            ready_at=intent.answered_at,
            drain_from=None if drained is None else drained[0],
            drain_to=None if drained is None else drained[1],
            ended_at=self._clock.now(),
        )

    # -- life without orders ------------------------------------------------------------------------------------

    async def _boot(self) -> None:
        """Place main's head as stable; nobody waits for a data plane that may come up later."""
        commit = await asyncio.to_thread(self._releases.head)
        token = self._newest_token("stable")
        order = NodeOrder(verb="place", key=f"boot-{self._name}", token=token, slot="stable", commit=commit)
        async with self._locks["stable"]:
            answer = await self._carry_out(await self._intend(order), confirm=False)
        if not answer.ok:
            _LOG.error("main does not start", node=self._name, commit=commit, reason=answer.reason)

    async def _adopt(self, slot: Slot) -> None:
        """A release that outlived the agent serves again at once; a dead one is repaired."""
        async with self._locks[slot]:
            occupant = self._state.slots[slot]
            self._healthy[slot] = self._runner.alive(occupant) and await self._runner.answers(occupant)
            if self._healthy[slot]:
                self._runner.serve(occupant, slot, self._newest_token(slot), _note_of(f"adopt-{occupant.tag}"))
        if not self._healthy[slot]:
            await self._repair(slot)

    async def _look(self, slot: Slot) -> None:
        if self._locks[slot].locked() or slot not in self._state.slots:
            return
        occupant = self._state.slots[slot]
        alive = self._runner.alive(occupant)
        self._healthy[slot] = alive and await self._runner.answers(occupant)
        self._misses[slot] = 0 if self._healthy[slot] else self._misses[slot] + 1
        if not alive or self._misses[slot] >= _MISSES:
            await self._repair(slot)

    async def _look_into(self) -> None:
        """Every second, whether the stable release still is what it was started as; the harness judges it."""
        while True:
            if (occupant := self._state.slots.get("stable")) is not None:
                try:
                    self._sight = await look(occupant, self._releases, self._tells)
                except Invalid as error:
                    _LOG.warning("release not looked into", node=self._name, tree=occupant.tree, reason=str(error))
            await asyncio.sleep(_LOOK_INTO_EVERY_S)

    def _look_at_neighbours(self) -> None:
        """Take endpoints of other nodes out of the routes where nobody listens: no start has a socket twice, so such
        a one never comes back. What can't be written now is seen again at the next look."""
        for cluster in _CLUSTERS:
            for socket, node in self._routes.sockets(cluster).items():
                if node == self._name or not is_dead(socket):
                    continue
                try:
                    note = _note_of(f"lost-{node}-seen-by-{self._name}")
                    self._routes.remove(cluster, node, socket, self._newest_token(cluster), note)
                except (Forbidden, Retryable) as error:
                    _LOG.warning("dead neighbour stays for now", node=self._name, neighbour=node, error=str(error))
                else:
                    _LOG.warning("dead neighbour left the routes", node=self._name, neighbour=node, cluster=cluster)

    async def _repair(self, slot: Slot) -> None:
        """Take the dead release out of the routes, start it again, and put it back once it answers."""
        async with self._locks[slot]:
            occupant = self._state.slots.get(slot)
            if occupant is None or (self._healthy.get(slot) and self._runner.alive(occupant)):
                return  # an order was faster
            try:
                await self._restart(slot, occupant)
            except HarnessError as error:
                self._put_off(slot, str(error))

    async def _restart(self, slot: Slot, occupant: Occupant) -> None:
        note = _note_of(f"repair-{self._name}-{self._state.starts + 1}")
        self._runner.unroute(occupant, slot, self._newest_token(slot), note)
        if asyncio.get_running_loop().time() < self._not_before.get(slot, 0.0):
            return
        await self._runner.stop(occupant, at_once=True)
        release = await asyncio.to_thread(self._releases.build, occupant.commit)
        self._state.starts += 1
        self._save()
        fresh = await self._runner.start(
            release, slot=slot, start=self._state.starts, key=occupant.key, actor=occupant.actor
        )
        self._state.slots[slot] = fresh
        self._save()
        if reason := await self._runner.await_answer(fresh, slot):
            await self._runner.stop(fresh, at_once=True)
            self._put_off(slot, reason)
            return
        self._runner.serve(fresh, slot, self._newest_token(slot), note)
        self._healthy[slot] = True
        self._misses[slot] = 0
        self._not_before.pop(slot, None)
        self._retry_s.pop(slot, None)
        _LOG.info("release restarted", node=self._name, slot=slot, commit=fresh.commit, start=self._state.starts)

    def _put_off(self, slot: Slot, reason: str) -> None:
        wait_s = min(2 * self._retry_s.get(slot, _RETRY_FIRST_S / 2), _RETRY_LAST_S)
        self._retry_s[slot] = wait_s
        self._not_before[slot] = asyncio.get_running_loop().time() + wait_s
        _LOG.warning("release not restarted", node=self._name, slot=slot, retry_in_s=wait_s, reason=reason)

    def _newest_token(self, slot: Slot) -> int:
        """The lowest token that may still write: a delivery that this node never heard of has written routes, too.

        A repair holds no lock of its own; it writes as whoever may write now, and never delays a delivery.
        """
        return max(self._state.highest_token, self._routes.highest_token(slot))

    # -- memory -------------------------------------------------------------------------------------------------

    def _note(self, intent: Intent) -> Intent:
        self._state.intents[intent.order.slot] = intent
        self._save()
        return intent

    def _forget(self, slot: Slot) -> None:
        self._state.slots.pop(slot, None)
        self._healthy.pop(slot, None)
        self._save()

    def _save(self) -> None:
        self._state.save(self._state_path)


def _note_of(key: str) -> str:
    """The key as the data plane can show it: what it may not hold becomes a dash, 120 signs at most."""
    return re.sub(r"[^A-Za-z0-9._/:-]", "-", key)[:120]
