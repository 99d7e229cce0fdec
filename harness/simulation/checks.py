"""The port ``Checks`` in memory: runs nothing, measures what the model says with noise. Changes nothing."""

from __future__ import annotations

from datetime import datetime
from random import Random

from harness.core.events import Wait
from harness.ports import CheckRun, Clock, ProbeRun
from harness.simulation.repository import MemoryRepository
from harness.simulation.service import SERVICE_MS

CHECK_S = 2.0
PROBE_S = 0.4
REPETITIONS = 7
STARTS = 100
TESTS = 42
CPU_MS = 40.0
PROBED_KEYS = 200
COLD_START_S = 0.3
NOISE = 0.15
"""A repetition takes up to this part longer than it has to: what disturbs a measurement only ever slows it."""


RUN_NOISE = 0.04
"""Two runs of one tree differ by about this part, as clock rates and caches do."""


class MemoryChecks:
    """Checks and probes of the modelled service."""

    def __init__(self, *, repository: MemoryRepository, clock: Clock, chance: Random) -> None:
        self._repository, self._clock, self._chance = repository, clock, chance

        self.slowed = 1.0
        """By what everything takes longer, whatever the tree, while others use the machine."""

    async def prepare(self) -> None:
        """There is nothing to build."""

    async def check(self, name: str, commit: str, base: str) -> CheckRun:
        """Passes when every change in the tree does."""
        opened_at = self._clock.now()
        behaviour = self._repository.behaviour(commit)
        await self._clock.sleep((CHECK_S + behaviour.check_s) * self.slowed)
        passed = behaviour.checks_pass
        return CheckRun(
            name=name, exit_code=0 if passed else 1, passed=passed, reason="" if passed else "exit code 1",
            tests_passed=TESTS if passed else TESTS - 1, output="", wait=self._wait(opened_at, f"check {name}"),
        )  # fmt: skip

    async def probe(self, name: str, commit: str, head: str) -> ProbeRun:
        """How slow a tree is, or for which share of keys it is wrong; no measures where nothing starts."""
        opened_at = self._clock.now()
        await self._clock.sleep(PROBE_S)
        behaviour = self._repository.behaviour(commit)
        wait = self._wait(opened_at, f"probe {name} on {commit[:12]}")
        if not behaviour.starts:
            return ProbeRun(measures=None, reason="the release did not start", wait=wait)
        wall_ms = SERVICE_MS + (behaviour.wait_ms if behaviour.wait_share else 0.0)
        measures = {
            "cold_start": {"ready_s": self._repeat(COLD_START_S, STARTS)},
            "cost": {"cpu_s": self._about(behaviour.cpu_s * self.slowed)},
            "latency": {"wall_ms": self._repeat(wall_ms), "cpu_ms": self._repeat(CPU_MS)},
            "correctness": {
                "failing_keys": [self._some(behaviour.error_share)],
                "wrongly_denied_keys": [self._some(behaviour.wrong_denial_share)],
            },
        }
        return ProbeRun(measures=measures[name], reason="", wait=wait)

    def _repeat(self, value: float, times: int = REPETITIONS) -> list[float]:
        return [value * (1 + NOISE * self._chance.random()) for _ in range(times)]

    def _about(self, value: float) -> list[float]:
        """Disturbed either way, all of a run alike and each repetition by itself."""
        run = 1 + RUN_NOISE * self._chance.gauss(0, 1)
        return [value * run * (1 + NOISE * self._chance.random()) for _ in range(REPETITIONS)]

    def _some(self, share: float) -> float:
        """The share of the probe's keys that it happens to."""
        return sum(self._chance.random() < share for _ in range(PROBED_KEYS)) / PROBED_KEYS

    def _wait(self, opened_at: datetime, what: str) -> Wait:
        return Wait(kind="check", what=what, opened_at=opened_at, closed_at=self._clock.now())
