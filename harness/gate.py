"""The gate after a node was touched: it answers, and every invariant holds, to the end of the gate. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from harness.core import events as e
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.measure import Window, measure
from harness.ports import Clock, Metrics, Nodes

POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What is watched, and for how long. ``restored`` have to hold at the end only: they were broken before."""

    manifest: Manifest
    invariants: tuple[Invariant, ...]
    restored: tuple[Invariant, ...] = ()
    gate_s: float
    metrics: Metrics
    nodes: Nodes
    clock: Clock

    async def watch(self, node: str | None, opened_at: datetime) -> tuple[str, e.Wait]:
        """Why things may not stay as they are (empty when they may), and the wait.

        Looks at least once, also after a crash. ``node`` None: there is no node that has to answer.
        """
        closes_at = opened_at + timedelta(seconds=self.gate_s)
        while True:
            left_s = (closes_at - self.clock.now()).total_seconds()
            violated, unmeasured = await self._broken(self.invariants + (self.restored if left_s <= 0 else ()))
            if violated or left_s <= 0:
                break
            await self.clock.sleep(min(POLL_S, left_s))
        reason = violated or unmeasured
        if node is not None and node not in self.nodes.names():
            reason = f"{node} left the fleet"
        elif node is not None:
            report = await self.nodes.report(node)
            stable = report.slots.get("stable")
            if not reason and (stable is None or not stable.healthy):
                reason = "its release does not answer"
        ended = self.clock.now() if reason else closes_at
        what = f"gate of {node}" if node else "gate"
        return reason, e.Wait(kind="query_window", what=what, opened_at=opened_at, closed_at=ended)

    async def _broken(self, invariants: tuple[Invariant, ...]) -> tuple[str, str]:
        """Which invariant does not hold now, for longer than it may, and which can't be told; empty for none."""
        now, unmeasured = self.clock.now(), ""
        for invariant in invariants:
            measured = await measure(self.metrics, self.manifest, invariant.metric, Window.before(now, invariant.for_s))
            holds = invariant.condition.condition.holds(measured.value)
            if holds is False:
                wanted = invariant.condition.condition.text
                return f"invariant {invariant.name}: {invariant.metric} is {measured.value:.3g}, not {wanted}", ""
            if holds is None:
                unmeasured = f"invariant {invariant.name}: {invariant.metric} was not measured at the end of the gate"
        return "", unmeasured
