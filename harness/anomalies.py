"""Metrics compared with how they are used to be, window by window. Reads metrics and the ledger; writes nothing.

Nothing is remembered from look to look: what is usual is read anew from the metrics, so that a restart loses nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from harness.core import events as e
from harness.core.anomaly import Detection, Judged, walk
from harness.core.anomaly_policy import Anomalies, Life, Past, Strange, worth_a_ticket
from harness.core.ids import cause_stream, fingerprint, ticket_stream
from harness.core.invariant import Invariant
from harness.core.lifecycle import left_since
from harness.core.manifest import Manifest
from harness.core.signal import Signal, Unusual
from harness.core.slo import Slo
from harness.core.units import Quantity
from harness.journal import decode
from harness.measure import measure_windows
from harness.ports import Ledger, Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What comparing needs."""

    manifest: Manifest
    slos: tuple[Slo, ...]
    invariants: tuple[Invariant, ...]
    policy: Anomalies
    metrics: Metrics
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Sight:
    """A metric over the window that ended ``at``, judged; higher and lower are as the metric has them."""

    metric: str
    at: datetime
    began_at: datetime
    value: float | None
    judged: Judged
    limit: float | None
    middle: float | None


async def compare(usual: Usual, now: datetime) -> list[Sight]:
    """Every metric that policy compares, over the last window that is over. Raises Retryable."""
    names = usual.policy.compared(usual.manifest)
    past, detection = past_of(usual, names, now), usual.policy.detection(len(names))
    return list(await asyncio.gather(*(_sight(usual, name, past, detection, now) for name in names)))


def signals(usual: Usual, sights: Sequence[Sight], now: datetime) -> list[tuple[Signal, bool | None]]:
    """The signal of each metric, and whether it fires: None where nothing changes."""
    past = past_of(usual, [sight.metric for sight in sights], now)
    strange = [
        Strange(sight.metric, sight.began_at, sight.judged.evidence)
        for sight in sights
        if sight.judged.state == "strange"
    ]
    chosen, beside = worth_a_ticket(strange, past, usual.policy, now)
    also = [one.metric for one in beside]
    return [
        (_signal(usual, sight, also), _fires(sight.judged, chosen is not None and chosen.metric == sight.metric))
        for sight in sights
        if sight.limit is not None
    ]


def past_of(usual: Usual, names: Iterable[str], now: datetime) -> Past:
    """The tickets of these metrics' anomalies, and of everything that is declared: as they stand ``now``."""
    service = usual.manifest.name
    declared = [("slo", one.name) for one in usual.slos] + [("invariant", one.name) for one in usual.invariants]
    return Past(
        {name: _lives(usual.ledger, fingerprint("anomaly", service, name)) for name in names},
        [
            _bounded(usual, life, now)
            for kind, name in declared
            for life in _lives(usual.ledger, fingerprint(kind, service, name))
        ],
    )


def _bounded(usual: Usual, life: Life, now: datetime) -> Life:
    """An incident that people have had for as long as policy says, or longer, counts as closed since then."""
    if life.closed_at is not None:
        return life
    rows = usual.ledger.read_stream(ticket_stream(life.ticket))
    since = left_since((row.occurred_at, decode(row)) for row in rows)
    given_up_at = since + timedelta(seconds=usual.policy.left_open_s) if since else None
    if given_up_at is None or given_up_at > now:
        return life
    return replace(life, closed_at=given_up_at, left_open=True)


def _lives(ledger: Ledger, cause: str) -> list[Life]:
    lives: list[Life] = []
    for row in ledger.read_stream(cause_stream(cause)):
        match decode(row):
            case e.CauseOpened(ticket_id=ticket_id):
                lives.append(Life(ticket_id, row.occurred_at))
            case e.CauseClosed(ticket_id=ticket_id) if lives:
                lives[-1] = Life(ticket_id, lives[-1].opened_at, row.occurred_at)
    return lives


async def _sight(usual: Usual, name: str, past: Past, detection: Detection, now: datetime) -> Sight:
    policy, manifest = usual.policy, usual.manifest
    end, window, lead = policy.last_end(now), timedelta(seconds=policy.window_s), timedelta(seconds=policy.guard_s)
    start = policy.begin(end)
    values = await measure_windows(usual.metrics, manifest, name, start, end, policy.window_s)
    since = past.since()
    ends = [start + window * (number + 1) for number in range(len(values))]
    counted = [
        None if (since is not None and at - window < since) or past.sick(at - window, at, lead) else value
        for value, at in zip(values, ends, strict=True)
    ]
    sign = 1.0 if manifest.metrics[name].direction == "lower" else -1.0
    judged = deque(walk((None if value is None else sign * value for value in counted), detection), maxlen=1)[0]
    return Sight(
        name, end, end - window * judged.run, counted[-1], judged,
        limit=None if judged.limit is None else sign * judged.limit,
        middle=None if judged.middle is None else sign * judged.middle,
    )  # fmt: skip


def _fires(judged: Judged, chosen: bool) -> bool | None:
    if chosen:
        return True
    return False if judged.state == "ok" and not judged.evidence else None


def _signal(usual: Usual, sight: Sight, also: list[str]) -> Signal:
    policy, metric = usual.policy, usual.manifest.metrics[sight.metric]
    assert sight.limit is not None and sight.middle is not None and sight.value is not None
    value, middle, limit = (Quantity.of(one, metric.unit).text for one in (sight.value, sight.middle, sight.limit))
    side, sign = ("above", "<=") if metric.direction == "lower" else ("below", ">=")
    window, reference = Quantity(policy.window_s, "s").text, Quantity(policy.reference_s, "s").text
    reason = (
        f"{sight.metric} is {value}, {side} {limit} as seldom before, mostly so in the last {sight.judged.run} windows "
        f"of {window}; in the {reference} before it was {middle} in the middle"
    )
    return Signal(
        kind="anomaly", name=sight.metric, service=usual.manifest.name, sampled_at=sight.at, began_at=sight.began_at,
        unusual=Unusual(condition=f"{sign} {limit}", window_s=policy.window_s, priority=policy.priority),
        evidence={
            "reason": reason, "value": sight.value, "usual": {"middle": sight.middle, "limit": sight.limit},
            "evidence": sight.judged.evidence, "false_alarm_every_s": policy.false_alarm_every_s,
            "began_at": sight.began_at.isoformat(), "also_strange": also,
        },
    )  # fmt: skip
