"""Looks for what other living tickets are there to restore, and notes how the service was before a ticket touched it.

Reads the ledger and metrics; writes the ticket's own stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from harness.cause import signals, standing
from harness.core import events as e
from harness.core import others as core
from harness.core.ids import fingerprint, lock_stream
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.core.signal import criteria_of, declared_criteria
from harness.core.slo import Slo
from harness.journal import Journal
from harness.measure import Window, live, measure
from harness.ports import Metrics

LOOKS = 5
LOOK_EVERY_S = 1.0
LOOK_S = 2.0
"""The start is looked at over spans as short as this, once a second, back from right before: the worst of them counts,
so that neither the noise of a span nor what was still well before the trouble began passes for how it was."""
SAMPLE_S = 1.0
"""So old may a sample be: what it holds of an earlier delivery does not count."""

Left = Mapping[tuple[str, str], tuple[str, e.Measurement]]
"""(metric, condition) → the ticket that it is left to, and what it was at the start."""


async def note_start(
    journal: Journal, *, manifest: Manifest, slos: Sequence[Slo], invariants: Sequence[Invariant], metrics: Metrics
) -> None:
    """Record everything declared as it is now, once an attempt: before it touches the service.

    What an earlier delivery did, and took back, is in none of the spans that are looked at: there may be some to wait.
    """
    attempt = journal.ticket.attempt
    if attempt.start is not None:
        return
    lengths = {metric: LOOK_S for slo in slos for metric in slo.metrics}
    lengths |= {invariant.metric: invariant.for_s for invariant in invariants}
    opened_at = journal.clock.now()
    looks = LOOKS
    if (freed_at := _last_delivery_ended_at(journal)) is not None:
        clean_s = (opened_at - freed_at).total_seconds() - SAMPLE_S - max(lengths.values())
        await journal.clock.sleep(max(0.0, -clean_s))
        looks = min(LOOKS, 1 + max(0, int(clean_s / LOOK_EVERY_S)))
    now = journal.clock.now()
    names = [name for name in lengths if name in live(manifest)]
    readings = await asyncio.gather(
        *(
            measure(metrics, manifest, name, Window.before(now - timedelta(seconds=back * LOOK_EVERY_S), lengths[name]))
            for name in names
            for back in range(looks)
        )
    )
    wait = e.Wait(kind="query_window", what="start of the attempt", opened_at=opened_at, closed_at=now)
    seen = [
        core.worst([one for one in readings if one.metric == name], manifest.metrics[name].direction) for name in names
    ]
    measured = tuple(one for one in seen if one is not None)
    started = e.StartMeasured(attempt=attempt.n, measured=measured, waits=(wait,) if now > opened_at else ())
    journal.record(f"{attempt.n}/start", started)


def _last_delivery_ended_at(journal: Journal) -> datetime | None:
    """When the lock was given back last: until then somebody's change may have been in place, and taken back."""
    rows = journal.ledger.read_stream(lock_stream(journal.ticket.filed.service))
    freed = [row.occurred_at for row in rows if row.type == e.LockFreed.__name__]
    return freed[-1] if freed else None


def left_to_others(journal: Journal, slos: Sequence[Slo], invariants: Sequence[Invariant]) -> Left:
    """What is left to other tickets as of now: those that live, and have been filed for it."""
    start = journal.ticket.attempt.start
    if start is None:
        return {}
    return core.left_to_others(_claims(journal, slos, invariants), _own(journal, slos, invariants), start.measured)


def no_worse_only(journal: Journal, invariants: Sequence[Invariant]) -> Left:
    """What a gate only asks to get no worse than it was: what is left to others, and what this ticket is there for."""
    start = journal.ticket.attempt.start
    before = {one.metric: one for one in start.measured} if start else {}
    own = {pair: (journal.ticket_id, before[pair[0]]) for pair in _own(journal, (), invariants) if pair[0] in before}
    return {**left_to_others(journal, (), invariants), **own}


def restored_by(journal: Journal, invariants: Sequence[Invariant]) -> tuple[Invariant, ...]:
    """Those that this ticket is there to restore."""
    own = _own(journal, (), invariants)
    return tuple(one for one in invariants if (one.metric, one.condition.condition.text) in own)


def _own(journal: Journal, slos: Sequence[Slo], invariants: Sequence[Invariant]) -> set[tuple[str, str]]:
    """What the ticket is there to reach: what its signals are about, or everything that a person wrote."""
    if journal.ticket.filed.signal is None:
        return {(one.metric, one.condition) for one in journal.spec().acceptance_criteria}
    there_for = signals(journal.ledger, journal.ticket)
    return {pair for name, pairs in _declared(slos, invariants) if name in there_for for pair in pairs}


def _claims(journal: Journal, slos: Sequence[Slo], invariants: Sequence[Invariant]) -> Iterator[core.Claim]:
    for name, pairs in _declared(slos, invariants):
        kind, _, called = name.partition(":")
        ticket_id = standing(journal.ledger, fingerprint(kind, journal.ticket.filed.service, called)).living
        if ticket_id is not None and ticket_id != journal.ticket_id:
            yield from (core.Claim(ticket_id, metric, condition) for metric, condition in pairs)


def _declared(slos: Sequence[Slo], invariants: Sequence[Invariant]) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    """Signal → the conditions of whose breaking it tells, as criteria write them."""
    for slo in slos:
        yield f"slo:{slo.name}", {(one.metric, one.condition) for one in criteria_of(slo, 1.0)}
    for invariant in invariants:
        criteria = declared_criteria((), [invariant], 1.0)
        yield f"invariant:{invariant.name}", {(one.metric, one.condition) for one in criteria}
