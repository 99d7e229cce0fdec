"""Whose turn it is at the delivery lock: the most urgent first, then the oldest. Pure; touches nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from harness.core.events import DeliveryWaits


def ahead_of(
    own: DeliveryWaits, waits: Iterable[DeliveryWaits], served: Collection[tuple[str, int]]
) -> list[DeliveryWaits]:
    """Those that come before ``own``, first in turn first; ``served`` had the lock, by ticket and attempt.

    Whether one of them still waits (it may be cancelled, or with a person) is for the caller to ask.
    """
    others = {
        (one.ticket_id, one.attempt): one
        for one in waits
        if one.ticket_id != own.ticket_id and (one.ticket_id, one.attempt) not in served
    }
    return sorted((one for one in others.values() if _turn(one) < _turn(own)), key=_turn)


def _turn(wait: DeliveryWaits) -> tuple[str, str, str]:
    return wait.priority, wait.filed_at.isoformat(), wait.ticket_id
