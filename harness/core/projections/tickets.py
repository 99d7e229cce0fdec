"""The projection of tickets: what each is and where it is, for lists. Pure; touches nothing."""

from __future__ import annotations

from typing import Final

from harness.core import events as e
from harness.core.invariant import to_hold_again
from harness.core.lifecycle import ENDS, READ, TABLE, Life, State, evolve
from harness.core.projections.projection import Document, Event, Projection, begun, ticket_of


def _filed(_: Document | None, event: Event) -> Document:
    data = event.data
    return {
        "type": data["type"], "service": data["service"], "priority": data["priority"], "spec": data["spec"],
        "fingerprint": data.get("fingerprint"), "recurrence_of": data.get("recurrence_of"),
        "opened_at": event.told.occurred_at.isoformat(), "closed_at": None,
        "waits_for": None, "waits_until": None, "parent": None, "children": [], "life": _written(Life()),
    }  # fmt: skip


def _lived(document: Document | None, event: Event) -> Document:
    document = begun(document, event)
    life = evolve(_read(document["life"]), _BARE.get(event.told.type) or _told(event))
    document["life"] = _written(life)
    if event.told.type == e.TicketSplit.__name__:
        document["children"] = list(dict.fromkeys([*document["children"], *event.data["children"]]))
    if event.told.type in _WAITS:
        until = event.data.get("until")
        document["waits_until"] = until
        document["waits_for"] = until and event.data.get("constraint", event.data.get("holder"))
        if event.told.type == e.DeliveryBlocked.__name__:
            document["waits_for"] = to_hold_again(event.data["invariant"], event.data["condition"])
    if life.state in ENDS and document["closed_at"] is None:
        document["closed_at"] = event.told.occurred_at.isoformat()
    return document


def _named(document: Document | None, event: Event) -> Document:
    document = begun(document, event)
    document["parent"] = event.data["parent"]
    return document


def waits_of(document: Document) -> tuple[str, str | None] | None:
    """The constraint that has the ticket, or its delivery, wait, and until when; or what blocks it, and None."""
    waits = state_of(document) in (State.WAITING, State.QUEUED) and document["waits_for"] is not None
    return (document["waits_for"], document["waits_until"]) if waits else None


def state_of(document: Document) -> str:
    """Where the ticket is."""
    return str(document["life"]["state"])


def _told(event: Event) -> e.Event:
    # Constructed, not validated: it was when it was recorded.
    return e.EVENTS[event.told.type].model_construct(**event.data)


def _written(life: Life) -> Document:
    return {
        "state": str(life.state), "held": [str(state) for state in life.held], "attempt": life.attempt,
        "token": life.token, "admitted": life.admitted, "interrupted": life.interrupted,
    }  # fmt: skip


def _read(life: Document) -> Life:
    held = tuple(State(state) for state in life["held"])
    return Life(
        State(life["state"]), held, life["attempt"], life["token"], life["admitted"], life["interrupted"]
    )  # fmt: skip


_LIVED = {kind for _, kind in TABLE} | {e.LockAcquired, e.LockReleased}
"""Those that move it, and those that its life remembers beside the state; other notes leave it as it is."""
_WAITS = {kind.__name__ for kind in (e.WindowAwaited, e.DeliveryQueued, e.DeliveryBlocked, e.TicketSplit)}
_BARE = {kind.__name__: kind.model_construct() for kind in _LIVED - READ}
"""An event whose fields nobody reads is not parsed for them: a replay has many, and of some the data are long."""

TICKETS: Final = Projection(
    name="tickets",
    version=4,
    folds={e.TicketFiled.__name__: _filed, e.ParentNamed.__name__: _named} | {kind.__name__: _lived for kind in _LIVED},
    key=ticket_of,
)
"""By ticket id."""
