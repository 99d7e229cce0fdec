"""The projection of trajectories: what each comes from and how long it is, for lists and exports. Pure."""

from __future__ import annotations

from typing import Final

from harness.core import events as e
from harness.core.lifecycle import NOTES, TABLE
from harness.core.projections.projection import Document, Event, Projection, begun, ticket_of


def _filed(_: Document | None, event: Event) -> Document:
    return {
        "fingerprint": event.data.get("fingerprint"), "recurrence_of": event.data.get("recurrence_of"),
        "filed_at": event.told.occurred_at.isoformat(), "attempts": 0, "steps": 0, "seen_unmet": False,
        "first_position": event.told.position, "last_position": event.told.position,
    }  # fmt: skip


def _longer(document: Document | None, event: Event) -> Document:
    document = begun(document, event)
    document["last_position"] = event.told.position
    return document


def _attempt(document: Document | None, event: Event) -> Document:
    document = _longer(document, event)
    document["attempts"] += 1
    return document


def _step(document: Document | None, event: Event) -> Document:
    document = _longer(document, event)
    document["steps"] += 1
    return document


def _verified(document: Document | None, event: Event) -> Document:
    """Of the last verification counts whether one criterion was seen not to hold: that is what a reward is 0 for."""
    document = _longer(document, event)
    if document["attempts"]:
        document["seen_unmet"] = any(one["met"] is False for one in event.data["criteria"])
    return document


_OF_TICKETS = {kind.__name__ for _, kind in TABLE} | {kind.__name__ for kind in NOTES}

TRAJECTORIES: Final = Projection(
    name="trajectories",
    version=1,
    folds=dict.fromkeys(_OF_TICKETS, _longer)
    | {
        e.TicketFiled.__name__: _filed,
        e.AttemptStarted.__name__: _attempt,
        e.ActionTaken.__name__: _step,
        e.CriteriaMet.__name__: _verified,
        e.CriteriaNotMet.__name__: _verified,
    },
    key=ticket_of,
)
"""By ticket id."""
