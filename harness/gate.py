"""The gate after a node was touched: it answers, and every invariant holds, to the end of the gate. Reads only.

An invariant that was broken before the ticket touched anything, and is another's to restore, must have got no worse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from harness.core import events as e
from harness.core import others
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.measure import Window, declared, measure, measure_all
from harness.others import Left
from harness.ports import Clock, Metrics, Nodes

POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What is watched, and for how long. ``restored`` have to hold at the end only: they were broken before.

    ``left``: what is left to other tickets, which is looked at when the gate closes.
    """

    manifest: Manifest
    invariants: tuple[Invariant, ...]
    restored: tuple[Invariant, ...] = ()
    left: Left = field(default_factory=dict)
    gate_s: float
    metrics: Metrics
    nodes: Nodes
    clock: Clock

    async def watch(self, node: str | None, opened_at: datetime) -> tuple[str, e.Wait, tuple[e.LeftTo, ...]]:
        """Why things may not stay as they are (empty when they may), the wait, and what was left to other tickets.

        Looks at least once, also after a crash. ``node`` None: there is no node that has to answer.
        """
        closes_at = opened_at + timedelta(seconds=self.gate_s)
        while True:
            left_s = (closes_at - self.clock.now()).total_seconds()
            firm = tuple(one for one in self.invariants if self._left(one) is None)
            violated, unmeasured = await self._broken(firm + (self.restored if left_s <= 0 else ()))
            if violated or left_s <= 0:
                break
            await self.clock.sleep(min(POLL_S, left_s))
        left_to = await self._left_to()
        reason = violated or unmeasured or "; ".join(filter(None, map(_worse, left_to)))
        if node is not None and node not in self.nodes.names():
            reason = f"{node} left the fleet"
        elif node is not None:
            report = await self.nodes.report(node)
            stable = report.slots.get("stable")
            if not reason and (stable is None or not stable.healthy):
                reason = "its release does not answer"
        ended = self.clock.now() if reason else closes_at
        what = f"gate of {node}" if node else "gate"
        return reason, e.Wait(kind="query_window", what=what, opened_at=opened_at, closed_at=ended), left_to

    def _left(self, invariant: Invariant) -> tuple[str, e.Measurement] | None:
        return self.left.get((invariant.metric, invariant.condition.condition.text))

    async def _left_to(self) -> tuple[e.LeftTo, ...]:
        """Those that do not hold now and are left to another ticket, with whether they got worse."""
        found = []
        for invariant in self.invariants:
            if (left := self._left(invariant)) is None:
                continue
            window = Window.before(self.clock.now(), max(invariant.for_s, self.gate_s))
            now = await measure(self.metrics, self.manifest, invariant.metric, window)
            if invariant.condition.condition.holds(now.value) is not True:
                condition, metric = invariant.condition.condition.text, declared(self.manifest, now.metric)
                found.append(others.judged(left[0], condition, left[1], now, metric, design_effect=1.0))
        return tuple(found)

    async def _broken(self, invariants: tuple[Invariant, ...]) -> tuple[str, str]:
        """Which invariant does not hold now, for longer than it may, and which can't be told; empty for none."""
        now, unmeasured = self.clock.now(), ""
        asked = [(one.metric, Window.before(now, one.for_s)) for one in invariants]
        for invariant, measured in zip(invariants, await measure_all(self.metrics, self.manifest, asked), strict=True):
            holds = invariant.condition.condition.holds(measured.value)
            if holds is False:
                wanted = invariant.condition.condition.text
                return f"invariant {invariant.name}: {invariant.metric} is {measured.value:.3g}, not {wanted}", ""
            if holds is None:
                unmeasured = f"invariant {invariant.name}: {invariant.metric} was not measured at the end of the gate"
        return "", unmeasured


def _worse(one: e.LeftTo) -> str:
    """Why it stands in the way; empty when it does not."""
    if one.no_worse:
        return ""
    now = "was not measured" if one.now.value is None else f"is {one.now.value:.3g}"
    return f"{one.metric} {now}, before this delivery {one.before.value:.3g}: worse than it was left to {one.ticket_id}"
