"""How the service was right before an attempt touched it. Reads metrics and the ledger; writes the ticket's stream."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from harness.core import events as e
from harness.core.ids import lock_stream
from harness.core.others import worst
from harness.journal import Journal
from harness.measure import Window, live, measure
from harness.operator import Operator

LOOKS = 5
LOOK_EVERY_S = 1.0
LOOK_S = 2.0
"""The start is looked at over spans as short as this, once a second, back from right before: the worst of them counts,
so that neither the noise of a span nor what was still well before the trouble began passes for how it was."""
SAMPLE_S = 1.0
"""So old may a sample be: what it holds of an earlier delivery does not count."""


async def note_start(journal: Journal, operator: Operator) -> None:
    """Record everything declared as it is now, once an attempt: before it touches the service.

    What an earlier delivery did, and took back, is in none of the spans that are looked at: there may be some to wait.
    """
    attempt = journal.ticket.attempt
    if attempt.start is not None:
        return
    lengths = {metric: LOOK_S for slo in operator.slos for metric in slo.metrics}
    lengths |= {invariant.metric: invariant.for_s for invariant in operator.invariants}
    opened_at = journal.clock.now()
    looks = LOOKS
    if (freed_at := _last_delivery_ended_at(journal)) is not None:
        clean_s = (opened_at - freed_at).total_seconds() - SAMPLE_S - max(lengths.values())
        await journal.clock.sleep(max(0.0, -clean_s))
        looks = min(LOOKS, 1 + max(0, int(clean_s / LOOK_EVERY_S)))
    now, manifest = journal.clock.now(), operator.manifest
    names = [name for name in lengths if name in live(manifest)]
    readings = await asyncio.gather(
        *(
            measure(
                operator.metrics, manifest, name,
                Window.before(now - timedelta(seconds=back * LOOK_EVERY_S), lengths[name]),
            )
            for name in names for back in range(looks)
        )
    )  # fmt: skip
    wait = e.Wait(kind="query_window", what="start of the attempt", opened_at=opened_at, closed_at=now)
    seen = [worst([one for one in readings if one.metric == name], manifest.metrics[name].direction) for name in names]
    measured = tuple(one for one in seen if one is not None)
    started = e.StartMeasured(attempt=attempt.n, measured=measured, waits=(wait,) if now > opened_at else ())
    journal.record(f"{attempt.n}/start", started)


def _last_delivery_ended_at(journal: Journal) -> datetime | None:
    """When the lock was given back last: until then somebody's change may have been in place, and taken back."""
    rows = journal.ledger.read_stream(lock_stream(journal.ticket.filed.service))
    freed = [row.occurred_at for row in rows if row.type == e.LockFreed.__name__]
    return freed[-1] if freed else None
