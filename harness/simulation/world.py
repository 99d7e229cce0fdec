"""A whole world in memory, from a seed: service, traffic, metrics, nodes, routes, repository, on a virtual clock.

Honest: what is wrong with it shows only in what the ports measure. Touches nothing outside; run it with ``clock.run``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from harness.core.events import Slot
from harness.core.manifest import Manifest
from harness.simulation.checks import MemoryChecks
from harness.simulation.clock import START, VirtualClock
from harness.simulation.effects import Effect
from harness.simulation.fleet import MemoryNodes
from harness.simulation.machines import MemoryMachines
from harness.simulation.metrics import SCRAPE_S, MemoryMetrics
from harness.simulation.repository import MemoryRepository
from harness.simulation.router import MemoryRouter
from harness.simulation.service import Behaviour, Change
from harness.simulation.traffic import Traffic

NODES = ("n1", "n2", "n3")


class World:
    """Ports by name, what people do to the service, and every effect of the harness on it in order.

    ``after_effect`` is called after each effect; what it raises ends the call that had the effect.
    """

    def __init__(self, manifest: Manifest, *, seed: int = 1) -> None:
        self.effects: list[Effect] = []
        self.after_effect: Callable[[Effect], None] = lambda effect: None
        self.clock = VirtualClock()
        self._serving: dict[Slot, list[str]] = {}
        self.repository = MemoryRepository(manifest=manifest, clock=self.clock, done=self._done, began_at=START)
        self.checks = MemoryChecks(repository=self.repository, clock=self.clock, chance=Random(f"{seed} checks"))
        self.nodes = MemoryNodes(
            NODES, repository=self.repository, clock=self.clock, settle=self._settle, done=self._done
        )
        self.provider = MemoryMachines(self.nodes, done=self._done)
        self.router = MemoryRouter(settle=self._settle, done=self._done)
        self._traffic = Traffic(
            route=self._route, behaviour=self.repository.behaviour, chance=Random(f"{seed} traffic")
        )
        self.metrics = MemoryMetrics(
            traffic=self._traffic, healthy=lambda: len(self.nodes.serving("stable")), clock=self.clock,
            phase_s=Random(f"{seed} scrapes").random() * SCRAPE_S,
        )  # fmt: skip

    def release(self, changes: Sequence[Change] = (), author: str = "people") -> list[str]:
        """Commit the changes to main and serve it on every node, by a person's hand; the new commits, oldest first."""
        commits = [self.repository.push(change, author) for change in changes]
        self.nodes.place(self.repository.main(), author)
        return commits

    def disturb(self, behaviour: Behaviour) -> None:
        """From now on requests meet this too, whatever release answers: trouble that no commit is to blame for."""
        self._settle()
        self._traffic.outside = behaviour

    def restart_traffic(self) -> None:
        """The users' process begins anew, and what it counts with it."""
        self._settle()
        self._traffic.restart()

    def lose(self, node: str) -> None:
        """The releases of a node stop answering."""
        self._settle()
        self.nodes.ill.add(node)

    def kill(self, node: str) -> None:
        """A node's machine dies, and with it everything that ran there."""
        self.provider.lose(node)

    def heal(self, node: str) -> None:
        """They answer again."""
        self._settle()
        self.nodes.ill.discard(node)

    def _done(self, effect: Effect) -> None:
        self.effects.append(effect)
        self.after_effect(effect)

    def _settle(self) -> None:
        """Before anything changes: what was until now has happened."""
        self.metrics.scrape()
        self._traffic.advance(self.clock.now_s())
        self._serving.clear()

    def _route(self, position: float) -> tuple[str, str | None]:
        """Arms by the key's position, in the order canary, stable, baseline, so that a larger step only adds keys."""
        shares = self.router.shares
        arm: Slot = "stable"
        if position < shares["canary"]:
            arm = "canary"
        elif position >= 1 - shares["baseline"]:
            arm = "baseline"
        if arm not in self._serving:
            self._serving[arm] = self.nodes.serving(arm)
        commits = self._serving[arm]
        if not commits:
            return arm, None
        return arm, commits[int(position * 1_000_003) % len(commits)]
