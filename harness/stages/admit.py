"""Admission: lets a ticket in with its criteria frozen, or refuses it with reasons. Touches the ledger and metrics."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from harness.core import events as e
from harness.core.errors import Invalid
from harness.core.manifest import Manifest
from harness.core.policy import Admission
from harness.core.ticket import Criterion, TicketSpec
from harness.journal import Journal
from harness.measure import Window, declared, measure
from harness.ports import Metrics

KEY = "admit"
RECENT_S = 5.0
"""The span over which the state at admission is shown."""


async def admit(
    journal: Journal, *, manifest: Manifest, policy: Admission, digest: str, metrics: Metrics
) -> e.TicketAdmitted | e.TicketRejected:
    """Admit the ticket with the baseline of every criterion measured; or reject it with every failing rule."""
    if done := journal.recorded(KEY, e.Event):
        assert isinstance(done, e.TicketAdmitted | e.TicketRejected)
        return done
    spec = journal.spec()
    if reasons := _failing_rules(spec, manifest):
        return journal.record(KEY, e.TicketRejected(reasons=reasons))
    began_at = journal.ticket.filed.signal_began_at or journal.clock.now()
    window = Window.before(began_at - timedelta(seconds=policy.gap_s), policy.baseline_s)
    recent = Window.before(journal.clock.now(), RECENT_S)
    wanted = spec.acceptance_criteria
    measured = await asyncio.gather(
        *(_baseline(criterion, manifest, metrics, window) for criterion in wanted),
        *(measure(metrics, manifest, name, recent) for name in manifest.metrics),
    )
    baselines, sick = measured[: len(wanted)], tuple(one for one in measured[len(wanted) :] if one is not None)
    criteria = [
        e.FrozenCriterion(**criterion.model_dump(), baseline=baseline)
        for criterion, baseline in zip(wanted, baselines, strict=True)
    ]
    return journal.record(
        KEY,
        e.TicketAdmitted(policy=digest, criteria=tuple(criteria), sick=sick, attempts_allowed=policy.attempts),
    )


async def _baseline(criterion: Criterion, manifest: Manifest, metrics: Metrics, window: Window) -> e.Measurement | None:
    measured = await measure(metrics, manifest, criterion.metric, window)
    return None if measured.value is None else measured


def _failing_rules(spec: TicketSpec, manifest: Manifest) -> tuple[str, ...]:
    reasons = []
    if spec.service != manifest.name:
        reasons.append(f"service: `{spec.service}` is not registered; registered: {manifest.name}")
    for number, criterion in enumerate(spec.acceptance_criteria):
        try:
            declared(manifest, criterion.metric)
            criterion.spec()
        except Invalid as error:
            reasons.append(f"acceptance_criteria.{number}: {error}")
    return tuple(reasons)
