"""Whose turn it is: the queue and the lock of a service, and the stop of everything. Touches nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from harness.core.events.values import Event


class DeliveryWaits(Event):
    """A delivery waits for the lock of a service (stream ``queue-<name>``), with what decides whose turn it is."""

    ticket_id: str
    attempt: int
    priority: Literal["P0", "P1", "P2", "P3"]
    filed_at: datetime


class LockTaken(Event):
    """The lock of a service was taken (stream ``lock-<service>``); the stream's version is then the fencing token."""

    ticket_id: str
    attempt: int


class LockFreed(Event):
    """The lock of a service was given back."""

    ticket_id: str
    attempt: int


class EverythingPaused(Event):
    """A human stopped all tickets (stream ``pause``): no ticket is begun until ``EverythingResumed``."""

    by: str


class EverythingResumed(Event):
    """A human let tickets go on again."""

    by: str
