"""DEPLOY: main moves to the tested commit, then the nodes follow one at a time, with a gate after each.

Touches main, nodes and the ledger. A gate that fails takes everything back before the stage ends.
"""

from __future__ import annotations

from harness.core import events as e
from harness.core.errors import Forbidden, Retryable
from harness.gate import pass_gate
from harness.journal import Journal
from harness.operation import carry_out
from harness.operator import Operator, gate_of
from harness.ports import Repository
from harness.rollout import roll_back, swap, swap_waits
from harness.stall import give_up


async def deploy(journal: Journal, operator: Operator) -> e.ReleaseDeployed | e.DeployFailed | e.RollbackFailed:
    """Serve the tested tree on every node, or serve what was served before."""
    attempt = journal.ticket.attempt
    n, key = attempt.n, f"{attempt.n}/deploy"
    if done := journal.recorded(key, e.Event):
        assert isinstance(done, e.ReleaseDeployed | e.DeployFailed | e.RollbackFailed)
        return done
    if attempt.operation is not None:
        return await carry_out(journal, operator)
    checks = attempt.checks
    assert isinstance(checks, e.ChecksPassed)
    try:
        if shut := await pass_gate(journal, gate_of(journal, operator), "deploy", "before"):
            return journal.record(key, e.DeployFailed(attempt=n, reason=shut))
        _move_main(journal, operator.repository, checks)
    except Forbidden as error:
        return journal.record(key, e.DeployFailed(attempt=n, reason=str(error)))
    except Retryable as error:
        return journal.record(key, e.DeployFailed(attempt=n, reason=give_up(journal, operator.profile.stall_s, error)))
    if reason := await _rolled_out(journal, operator, checks.commit):
        touched = [swapped.node for swapped in journal.ticket.attempt.swaps]
        back = await roll_back(journal, operator, touched, reason)
        if isinstance(back, e.RollbackFailed):
            return back
        return journal.record(key, e.DeployFailed(attempt=n, reason=reason))
    return journal.record(
        key, e.ReleaseDeployed(attempt=n, commit=checks.commit, tree=checks.tree, nodes=operator.nodes.names())
    )


def _move_main(journal: Journal, repository: Repository, checks: e.ChecksPassed) -> None:
    """Raises Forbidden when somebody moved main since the checks: their tree is no longer the one to deliver."""
    if journal.ticket.attempt.main_moved is None:
        if repository.main() != checks.commit:
            repository.move_main(checks.base, checks.commit)
        journal.record(f"{checks.attempt}/deploy/main", e.MainMoved(before=checks.base, after=checks.commit))


async def _rolled_out(journal: Journal, operator: Operator, commit: str) -> str:
    """Swap every node, one after the other, with a gate after each and after all; why it may not stay, else empty."""
    for node in operator.nodes.names():
        swapped = await _swap(journal, operator, node, commit)
        if not swapped.ok:
            return f"{node}: {swapped.reason}"
    try:
        return await pass_gate(journal, gate_of(journal, operator), "deploy", "after")
    except Retryable as error:
        return give_up(journal, operator.profile.stall_s, error)


async def _swap(journal: Journal, operator: Operator, node: str, commit: str) -> e.NodeSwapped:
    """Swap one node, then watch its gate: the node is healthy and every invariant holds, to the end of the gate.

    A node, or a measurement, that does not answer for too long is as bad as one that says no.
    """
    n = journal.ticket.attempt.n
    key = f"{n}/deploy/{node}"
    if done := journal.recorded(key, e.NodeSwapped):
        return done
    before, waits, left_to = "", tuple[e.Wait, ...](), tuple[e.LeftTo, ...]()
    try:
        answer = await swap(journal, operator.nodes, node, commit, key=key)
        before, reason, waits = answer.before or "", answer.reason, swap_waits(answer)
        if answer.ok:
            reason, waited, left_to = await gate_of(journal, operator).watch(node, answer.ended_at)
            waits = (*waits, waited)
    except Retryable as error:
        reason = give_up(journal, operator.profile.stall_s, error)
    return journal.record(
        key,
        e.NodeSwapped(
            attempt=n, node=node, before=before, after=commit, ok=not reason, reason=reason, waits=waits,
            left_to=left_to,
        ),
    )  # fmt: skip
