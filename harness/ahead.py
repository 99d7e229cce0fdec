"""What the past says of what could be better: metrics of the last week, and runs of checks. Reads; writes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from harness.core import events as e
from harness.core.criteria import check_seconds_of
from harness.core.errors import Retryable
from harness.core.ids import fleet_stream, ticket_stream
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.core.operation import Catalog
from harness.core.outlook import Outlook, bounds, known, spare_capacity, trends, wanted
from harness.core.policy import Ahead, Slower
from harness.core.record import Recorded
from harness.core.slo import Slo
from harness.core.slower import Ran, Shift, shift_of
from harness.journal import decode
from harness.measure import measure_windows
from harness.ports import Ledger, Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What looking ahead needs."""

    slos: tuple[Slo, ...]
    invariants: tuple[Invariant, ...]
    catalog: Catalog
    metrics: Metrics | None
    """None where nobody knows where they are."""


async def look_ahead(
    sources: Sources, manifest: Manifest, policy: Ahead, ledger: Ledger, now: datetime
) -> list[tuple[Outlook, e.Measurement]]:
    """Everything that could be better ahead, each with where its metric stands. Raises Retryable."""
    metrics = sources.metrics
    if metrics is None:
        raise Retryable("there are no metrics to be read; `harness up` starts what keeps them, or set PROMETHEUS_URL")
    end = datetime.fromtimestamp(now.timestamp() // policy.window_s * policy.window_s, UTC)
    start = end - timedelta(seconds=policy.look_back_s)
    declared = bounds(sources.slos, sources.invariants)
    limits = [bound for bound in declared if not manifest.metrics[bound.metric].of_tree]
    names = wanted(limits, sources.catalog, manifest.metrics)
    read = await asyncio.gather(
        *(measure_windows(metrics, manifest, name, start, end, policy.window_s) for name in names)
    )
    series = dict(zip(names, read, strict=True))
    nodes = _nodes(ledger, manifest.name)
    spare = spare_capacity(series, sources.slos, sources.catalog, nodes, policy)
    return [
        (
            one,
            e.Measurement(
                metric=one.metric, query=f"each {policy.window_s:g} s of {policy.look_back_s:g} s",
                window_from=start, window_to=end, value=one.level, samples=len(known(series[one.metric]) or ()),
            ),
        )
        for one in [*trends(series, manifest.metrics, limits, policy), *([spare] if spare else [])]
    ]  # fmt: skip


def slower_checks(manifest: Manifest, policy: Slower, ledger: Ledger) -> list[tuple[Shift, e.Measurement]]:
    """Every check that takes longer than it used to, with how long it takes; the first run on each tree counts."""
    passed = [
        (row, event)
        for stream in ledger.streams(ticket_stream(""))
        for row in ledger.read_stream(stream)
        if row.type == e.ChecksPassed.__name__ and isinstance(event := decode(row), e.ChecksPassed)
    ]
    trees = dict[str, tuple[Recorded, e.ChecksPassed]]()
    for row, event in sorted(passed, key=lambda one: one[0].position):
        trees.setdefault(event.tree, (row, event))
    found = []
    for check in manifest.checks:
        runs = [
            Ran(
                event.commit, row.stream.removeprefix(ticket_stream("")), row.occurred_at, one.seconds, one.tests_passed
            )
            for row, event in trees.values()
            for one in event.outcomes
            if one.name == check.name
        ]  # fmt: skip
        if (shift := shift_of(check.name, runs, policy)) is not None:
            query = f"seconds of the check {check.name} in ChecksPassed, {len(shift.since)} trees since it is slower"
            found.append((shift, e.Measurement(
                metric=check_seconds_of(check.name), query=query, window_from=shift.since[0].at,
                window_to=shift.since[-1].at, value=shift.is_s, samples=len(shift.since),
            )))  # fmt: skip
    return found


def _nodes(ledger: Ledger, service: str) -> int:
    """How many nodes the fleet was last seen to have; 0 where nobody saw it."""
    rows = ledger.read_stream(fleet_stream(service))
    last = decode(rows[-1]) if rows else None
    return len(last.nodes) if isinstance(last, e.FleetChanged) else 0
