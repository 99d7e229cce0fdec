"""What the watch sees, and which cause has a ticket (streams outside of tickets). Touches nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from harness.core.events.values import BlobRef, Event, Measurement, Wait


class SignalStarted(Event):
    """An SLO began to burn, an invariant to break, or something could be better (stream ``signal-<fingerprint>``)."""

    kind: Literal["slo", "invariant", "anomaly", "opportunity"]
    name: str
    service: str
    fingerprint: str
    evidence: BlobRef
    waits: tuple[Wait, ...]


class SignalEnded(Event):
    """The signal's state is ``ok`` again."""

    fingerprint: str


class CauseOpened(Event):
    """A ticket lives for this cause (stream ``cause-<fingerprint>``): further firings attach to it."""

    fingerprint: str
    ticket_id: str


class SignalAttached(Event):
    """The cause fired again while its ticket lives (stream ``cause-<fingerprint>``): evidence, no second ticket."""

    fingerprint: str
    ticket_id: str
    evidence: BlobRef


class CauseClosed(Event):
    """The cause's ticket ended; the next firing opens a new one, linked as recurrence."""

    fingerprint: str
    ticket_id: str


class OpportunityOffered(Event):
    """Nothing is wrong, yet something may be better: a tunable of which it is not known that its value is the best
    (stream ``opportunities-<service>``, from which policy counts how many there were)."""

    ticket_id: str
    tunable: str
    value: int
    measured: Measurement


class ReleaseObserved(Event):
    """A node was seen to serve another release than before (stream ``service-<name>``), and by whose hand."""

    node: str
    before: str | None
    after: str
    actor: str
    since: datetime


class FleetChanged(Event):
    """The fleet was seen to have other nodes than before (stream ``fleet-<name>``): which came, which are gone."""

    nodes: tuple[str, ...]
    joined: tuple[str, ...]
    lost: tuple[str, ...]


class WatchBeat(Event):
    """The watch's heartbeat, once a minute and at its end: how often each state was seen since the last one."""

    ticks: int
    states: dict[str, dict[str, int]]
    """Name of the SLO or invariant → state → ticks."""
    requests: int | None
    since: datetime
