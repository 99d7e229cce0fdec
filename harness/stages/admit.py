"""Admission: lets a ticket in with its criteria frozen, or refuses it with reasons. Touches the ledger and metrics."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from harness.core import events as e
from harness.core.admission import failing_rules
from harness.core.manifest import Manifest
from harness.core.policy import Admission
from harness.core.ticket import Criterion
from harness.core.units import Quantity
from harness.journal import Journal
from harness.measure import Bench, Window, live, measure, measure_anywhere
from harness.ports import Metrics

KEY = "admit"
RECENT_S = 5.0
"""The span over which the state at admission is shown."""


async def admit(
    journal: Journal, *, manifest: Manifest, policy: Admission, window_s: float, digest: str, metrics: Metrics,
    bench: Bench,
) -> e.TicketAdmitted | e.TicketRejected:  # fmt: skip
    """Admit the ticket with the baseline of every criterion measured; or reject it with every failing rule.

    Args:
        window_s: for how long a criterion without a duration has to hold.
    """
    if done := journal.recorded(KEY, e.Event):
        assert isinstance(done, e.TicketAdmitted | e.TicketRejected)
        return done
    spec = journal.spec()
    if reasons := failing_rules(spec, manifest, journal.clock.now()):
        return journal.record(KEY, e.TicketRejected(reasons=reasons))
    began_at = journal.ticket.filed.signal_began_at or journal.clock.now()
    window = Window.before(began_at - timedelta(seconds=policy.gap_s), policy.baseline_s)
    recent = Window.before(journal.clock.now(), RECENT_S)
    wanted, shown = spec.acceptance_criteria, live(manifest)
    baselines, sick = await asyncio.gather(
        asyncio.gather(*(_baseline(criterion, manifest, metrics, window, bench) for criterion in wanted)),
        asyncio.gather(*(measure(metrics, manifest, name, recent) for name in shown)),
    )
    criteria = tuple(
        e.FrozenCriterion(
            metric=criterion.metric, condition=criterion.condition, baseline=baseline,
            duration=criterion.duration or Quantity(window_s, "s").text,
        )
        for criterion, baseline in zip(wanted, baselines, strict=True)
    )  # fmt: skip
    return journal.record(
        KEY,
        e.TicketAdmitted(policy=digest, criteria=criteria, sick=tuple(sick), attempts_allowed=policy.attempts),
    )


async def _baseline(
    criterion: Criterion, manifest: Manifest, metrics: Metrics, window: Window, bench: Bench
) -> e.Measurement:
    """With its query, window and samples also where nothing came of it: so it can be told what was asked for."""
    measured, _ = await measure_anywhere(metrics, manifest, criterion.metric, window, bench)
    return measured
