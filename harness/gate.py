"""Gates: whether every invariant holds right before and after a stage that changes the service, and while its nodes are
touched. Reads metrics and nodes; writes what it saw to the ticket's own stream.

An invariant that was broken before the ticket touched anything, and is this or another ticket's to restore, must have
got no worse. Where a constraint limits what the ticket may spend of error budgets, that is asked at every gate, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from harness.core import events as e
from harness.core import others
from harness.core.errors import Retryable
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.core.units import Quantity
from harness.counting import sampled_anew
from harness.journal import Journal
from harness.measure import Window, declared, measure_all
from harness.others import Left
from harness.overspend import Overspend
from harness.ports import Clock, Metrics, Nodes

POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What is watched, and for how long. ``restored`` have to hold in full at the end: their ticket is there for it.

    ``left``: what, as of now, only has to get no worse, and what it was before the ticket touched anything: what is
    others' to restore, and what is its own (VERIFY asks for that in full).
    """

    ticket_id: str
    manifest: Manifest
    invariants: tuple[Invariant, ...]
    restored: tuple[Invariant, ...] = ()
    left: Callable[[], Left]
    overspend: Overspend
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
            over = self.clock.now() >= closes_at
            judged = await self._judge(at_the_end=over)
            reason = next((said for one, said in judged if one.met is False and said), "")
            reason = reason or await self.overspend.judge()
            if reason or over:
                break
            await self.clock.sleep(min(POLL_S, (closes_at - self.clock.now()).total_seconds()))
        reason = reason or "; ".join(said for _, said in judged if said)
        reason = await self._with_node(node, reason)
        ended = self.clock.now() if reason else closes_at
        what = f"gate of {node}" if node else "gate"
        left_to = tuple(one.left_to for one, _ in judged if one.left_to and one.left_to.ticket_id != self.ticket_id)
        return reason, e.Wait(kind="query_window", what=what, opened_at=opened_at, closed_at=ended), left_to

    async def _with_node(self, node: str | None, reason: str) -> str:
        """Why things may not stay, with the node that has to answer, if one has to."""
        if node is None:
            return reason
        if node not in self.nodes.names():
            return f"{node} left the fleet"
        stable = (await self.nodes.report(node)).slots.get("stable")
        return reason or ("" if stable is not None and stable.healthy else "its release does not answer")

    async def until_passed(self, node: str | None = None) -> tuple[str, tuple[e.JudgedCriterion, ...]]:
        """Why not every invariant passes once it was waited for as long as the gate allows, and each as it was judged
        last. What a stage before it did to the service may be in the first looks yet."""
        closes_at = self.clock.now() + timedelta(seconds=self.gate_s)
        while True:
            judged = await self._judge(at_the_end=True)
            left_s = (closes_at - self.clock.now()).total_seconds()
            if not any(said for _, said in judged) or left_s <= 0:
                reason = await self._with_node(node, "; ".join(said for _, said in judged if said))
                return reason, tuple(one for one, _ in judged)
            await self.clock.sleep(min(POLL_S, left_s))

    async def _judge(self, *, at_the_end: bool) -> list[tuple[e.JudgedCriterion, str]]:
        """Every invariant over its own while, each with why it does not pass, which is empty for one that does.

        What only has to get no worse, or was broken and has to hold again, is asked at the end.
        """
        left, now = self.left(), self.clock.now()
        asked = [(one, left.get((one.metric, one.condition.condition.text))) for one in self.invariants]
        if at_the_end:
            asked += [(one, None) for one in self.restored]
        else:
            asked = [(one, was) for one, was in asked if was is None]
        windows = [
            (one.metric, Window.before(now, max(one.for_s, self.gate_s) if was else one.for_s)) for one, was in asked
        ]
        measured = await measure_all(self.metrics, self.manifest, windows)
        return [self._judged(one, was, seen) for (one, was), seen in zip(asked, measured, strict=True)]

    def _judged(
        self, invariant: Invariant, was: tuple[str, e.Measurement] | None, seen: e.Measurement
    ) -> tuple[e.JudgedCriterion, str]:
        condition = invariant.condition.condition
        met, left_to = condition.holds(seen.value), None
        if met is not True and was is not None:
            metric = declared(self.manifest, seen.metric)
            left_to = others.judged(was[0], condition.text, was[1], seen, metric, design_effect=1.0)
        judged = e.JudgedCriterion(
            metric=invariant.metric, condition=condition.text, duration=Quantity(invariant.for_s, "s").text,
            measured=seen, met=met, left_to=left_to,
        )  # fmt: skip
        return judged, "" if judged.passes else _why_not(invariant, judged)


def _why_not(invariant: Invariant, one: e.JudgedCriterion) -> str:
    now, left = one.measured.value, one.left_to
    if now is None:
        return f"invariant {invariant.name}: {one.metric} was not measured at the end of the gate"
    if left is None:
        return f"invariant {invariant.name}: {one.metric} is {now:.3g}, not {one.condition}"
    was = "not measured" if left.before.value is None else f"{left.before.value:.3g}"
    return f"{one.metric} is {now:.3g}, before this delivery {was}: worse than it was left to {left.ticket_id}"


async def pass_gate(journal: Journal, gate: Gate, stage: e.Gated, side: e.Side, *, node: str | None = None) -> str:
    """Look at every invariant right before or after a stage, and record it: why it does not pass, else empty.

    ``node``: one that has to answer as well. Raises Retryable when nobody tells: then nothing is recorded, and the
    stage is tried again.
    """
    key = f"{journal.ticket.attempt.n}/{stage}/gate-{side}"
    if done := journal.recorded(key, e.GateJudged):
        return done.reason
    waits = await _until_seen(gate, stage, side)
    opened_at = journal.clock.now()
    reason, judged = await gate.until_passed(node)
    if (stage, side) == ("canary", "before"):
        reason = await gate.overspend.begin() or reason
    reason = reason or await gate.overspend.judge()
    return _record(journal, key, stage, side, reason, judged, waits, opened_at)


async def note_gate(journal: Journal, gate: Gate, stage: e.Gated, *, key: str) -> None:
    """As ``pass_gate`` after a stage, where nothing hangs on what it says: who does not answer is not waited for."""
    if journal.recorded(key, e.GateJudged):
        return
    waits = await _until_seen(gate, stage, "after")
    opened_at, judged = journal.clock.now(), tuple[e.JudgedCriterion, ...]()
    try:
        reason, judged = await gate.until_passed()
    except Retryable as error:
        reason = f"no_data: {error}"
    await gate.overspend.end()
    _record(journal, key, stage, "after", reason, judged, waits, opened_at)


async def _until_seen(gate: Gate, stage: e.Gated, side: e.Side) -> tuple[e.Wait, ...]:
    """After a stage, until something was measured since: a sample from before would say how it was before."""
    if side == "before":
        return ()
    return (await sampled_anew(gate.metrics, gate.manifest, gate.clock, f"first sample after {stage}"),)


def _record(
    journal: Journal, key: str, stage: e.Gated, side: e.Side, reason: str, judged: tuple[e.JudgedCriterion, ...],
    waits: tuple[e.Wait, ...], opened_at: datetime,
) -> str:  # fmt: skip
    what, now = f"gate {side} {stage}", journal.clock.now()
    if now > opened_at:
        waits = (*waits, e.Wait(kind="query_window", what=what, opened_at=opened_at, closed_at=now))
    event = e.GateJudged(
        attempt=journal.ticket.attempt.n, stage=stage, side=side, invariants=judged,
        reason=f"{what}: {reason}" if reason else "", waits=waits,
    )  # fmt: skip
    return journal.record(key, event).reason
