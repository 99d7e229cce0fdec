"""Whose turn it is: the queue and the lock of a service, and the stop of everything. Touches nothing."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from harness.core.events.values import AttemptNumber, Event, Person


class DeliveryWaits(Event):
    """A delivery waits for the lock of a service (stream ``queue-<name>``), with what decides whose turn it is."""

    schema_version: ClassVar[int] = 2

    ticket_id: str
    """The ticket of the delivery."""
    attempt: AttemptNumber
    priority: Literal["P0", "P1", "P2", "P3"]
    """How urgent it is, P0 most."""
    filed_at: datetime
    """When the ticket was filed: of two as urgent, the older comes first."""
    since: datetime | None
    """Since when it waits and its hours let it deliver: who waits long becomes more urgent. None: not known."""
    budget_left: float | None
    """The share of its objective's error budget that was left then, below 0 when overspent: of two as urgent, the one
    with the least comes first. None for tickets without an objective, and where it was not measured."""


class LockTaken(Event):
    """The lock of a service was taken (stream ``lock-<service>``); the stream's version is then the fencing token."""

    ticket_id: str
    """The ticket of the delivery."""
    attempt: AttemptNumber


class LockFreed(Event):
    """The lock of a service was given back."""

    ticket_id: str
    """The ticket of the delivery."""
    attempt: AttemptNumber


class EverythingPaused(Event):
    """A human stopped all tickets (stream ``pause``): no ticket is begun until ``EverythingResumed``."""

    by: Person


class EverythingResumed(Event):
    """A human let tickets go on again."""

    by: Person
