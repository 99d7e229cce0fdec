"""What the watch sees, and which cause has a ticket (streams outside of tickets). Touches nothing."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from harness.core.events.values import BlobRef, Event, Fingerprint, Measurement, Waits


class SignalStarted(Event):
    """An SLO began to burn or is not seen any more, an invariant began to break, somebody's alert to fire, or something
    could be better (stream ``signal-<fingerprint>``)."""

    schema_version: ClassVar[int] = 2

    kind: Literal["slo", "invariant", "anomaly", "opportunity", "no_data", "alert"]
    """What kind of signal it is."""
    name: str
    """Of the objective, the invariant, the tunable or the alert."""
    service: str
    """The service that it is about."""
    fingerprint: Fingerprint
    evidence: BlobRef
    """What was seen, as JSON with `reason`."""
    waits: Waits


class SignalEnded(Event):
    """The signal's state is ``ok`` again, or what was not seen is seen again."""

    fingerprint: Fingerprint


class CauseOpened(Event):
    """A ticket lives for this cause (stream ``cause-<fingerprint>``): further firings attach to it."""

    fingerprint: Fingerprint
    ticket_id: str
    """The ticket that lives for it."""


class SignalAttached(Event):
    """The cause fired again while its ticket lives (stream ``cause-<fingerprint>``): evidence, no second ticket."""

    fingerprint: Fingerprint
    ticket_id: str
    """The ticket that lives for it."""
    evidence: BlobRef
    """What was seen, as JSON with `reason`."""


class CauseListed(Event):
    """A cause got a ticket (stream ``causes-<service>``): what begins together with it is looked for here."""

    fingerprint: Fingerprint
    ticket_id: str
    """The ticket."""


class SignalGrouped(Event):
    """The signal began together with another one, whose ticket is its ticket as well (streams of both causes). That
    holds until the ticket ends or one of its attempts fails; if it still fires then, it gets a ticket of its own."""

    fingerprint: Fingerprint
    signal: str
    """Kind and name of the signal that was grouped, `slo:availability`."""
    ticket_id: str
    """The ticket, which was filed for the other one."""
    lead: str
    """The fingerprint of the other one."""
    why: str
    """In words for people."""
    evidence: BlobRef
    """What was seen of the signal that was grouped, as JSON with `reason`."""


class CauseClosed(Event):
    """The cause's ticket ended; the next firing opens a new one, linked as recurrence."""

    fingerprint: Fingerprint
    ticket_id: str
    """The ticket that ended."""


ToldState = Literal["ok", "burning", "violated", "no_data", "query_failed"]
"""States of objectives and invariants that are told of."""


class StateChanged(Event):
    """An objective or an invariant is in another state than before (stream ``state-<fingerprint>``). What flaps is told
    now and then, with how often it changed meanwhile."""

    kind: Literal["slo", "invariant"]
    """What it is."""
    name: str
    """Of the objective or the invariant."""
    service: str
    """The service that it is about."""
    before: ToldState | None
    """The state that was told before; None: none was yet."""
    after: ToldState
    """The state that it is in."""
    reason: str
    """What was seen, in words for people."""
    at: datetime
    """When it was first seen in this state."""
    untold: int
    """How many changes were seen since the last one that was told, and not told: it flaps."""


class OpportunityOffered(Event):
    """Nothing is wrong, yet something may be better: a tunable of which it is not known that its value is the best, a
    limit that a trend will reach, capacity that nobody needs, or a check that became slower (stream
    ``opportunities-<service>``, from which policy counts how many there were)."""

    schema_version = 3

    ticket_id: str
    """The ticket that was filed for it."""
    sort: Literal["tunable", "trend", "margin", "slower"]
    """What kind of opportunity it is."""
    name: str
    """Of the tunable, or of the metric or the check with its sort before it."""
    value: int | None
    """What the tunable is set to; None where it is no tunable."""
    measured: Measurement
    """Of a tunable, what the service's probe measures with that value; of a check, how long it runs on main; else where
    the metric stands."""


class ReleaseObserved(Event):
    """A node was seen to serve another release than before (stream ``service-<name>``), and by whose hand."""

    node: str
    """Which node."""
    before: str | None
    """The commit it was last seen to serve; None: it was not seen before."""
    after: str
    """The commit it serves."""
    actor: str
    """Who put it there, as the node says."""
    since: datetime
    """Since when it serves it."""


class FleetChanged(Event):
    """The fleet was seen to have other nodes than before (stream ``fleet-<name>``): which came, which are gone."""

    nodes: tuple[str, ...]
    """All nodes that there are now."""
    joined: tuple[str, ...]
    """Those that came."""
    lost: tuple[str, ...]
    """Those that are gone."""


class WatchBeat(Event):
    """The watch's heartbeat, once a minute and at its end: how often each state was seen since the last one."""

    ticks: int
    """How often was looked."""
    states: dict[str, dict[str, int]]
    """Name of the SLO or invariant → state → ticks."""
    requests: int | None
    """Requests that the service answered since then; None: not known."""
    since: datetime
    """When the last heartbeat was."""
