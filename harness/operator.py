"""What carries a change through its stages, and the gate that it has at all of them. Reads nodes; writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core import operation as core
from harness.core.contract import Promise
from harness.core.errors import Retryable
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.core.policy import Profile
from harness.core.slo import Slo
from harness.gate import Gate
from harness.journal import Journal
from harness.others import no_worse_only, restored_by
from harness.overspend import Overspend
from harness.ports import Checks, Metrics, NodeProvider, Nodes, Repository, Router


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What a change of the service needs besides the ticket's journal, from TEST to VERIFY and on the way back."""

    manifest: Manifest
    catalog: core.Catalog
    promises: tuple[Promise, ...]
    slos: tuple[Slo, ...]
    invariants: tuple[Invariant, ...]
    profile: Profile
    metrics: Metrics
    nodes: Nodes
    provider: NodeProvider
    router: Router
    repository: Repository
    checks: Checks


def gate_of(journal: Journal, operator: Operator, *, restores: bool = False) -> Gate:
    """The gate of the policy, on every invariant.

    ``restores``: what the ticket is there to restore has to hold in full at the end, and not only to get no worse.
    """
    own = restored_by(journal, operator.invariants) if restores else ()
    return Gate(
        ticket_id=journal.ticket_id, manifest=operator.manifest, gate_s=operator.profile.deploy.gate_s,
        metrics=operator.metrics, nodes=operator.nodes, clock=journal.clock, restored=own,
        invariants=tuple(one for one in operator.invariants if one not in own),
        left=lambda: no_worse_only(journal, operator.invariants), overspend=overspend_of(journal, operator),
    )  # fmt: skip


def overspend_of(journal: Journal, operator: Operator) -> Overspend:
    """What the ticket spends of the budget of every objective."""
    return Overspend(journal=journal, manifest=operator.manifest, slos=operator.slos, metrics=operator.metrics)


async def serves(nodes: Nodes, node: str) -> bool:
    """Whether a node answers, and its stable release does."""
    try:
        report = await nodes.report(node)
    except Retryable:
        return False
    stable = report.slots.get("stable")
    return stable is not None and stable.healthy
