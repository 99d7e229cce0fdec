"""The projection of the queue at the delivery lock: who holds it, who waits for it. Pure; touches nothing.

It is what the streams of lock and queue say. A delivery that waits and was paused, or is with a person, stays in it:
its turn comes when it is ``queued`` again, so whoever shows the queue asks the tickets as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from harness.core import events as e
from harness.core.ids import lock_stream, queue_stream
from harness.core.lifecycle import ENDS, TABLE, State
from harness.core.projections.projection import Document, Event, Fold, Projection, ticket_of
from harness.core.projections.tickets import state_of

PRIORITIES: Final = ("P0", "P1", "P2", "P3")
_QUEUE, _LOCK = queue_stream(""), lock_stream("")


def _waits(_: Document | None, event: Event) -> Document:
    data = event.data
    return {
        "service": event.told.stream.removeprefix(_QUEUE), "attempt": data["attempt"], "delivers": False,
        "since": event.told.occurred_at.isoformat(), "priority": data["priority"], "filed_at": data["filed_at"],
        "waits_since": data["since"], "budget_left": data["budget_left"],
    }  # fmt: skip


def _taken(document: Document | None, event: Event) -> Document:
    waited = document or dict.fromkeys(("priority", "filed_at", "waits_since", "budget_left"))
    return waited | {
        "service": event.told.stream.removeprefix(_LOCK), "attempt": event.data["attempt"], "delivers": True,
        "since": event.told.occurred_at.isoformat(),
    }  # fmt: skip


def _freed(*_: object) -> None:
    """Nothing is left of it."""


def _ended(document: Document | None, event: Event) -> Document | None:
    """A ticket that has ended waits no more. One that delivers gives the lock back by itself."""
    ends = event.told.type != e.ApprovalDenied.__name__ or event.data["final"]
    return None if document is None or (ends and not document["delivers"]) else document


def waits(delivery: Document, ticket: Document | None) -> bool:
    """Whether it waits for the lock, by the document of its ticket: that may be paused, or be with a person."""
    return (
        not delivery["delivers"]
        and ticket is not None
        and state_of(ticket) == State.QUEUED
        and ticket["life"]["attempt"] == delivery["attempt"]
    )  # fmt: skip


class Backlog(NamedTuple):
    """How many deliveries of a priority wait, and how long the first of them has; 0 where none does."""

    depth: int = 0
    oldest_s: float = 0.0


def backlog(deliveries: Mapping[str, Document], tickets: Mapping[str, Document], now: datetime) -> dict[str, Backlog]:
    """Who waits for a lock, by priority, from the documents of the queue and of tickets.

    One whose hours are still closed waits for nobody, and is not counted.
    """
    found = dict.fromkeys(PRIORITIES, Backlog())
    for ticket_id, one in deliveries.items():
        since = datetime.fromisoformat(one["waits_since"] or one["since"]) if not one["delivers"] else now
        if since <= now and waits(one, tickets.get(ticket_id)):
            seen = found[one["priority"]]
            found[one["priority"]] = Backlog(seen.depth + 1, max(seen.oldest_s, (now - since).total_seconds()))
    return found


_OF_LOCK: dict[str, Fold] = {
    e.DeliveryWaits.__name__: _waits,
    e.LockTaken.__name__: _taken,
    e.LockFreed.__name__: _freed,
}
_ENDING = {kind for (_, kind), state in TABLE.items() if state in ENDS} | {e.ApprovalDenied}


def _key(event: Event) -> str:
    return str(event.data["ticket_id"]) if event.told.type in _OF_LOCK else ticket_of(event)


QUEUE: Final = Projection(
    name="queue", version=2, folds=_OF_LOCK | {kind.__name__: _ended for kind in _ENDING}, key=_key
)
"""By ticket id; only of tickets that wait or deliver."""
