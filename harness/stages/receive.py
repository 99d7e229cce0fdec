"""RECEIVE: what came in from outside is recorded before its sender is told so; then which alerts fire, cause by cause.

Touches only the ledger and its blobs. What starts to fire is a signal, handed to FILE together with the write that
counts it; so nothing is counted twice, and whoever begins again after a crash finds what is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final, NamedTuple

from harness.cause import standing
from harness.core import events as e
from harness.core.alert import Alert, Incoming
from harness.core.alert_cause import Cause, Declared, cause_of, evidence_of, signal_for, without_secrets
from harness.core.errors import Dropped, Invalid, Retryable
from harness.core.ids import INTAKE_STREAM, alerts_stream, signal_stream
from harness.core.record import Recorded, StreamWrite
from harness.core.redaction import Secrets
from harness.core.signal import Signal
from harness.journal import HARNESS, decode, encode
from harness.ports import Blobs, Clock, Ledger

AT_ONCE: Final = 2_000
"""Alerts that are looked at together: an event names each, and holds 256 KiB."""
CAUSES_KNOWN: Final = 1_000
QUIET: Final = timedelta(minutes=30)
"""How long after its ticket was closed an alert that fires since before may speak of the past. Shorter than policy's
quiet period, so that what is told again after that is linked as a recurrence."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A request as it is recorded, and what its sender is told: ``refused`` are (index, fingerprint, reason)."""

    body: dict[str, Any]
    alerts: int
    truncated: int
    refused: tuple[tuple[int, str | None, str], ...]


class Known(NamedTuple):
    """How the alerts of a cause stand at a version of their stream: which fire, and position and number of the newest
    that is counted."""

    version: int = 0
    firing: frozenset[str] = frozenset()
    counted: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What receiving needs. ``known``: the causes of late, so that only what is new of their streams is read."""

    declared: Declared
    ledger: Ledger
    blobs: Blobs
    clock: Clock
    known: dict[str, Known] = field(default_factory=dict)


def taken(incoming: Incoming, declared: Declared, secrets: Secrets) -> Taken:
    """Which of the alerts can be filed, as they are kept; the others are recorded as well, each with the reason."""
    refused = [(one.index, one.fingerprint, one.reason) for one in incoming.unusable]
    kept: list[dict[str, Any]] = []
    aside: list[dict[str, Any]] = [
        {"fingerprint": one.fingerprint, "reason": one.reason} | ({"given": one.given} if one.given is not None else {})
        for one in incoming.unusable
    ]
    for index, alert in zip(incoming.indices, incoming.alerts, strict=True):
        document = alert.model_dump(mode="json", exclude_defaults=True)
        try:
            cause_of(alert, declared)
        except Invalid as error:
            kept_as = without_secrets(alert, secrets)
            try:
                cause_of(kept_as, declared)
            except Invalid:
                refused.append((index, alert.fingerprint, str(error)))
                aside.append({**document, "reason": str(error)})
            else:
                kept.append({**document, "labels": kept_as.labels})
        else:
            kept.append(document)
    body = {"source": incoming.source, "truncated": incoming.truncated, "alerts": kept, "refused": aside}
    return Taken(body, len(kept), incoming.truncated, tuple(sorted(refused, key=itemgetter(0))))


def receive(requests: Sequence[Taken], key: str, stage: Stage) -> None:
    """Record these requests, all in one append; ``key`` names them and no others."""
    body = stage.blobs.put_json({"requests": [one.body for one in requests]})
    event = e.SignalsReceived(
        requests=len(requests), alerts=sum(one.alerts for one in requests),
        refused=sum(len(one.refused) for one in requests), truncated=sum(one.truncated for one in requests), body=body,
    )  # fmt: skip
    new = encode(f"received/{key}", event, clock=stage.clock, actor=HARNESS, correlation=INTAKE_STREAM, cause=None)
    stage.ledger.append([StreamWrite(INTAKE_STREAM, None, [new])])


class Told(NamedTuple):
    """An alert, and where it was received: the position of the event, and which of the event's alerts it is, from 1."""

    position: int
    number: int
    alert: Alert


