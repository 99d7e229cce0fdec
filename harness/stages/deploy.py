"""DEPLOY: main moves to the tested commit, then the nodes follow one at a time, with a gate after each.

Touches main, nodes and the ledger. A gate that fails takes everything back before the stage ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.core import events as e
from harness.core.errors import Forbidden, Retryable
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.core.policy import Deploy
from harness.gate import Gate
from harness.journal import Journal
from harness.operation import Operator, carry_out
from harness.others import left_to_others
from harness.ports import Metrics, Nodes, Repository
from harness.rollout import roll_back, swap, swap_waits
from harness.stall import give_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a deployment needs besides the ticket's journal."""

    manifest: Manifest
    invariants: tuple[Invariant, ...]
    policy: Deploy
    metrics: Metrics
    nodes: Nodes
    repository: Repository
    operator: Operator


async def deploy(journal: Journal, stage: Stage) -> e.ReleaseDeployed | e.DeployFailed | e.RollbackFailed:
    """Serve the tested tree on every node, or serve what was served before."""
    attempt = journal.ticket.attempt
    n, key = attempt.n, f"{attempt.n}/deploy"
    if done := journal.recorded(key, e.Event):
        assert isinstance(done, e.ReleaseDeployed | e.DeployFailed | e.RollbackFailed)
        return done
    if attempt.operation is not None:
        return await carry_out(journal, stage.operator)
    checks = attempt.checks
    assert isinstance(checks, e.ChecksPassed)
    try:
        _move_main(journal, stage, checks)
    except Forbidden as error:
        return journal.record(key, e.DeployFailed(attempt=n, reason=str(error)))
    except Retryable as error:
        reason = give_up(journal, stage.operator.profile.stall_s, error)
        return journal.record(key, e.DeployFailed(attempt=n, reason=reason))
    for node in stage.nodes.names():
        swapped = await _swap(journal, stage, node, checks.commit)
        if not swapped.ok:
            reason = f"{node}: {swapped.reason}"
            back = await roll_back(
                journal, stage.nodes, stage.repository, _touched(journal), reason,
                stall_s=stage.operator.profile.stall_s,
            )  # fmt: skip
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
            stage.repository.move_main(checks.base, checks.commit)
        journal.record(f"{checks.attempt}/deploy/main", e.MainMoved(before=checks.base, after=checks.commit))


def _touched(journal: Journal) -> list[str]:
    return [swapped.node for swapped in journal.ticket.attempt.swaps]


async def _swap(journal: Journal, stage: Stage, node: str, commit: str) -> e.NodeSwapped:
    """Swap one node, then watch its gate: the node is healthy and every invariant holds, to the end of the gate.

    A node, or a measurement, that does not answer for too long is as bad as one that says no.
    """
    n = journal.ticket.attempt.n
    key = f"{n}/deploy/{node}"
    if done := journal.recorded(key, e.NodeSwapped):
        return done
    before, waits, left_to = "", tuple[e.Wait, ...](), tuple[e.LeftTo, ...]()
    try:
        answer = await swap(journal, stage.nodes, node, commit, key=key)
        before, reason, waits = answer.before or "", answer.reason, swap_waits(answer)
        if answer.ok:
            gate = Gate(
                manifest=stage.manifest, invariants=stage.invariants, gate_s=stage.policy.gate_s, metrics=stage.metrics,
                nodes=stage.nodes, clock=journal.clock, left=left_to_others(journal, (), stage.invariants),
            )  # fmt: skip
            reason, waited, left_to = await gate.watch(node, answer.ended_at)
            waits = (*waits, waited)
    except Retryable as error:
        reason = give_up(journal, stage.operator.profile.stall_s, error)
    return journal.record(
        key,
        e.NodeSwapped(
            attempt=n, node=node, before=before, after=commit, ok=not reason, reason=reason, waits=waits,
            left_to=left_to,
        ),
    )  # fmt: skip
