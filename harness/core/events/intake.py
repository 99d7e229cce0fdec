"""What came in from outside over HTTP, and which alerts of others fire (streams ``intake``, ``alerts-<fingerprint>``).
Touches nothing."""

from __future__ import annotations

from harness.core.events.values import BlobRef, Event, Fingerprint


class SignalsReceived(Event):
    """Alerts and signals of others came in, and whoever sent them was told so only after this was recorded (stream
    ``intake``). Requests that came at the same time are one event."""

    requests: int
    """How many requests they came in."""
    alerts: int
    """How many of them are to be filed."""
    refused: int
    """How many name no service that is registered, are malformed, or too large: nothing is made of them, and their
    sender was told why."""
    truncated: int
    """How many their sender says it has left out."""
    body: BlobRef
    """All of them, and why each that was refused was."""


class AlertsTold(Event):
    """Which alerts fire for a cause has changed (stream ``alerts-<fingerprint>``). Alerts are named by the fingerprint
    that their sender gives them."""

    fingerprint: Fingerprint
    ticket_id: str | None
    """The ticket of the cause; None where it never had one."""
    began: tuple[str, ...]
    """Those that did not fire before."""
    ended: tuple[str, ...]
    """Those that fire no more, of which some may have begun in the same moment: evidence, and no ticket is closed
    by it."""
    again: tuple[str, ...]
    """Those that fire as before, and were over in between; or are still told long after their ticket was closed."""
    firing: int
    """How many fire now."""
    position: int
    """Where the newest of what it was made from was recorded as received: what came until then is counted."""
    until: int
    """How many of the alerts in that event are counted."""
    evidence: BlobRef
    """The alerts, with their labels and annotations, as JSON with `reason`."""