@dataclass(slots=True)
class Change:
    """What alerts of one cause that came together change. ``signal``: what begins; None where nothing does."""

    cause: Cause
    version: int
    received: Recorded
    stage: Stage
    until: tuple[int, int]
    """Position and number of the newest of them."""
    began: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    firing: int = 0
    told: list[Alert] = field(default_factory=list)
    signal: Signal | None = None

    def along(self, ticket_id: str | None) -> list[StreamWrite]:
        """The write that counts it. Raises Retryable when somebody else has counted meanwhile: look again."""
        stream = alerts_stream(self.cause.fingerprint)
        if self.stage.ledger.read_stream(stream, from_version=self.version + 1):
            raise Retryable(f"{stream}: another server files the same alerts; it is looked at again")
        evidence = self.signal.evidence if self.signal else evidence_of(f"{len(self.told)} alerts are over", self.told)
        event = e.AlertsTold(
            fingerprint=self.cause.fingerprint, ticket_id=ticket_id, began=tuple(self.began), ended=tuple(self.ended),
            again=tuple(self.again), firing=self.firing, position=self.until[0], until=self.until[1],
            evidence=self.stage.blobs.put_json(evidence),
        )  # fmt: skip
        # The ticket stands in it: of two servers that chose different ones, the slower meets a conflict.
        key = f"alerts/{self.cause.fingerprint}/{self.version}/{ticket_id}/{self.received.id}"
        new = encode(
            key, event, clock=self.stage.clock, actor=HARNESS, correlation=ticket_id or INTAKE_STREAM,
            cause=self.received.id,
        )  # fmt: skip
        return [StreamWrite(stream, self.version, [new])]

    def note_end(self) -> None:
        """Record what is no beginning: alerts that are over, on the ticket that the cause has or had."""
        if self.ended and self.signal is None:
            self.stage.ledger.append(self.along(standing(self.stage.ledger, self.cause.fingerprint).last))

    def end_signal(self) -> None:
        """Record that the signal is over, where no alert of it fires and no measurement of ours says when it is.

        Raises VersionConflict when another server has counted since: there, some alert may have begun again.
        """
        if self.firing or self.cause.measured_here:
            return
        stream = signal_stream(self.cause.fingerprint)
        rows = self.stage.ledger.read_stream(stream)
        if not rows or rows[-1].type != e.SignalStarted.__name__:
            return
        new = encode(
            f"signal/{self.cause.fingerprint}/{len(rows)}", e.SignalEnded(fingerprint=self.cause.fingerprint),
            clock=self.stage.clock, actor=HARNESS, correlation=rows[-1].correlation_id or INTAKE_STREAM,
            cause=self.received.id,
        )  # fmt: skip
        counted = self.version + bool(self.signal or self.ended)
        as_counted = StreamWrite(alerts_stream(self.cause.fingerprint), counted, [])
        self.stage.ledger.append([StreamWrite(stream, len(rows), [new]), as_counted])


def alerts_of(row: Recorded, blobs: Blobs) -> Iterator[list[Told]]:
    """The alerts that an intake's event tells of, as many at once as are looked at together; none of a dropped body."""
    event = decode(row)
    assert isinstance(event, e.SignalsReceived)
    try:
        body = blobs.get_json(event.body)
    except Dropped:
        return
    documents = [one for request in body["requests"] for one in request["alerts"]]
    told = [Told(row.position, number, Alert.model_validate(one)) for number, one in enumerate(documents, 1)]
    for first in range(0, len(told), AT_ONCE):
        yield told[first : first + AT_ONCE]


def changes(alerts: Sequence[Told], received: Recorded, stage: Stage) -> Iterator[Change]:
    """What these alerts change, cause by cause, as the ledger stands; nothing for those that are counted already.

    ``received``: the event that the newest of them came in.
    """
    by_cause: dict[Cause, list[Told]] = {}
    for told in alerts:
        try:
            by_cause.setdefault(cause_of(told.alert, stage.declared), []).append(told)
        except Invalid:  # declared otherwise than when it came in; its body is kept
            continue
    for cause, of_cause in by_cause.items():
        yield _change(cause, of_cause, received, stage)


def _change(cause: Cause, received_alerts: Sequence[Told], received: Recorded, stage: Stage) -> Change:
    version, before, counted = _known(stage, cause)
    told = [one.alert for one in received_alerts if (one.position, one.number) > counted]
    now, over, back = set(before), set[str](), set[str]()
    first: dict[str, Alert] = {}
    for alert in told:
        if alert.firing and alert.fingerprint not in now:
            now.add(alert.fingerprint)
            back.add(alert.fingerprint)
        elif not alert.firing and alert.fingerprint in now:
            now.discard(alert.fingerprint)
            over.add(alert.fingerprint)
        first.setdefault(alert.fingerprint, alert)
        if alert.firing:
            first[alert.fingerprint] = alert
    change = Change(
        cause, version, received, stage, received_alerts[-1][:2], began=sorted(back - before),
        ended=sorted(over - now), again=sorted(over & back & before & now), firing=len(now),
    )  # fmt: skip
    if not change.began and not change.again and _is_due(stage.ledger, cause, received.occurred_at):
        change.again = sorted({one.fingerprint for one in told if one.firing} & before & now)
    starting = {*change.began, *change.again}
    change.told = [one for name, one in first.items() if name in starting or name in change.ended]
    if starting:
        beginning = [first[name] for name in first if name in starting]
        change.signal = signal_for(cause, beginning, received.occurred_at, stage.declared)
    return change


def _known(stage: Stage, cause: Cause) -> Known:
    """How the alerts of the cause stand in the ledger."""
    known = stage.known.get(cause.fingerprint, Known())
    for row in stage.ledger.read_stream(alerts_stream(cause.fingerprint), from_version=known.version + 1):
        event = decode(row)
        assert isinstance(event, e.AlertsTold)
        firing = (known.firing | set(event.began)) - set(event.ended)
        known = Known(row.version, firing, (event.position, event.until))
    if len(stage.known) >= CAUSES_KNOWN:
        stage.known.clear()
    stage.known[cause.fingerprint] = known
    return known


def _is_due(ledger: Ledger, cause: Cause, at: datetime) -> bool:
    """Whether what fires on is no longer the past of a ticket that was closed; or its ticket, another's, gave it up."""
    now = standing(ledger, cause.fingerprint)
    if now.last is None or now.living is not None:
        return False
    return now.closed_at is None or at - now.closed_at >= QUIET
