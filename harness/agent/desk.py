"""What a tool may reach while one attempt works on one ticket: values and ports, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.manifest import Manifest
from harness.core.operation import Catalog
from harness.core.policy import Splitting
from harness.journal import Journal
from harness.ports import Checks, Metrics, Nodes, Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The agent's desk. ``key`` is the idempotency key of the step under way; ``at`` the commit the work stands at."""

    journal: Journal
    manifest: Manifest
    catalog: Catalog
    metrics: Metrics
    nodes: Nodes
    repository: Repository
    checks: Checks
    spec_digest: str
    splitting: Splitting
    key: str
    at: str

    @property
    def branch(self) -> str:
        """The branch of this attempt."""
        return f"harness/{self.journal.ticket_id}/{self.journal.ticket.life.attempt}"
