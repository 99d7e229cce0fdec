"""Admission: lets a ticket in with its criteria frozen, refuses it with reasons, or calls a person for what cannot be
measured. Touches the ledger and metrics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from harness.core import events as e
from harness.core.admission import WAY_OUT, failing_rules, to_people, undeclared, without_data
from harness.core.manifest import Manifest
from harness.core.policy import Admission
from harness.core.ticket_spec import Criterion, TicketSpec
from harness.core.units import Quantity
from harness.journal import Journal
from harness.measure import Bench, Window, live, measure, measure_all, measure_anywhere
from harness.ports import Metrics

KEY = "admit"
RECENT_S = 5.0
"""The span over which the state at admission is shown, and for which data are waited for where there were none."""
BEGINS_S = 60.0
"""A service of which nothing was measured so long ago has only just begun to be: its data are waited for as long."""


async def admit(
    journal: Journal, *, manifest: Manifest, policy: Admission, window_s: float, digest: str, metrics: Metrics,
    bench: Bench,
) -> e.TicketAdmitted | e.TicketRejected | e.HelpRequested:  # fmt: skip
    """Admit the ticket with the baseline of every criterion measured; or reject it with every failing rule. What cannot
    be measured is one, unless the ticket allows it: then a person is called, and each answer has it looked at again.

    Args:
        window_s: for how long a criterion without a duration has to hold.
    """
    if done := journal.recorded(KEY, e.Event):
        assert isinstance(done, e.TicketAdmitted | e.TicketRejected)
        return done
    spec = journal.spec()
    if reasons := failing_rules(spec, manifest, journal.clock.now()):
        return journal.record(KEY, e.TicketRejected(reasons=reasons))
    if unknown := undeclared(spec, manifest):
        return _call(journal, unknown)
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
    if _asks(journal, spec) and (missing := await _missing(journal, manifest, metrics, criteria, sick)):
        if spec.allow_unmeasured:
            return _call(journal, missing)
        return journal.record(KEY, e.TicketRejected(reasons=tuple(f"{one}; {WAY_OUT}" for one in missing)))
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


def _asks(journal: Journal, spec: TicketSpec) -> bool:
    """Whether a person wants work that could not be shown to be done. What the harness files may be about data that are
    away, and a person's own commit may bring them back: VERIFY takes it back where nothing was measured."""
    return journal.ticket.filed.source == "human" and spec.change is None and spec.reverts is None


async def _missing(
    journal: Journal, manifest: Manifest, metrics: Metrics, criteria: Sequence[e.FrozenCriterion],
    recent: Sequence[e.Measurement],
) -> list[str]:  # fmt: skip
    """What nothing could be measured for. It is looked at again, once, and for longer where the service has only just
    begun: a ticket that was filed while nothing ran is admitted in the first seconds of a stack."""
    missing = without_data(criteria, recent)
    if not missing:
        return []
    began_at = journal.clock.now()
    names = [name for name in dict.fromkeys(one.metric for one in criteria) if name in live(manifest)]
    long_ago = Window.before(began_at - timedelta(seconds=BEGINS_S), RECENT_S)
    before = await measure_all(metrics, manifest, [(name, long_ago) for name in live(manifest)])
    begins = all(one.value is None and not one.samples for one in before)
    until = began_at + timedelta(seconds=BEGINS_S if begins else RECENT_S)
    while missing and journal.clock.now() < until:
        await journal.clock.sleep(RECENT_S)
        now = Window.before(journal.clock.now(), RECENT_S)
        missing = without_data(criteria, await measure_all(metrics, manifest, [(name, now) for name in names]))
    return missing


def _call(journal: Journal, reasons: Sequence[str]) -> e.HelpRequested:
    return journal.call_person(f"{KEY}/unmeasured-{len(journal.ticket.words)}", "asked", to_people(reasons), attempt=0)
