"""How much error budget the objective of a ticket has left: part of its place in the queue. Reads metrics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from harness.core.burn_rate import budget_left
from harness.core.errors import Invalid, Retryable
from harness.core.events import TicketFiled
from harness.core.manifest import Manifest
from harness.core.slo import Slo
from harness.objectives import spent
from harness.ports import Metrics


async def left_of(
    filed: TicketFiled, *, slos: Sequence[Slo], manifest: Manifest, metrics: Metrics, now: datetime
) -> float | None:
    """The share that is left of the budget of the objective that the ticket was filed for, over its period.

    None for a ticket of anything else, and where it cannot be told: metrics are away, there were too few events, or
    half of the period is not covered.
    """
    slo = next((one for one in slos if filed.signal == f"slo:{one.name}"), None)
    if slo is None:
        return None
    try:
        counted = await spent(metrics, manifest, slo, now)
    except (Retryable, Invalid):
        return None
    if counted is None or counted.total < slo.min_events or 2 * (now - counted.since).total_seconds() < slo.period_s:
        return None
    return budget_left(counted.bad, counted.total, slo.error_budget)
