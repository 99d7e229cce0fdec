"""The port ``Nodes`` in memory: releases in slots, orders carried out once and fenced. Keeps what a real node keeps.

A node is another process than the harness: an order under way is finished, and its answer remembered, whatever becomes
of whoever asked.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256

from harness.core.deployment import NodeAnswer, NodeOrder, NodeReport, RunningRelease
from harness.core.errors import Forbidden, Retryable
from harness.core.events import Slot
from harness.ports import Clock
from harness.simulation.effects import Done, Effect
from harness.simulation.repository import MemoryRepository

BOOT_S = 2.0
START_S = 0.4
DRAIN_S = 0.2
MEMORY_BYTES = 4 * 1024**3
CONFIGURATION = "shipped"
"""The file of every tree of which a release tells the version, as the rate limiter does of its limits."""


class MemoryNodes:
    """The fleet. ``settle`` is called before a slot changes; ``away`` nodes don't report, ``ill`` ones don't answer.

    ``stillborn``: nodes that are started from now on never serve. ``hung``: neither report nor take an order.
    ``altered``: node → files that a hand has altered in its release's folder. ``told``: node → the version of the
    configuration that its release has in memory, where that is not the one that it was started with.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        repository: MemoryRepository,
        clock: Clock,
        settle: Callable[[], None],
        done: Done,
    ) -> None:
        self._repository, self._clock, self._settle, self._done = repository, clock, settle, done
        self._slots: dict[str, dict[Slot, RunningRelease]] = {name: {} for name in names}
        self._highest_token = dict.fromkeys(names, 0)
        self._answers: dict[str, NodeAnswer] = {}
        self._booting: dict[str, asyncio.Task[None]] = {}
        self._busy: defaultdict[tuple[str, Slot], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.away: set[str] = set()
        self.ill: set[str] = set()
        self.hung: set[str] = set()
        self.altered: dict[str, tuple[str, ...]] = {}
        self.told: dict[str, str] = {}
        self.stillborn = False

    def names(self) -> tuple[str, ...]:
        """The nodes, in the order of failure domains."""
        return tuple(self._slots)

    def join(self, name: str) -> None:
        """A machine is there: its node boots what main is at, in its own time."""
        self._slots[name], self._highest_token[name] = {}, 0
        if self.stillborn:
            self.away.add(name)
        else:
            self._booting[name] = asyncio.create_task(self._boot(name))

    def leave(self, name: str) -> None:
        """A machine is gone, and with it what ran there."""
        self._settle()
        if name in self._booting:
            self._booting.pop(name).cancel()
        del self._slots[name], self._highest_token[name]

    def serving(self, slot: Slot) -> list[str]:
        """The commits in a slot of the nodes that answer, one for each node."""
        up = [slots for name, slots in self._slots.items() if name not in self.ill]
        return [slots[slot].commit for slots in up if slot in slots]

    def place(self, commit: str, actor: str) -> None:
        """Serve a commit everywhere, by a person's hand."""
        self._settle()
        for slots in self._slots.values():
            slots["stable"] = self._release(commit, self._clock.now(), actor)

    async def order(self, node: str, order: NodeOrder) -> NodeAnswer:
        """Do what the order says, once; Forbidden for a token below the highest seen, Retryable for no such node."""
        if node not in self._slots or node in self.hung:
            raise Retryable(f"node {node} does not pick up {order.key}")
        async with self._busy[node, order.slot]:
            if order.key in self._answers:
                return self._answers[order.key]
            if order.token < self._highest_token[node]:
                raise Forbidden(f"node {node}: token {order.token} is older than {self._highest_token[node]}")
            self._highest_token[node] = order.token
            answer = self._answers[order.key] = await self._carry_out(node, order)
            self._done(Effect("order", f"{node} {order.key}", f"{order.verb} {order.slot} {order.commit}"))
            return answer

    async def report(self, node: str) -> NodeReport:
        """The node's account of itself; Retryable when it does not answer."""
        silent = node in self.away | self.hung or node not in self._slots
        if silent or (node in self._booting and not self._booting[node].done()):
            raise Retryable(f"node {node} does not answer")
        healthy = node not in self.ill
        return NodeReport(
            node=node, at=self._clock.now(), highest_token=self._highest_token[node],
            slots={
                slot: release.model_copy(update={"healthy": healthy, **self._seen_of(node, release)})
                for slot, release in self._slots[node].items()
            },
            cpu_percent=5.0, memory_total_bytes=MEMORY_BYTES, memory_used_bytes=MEMORY_BYTES // 8, gpus=(),
        )  # fmt: skip

    def _seen_of(self, node: str, release: RunningRelease) -> dict[str, object]:
        text = self._repository.read(release.commit, CONFIGURATION)
        version = self.told.get(node, sha256(text.encode()).hexdigest()[:12])
        return {"altered": self.altered.get(node, ()), "told": version}

    async def _boot(self, name: str) -> None:
        await self._clock.sleep(BOOT_S)
        self._settle()
        self._slots[name]["stable"] = self._release(self._repository.main(), self._clock.now(), "harness")

    async def _carry_out(self, node: str, order: NodeOrder) -> NodeAnswer:
        started_at, slots = self._clock.now(), self._slots[node]
        before = slots.get(order.slot)
        ready_at = None
        if order.commit is not None:
            await self._clock.sleep(START_S)
            if not self._repository.behaviour(order.commit).starts:
                return self._answer(node, order, before, started_at, reason="exited with 1 before it answered")
            ready_at = self._clock.now()
        self._settle()
        if order.commit is None:
            slots.pop(order.slot, None)
        else:
            slots[order.slot] = self._release(order.commit, self._clock.now(), order.actor)
        answer = self._answer(node, order, before, started_at).model_copy(update={"ready_at": ready_at})
        if before is None:
            return answer
        await self._clock.sleep(DRAIN_S)
        drained_at = self._clock.now()
        return answer.model_copy(update={"drain_from": answer.ended_at, "drain_to": drained_at, "ended_at": drained_at})

    def _answer(
        self, node: str, order: NodeOrder, before: RunningRelease | None, started_at: datetime, *, reason: str = ""
    ) -> NodeAnswer:
        return NodeAnswer(
            node=node, ok=not reason, reason=reason, commit=order.commit, before=before.commit if before else None,
            started_at=started_at, ended_at=self._clock.now(),
        )  # fmt: skip

    def _release(self, commit: str, since: datetime, actor: str) -> RunningRelease:
        tree = self._repository.tree(commit)
        return RunningRelease(commit=commit, tree=tree, since=since, healthy=True, actor=actor)
