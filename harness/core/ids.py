"""Names of streams and of effects: how the same intent always gets the same id. Touches nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final

NAMESPACE: Final = uuid.UUID("5f1d3c52-6f0e-5b8e-9d53-0c6e6f0e7a11")
"""The namespace of every idempotency key of this harness (uuid5, RFC 9562)."""


def event_id(key: str) -> str:
    """The id of the event that records the effect with this idempotency key."""
    return str(uuid.uuid5(NAMESPACE, key))


def fingerprint(kind: str, service: str, name: str, labels: Mapping[str, str] = MappingProxyType({})) -> str:
    """The name of a cause: 16 hex digits of kind, service and the thing's name, with the labels that name the thing."""
    named = f"\n{json.dumps(sorted(labels.items()))}" if labels else ""
    return sha256(f"{kind}\n{service}\n{name}{named}".encode()).hexdigest()[:16]


def ticket_stream(ticket_id: str) -> str:
    """Stream of a ticket."""
    return f"ticket-{ticket_id}"


def cause_stream(cause: str) -> str:
    """Stream that makes one ticket per cause: its expected version is the lock."""
    return f"cause-{cause}"


def causes_stream(service: str) -> str:
    """Stream of the causes of a service that got a ticket: what begins together is found by it, and filed in turn."""
    return f"causes-{service}"


def signal_stream(cause: str) -> str:
    """Stream of a signal's starts and ends."""
    return f"signal-{cause}"


def state_stream(cause: str) -> str:
    """Stream of the states that an objective or an invariant was told to be in."""
    return f"state-{cause}"


def alerts_stream(cause: str) -> str:
    """Stream of which alerts of somebody else fire for a cause: its expected version has each change counted once."""
    return f"alerts-{cause}"


def service_stream(service: str) -> str:
    """Stream of what was seen of a service."""
    return f"service-{service}"


def fleet_stream(service: str) -> str:
    """Stream of the nodes that a service was seen to have."""
    return f"fleet-{service}"


def opportunities_stream(service: str) -> str:
    """Stream of what was offered to be made better of a service: its expected version keeps to policy's number."""
    return f"opportunities-{service}"


def lock_stream(service: str) -> str:
    """Stream of a service's delivery lock."""
    return f"lock-{service}"


def queue_stream(service: str) -> str:
    """Stream of the deliveries that had to wait for a service's lock."""
    return f"queue-{service}"


def blob_stream(name: str) -> str:
    """Stream of what became of a body, by its hash (hex): a reader that misses the body finds here why."""
    return f"blob-{name}"


def notices_stream(receiver: str) -> str:
    """Stream of what a receiver was told."""
    return f"notices-{receiver}"


def follower(receiver: str) -> str:
    """The name under which the notifier of a receiver keeps how far it has followed the ledger."""
    return f"notifier-{receiver}"


WATCH_STREAM: Final = "watch"
INTAKE_STREAM: Final = "intake"
"""Stream of what came in from outside, before anything is made of it."""
PAUSE_STREAM: Final = "pause"
"""Stream of the global stop."""
REDACTIONS_STREAM: Final = "redactions"
"""Stream of what was taken out of texts before they were written."""
