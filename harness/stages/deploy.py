"""DEPLOY: main moves to the tested commit, then the nodes follow one at a time, with a gate after each.

Touches main, nodes and the ledger. A gate that fails takes everything back before the stage ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from harness.core import events as e
from harness.core.errors import Forbidden
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.core.policy import Deploy
from harness.journal import Journal
from harness.measure import Window, measure
from harness.ports import Metrics, Nodes, Repository
from harness.rollout import roll_back, swap, swap_waits

POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a deployment needs besides the ticket's journal."""

    manifest: Manifest
    invariants: tuple[Invariant, ...]
    policy: Deploy
    metrics: Metrics
    nodes: Nodes
    repository: Repository


async def deploy(journal: Journal, stage: Stage) -> e.ReleaseDeployed | e.DeployFailed | e.RollbackFailed:
    """Serve the tested tree on every node, or serve what was served before."""
    attempt = journal.ticket.attempt
    n, key = attempt.n, f"{attempt.n}/deploy"
    if done := journal.recorded(key, e.Event):
        assert isinstance(done, e.ReleaseDeployed | e.DeployFailed | e.RollbackFailed)
        return done
    checks = attempt.checks
    assert isinstance(checks, e.ChecksPassed)
    try:
        _move_main(journal, stage, checks)
    except Forbidden as error:
        return journal.record(key, e.DeployFailed(attempt=n, reason=str(error)))
    for node in stage.nodes.names():
        swapped = await _swap(journal, stage, node, checks.commit)
        if not swapped.ok:
            reason = f"{node}: {swapped.reason}"
            back = await roll_back(journal, stage.nodes, stage.repository, _touched(journal), reason)
            if isinstance(back, e.RollbackFailed):
                return back
            return journal.record(key, e.DeployFailed(attempt=n, reason=reason))
    return journal.record(
        key, e.ReleaseDeployed(attempt=n, commit=checks.commit, tree=checks.tree, nodes=stage.nodes.names())
    )


def _move_main(journal: Journal, stage: Stage, checks: e.ChecksPassed) -> None:
    """Raises Forbidden when somebody moved main since the checks: their tree is no longer the one to deliver."""
    if journal.ticket.attempt.main_moved is None:
        if stage.repository.main() != checks.commit:
            stage.repository.move_main(checks.onto, checks.commit)
        journal.record(f"{checks.attempt}/deploy/main", e.MainMoved(before=checks.onto, after=checks.commit))


def _touched(journal: Journal) -> list[str]:
    return [swapped.node for swapped in journal.ticket.attempt.swaps]


async def _swap(journal: Journal, stage: Stage, node: str, commit: str) -> e.NodeSwapped:
    """Swap one node, then watch its gate: the node is healthy and every invariant holds, to the end of the gate."""
    n = journal.ticket.attempt.n
    key = f"{n}/deploy/{node}"
    if done := journal.recorded(key, e.NodeSwapped):
        return done
    answer = await swap(journal, stage.nodes, node, commit, key=key)
    reason, waits = answer.reason, swap_waits(answer)
    if answer.ok:
        reason, waited = await _gate(journal, stage, node, answer.ended_at)
        waits = (*waits, waited)
    return journal.record(
        key,
        e.NodeSwapped(
            attempt=n, node=node, before=answer.before or "", after=commit, ok=not reason, reason=reason, waits=waits
        ),
    )


async def _gate(journal: Journal, stage: Stage, node: str, opened_at: datetime) -> tuple[str, e.Wait]:
    """Why the node may not stay as it is (empty when it may), and the wait. Looks at least once, also after a crash."""
    closes_at = opened_at + timedelta(seconds=stage.policy.gate_s)
    while True:
        violated, unmeasured = await _invariants(journal, stage)
        left_s = (closes_at - journal.clock.now()).total_seconds()
        if violated or left_s <= 0:
            break
        await journal.clock.sleep(min(POLL_S, left_s))
    reason = violated or unmeasured
    report = await stage.nodes.report(node)
    stable = report.slots.get("stable")
    if not reason and (stable is None or not stable.healthy):
        reason = "its release does not answer"
    ended = journal.clock.now() if reason else closes_at
    return reason, e.Wait(kind="query_window", what=f"gate of {node}", opened_at=opened_at, closed_at=ended)


async def _invariants(journal: Journal, stage: Stage) -> tuple[str, str]:
    """Which invariant does not hold now, for longer than it may, and which cannot be told; empty when there is none."""
    now, unmeasured = journal.clock.now(), ""
    for invariant in stage.invariants:
        measured = await measure(stage.metrics, stage.manifest, invariant.metric, Window.before(now, invariant.for_s))
        holds = invariant.condition.condition.holds(measured.value)
        if holds is False:
            wanted = invariant.condition.condition.text
            return f"invariant {invariant.name}: {invariant.metric} is {measured.value:.3g}, not {wanted}", ""
        if holds is None:
            unmeasured = f"invariant {invariant.name}: {invariant.metric} was not measured at the end of the gate"
    return "", unmeasured
