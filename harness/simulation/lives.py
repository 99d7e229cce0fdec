"""Histories by chance: tickets that live as the table of their life allows, in among locks, queues and the watch.

For tests that ask what holds for every history. The same chance gives the same history; touches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from harness.core import events as e
from harness.core.ids import WATCH_STREAM, event_id, lock_stream, queue_stream, ticket_stream
from harness.core.lifecycle import ENDS, Life, evolve, possible
from harness.core.record import NewEvent, StreamWrite

SERVICE = "ratelimiter"
BEGAN_AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
_BESIDE = (e.DeliveryWaits, e.LockTaken, e.LockFreed, e.WatchBeat)
_ASIDE = frozenset({
    e.TicketRejected, e.TicketMerged, e.TicketCancelled, e.TicketPaused, e.HelpRequested, e.ApprovalRequested,
    e.RollbackFailed,
})  # fmt: skip
"""Seldom: else hardly a ticket would come as far as a deployment."""


def history(chance: Random, *, events: int, at_once: int) -> Iterator[StreamWrite]:
    """So many events, one a write, of so many tickets at once; where one has ended, another is filed."""
    lives: dict[str, Life] = {}
    kind: type[e.Event]
    filed = 0
    for number in range(events):
        if len(lives) < at_once:
            filed += 1
            ticket = f"INF-{filed}"
            kind, stream, given = e.TicketFiled, ticket_stream(ticket), {"ticket_id": ticket, "service": SERVICE}
            lives[ticket] = Life()
        else:
            ticket = chance.choice(list(lives))
            kind, stream, given = _next(chance, ticket, lives[ticket])
        event = kind.model_validate(_value(chance, kind) | given)
        if stream == ticket_stream(ticket):
            lives[ticket] = evolve(lives[ticket], event)
        if lives[ticket].state in ENDS and chance.random() < 0.5:
            del lives[ticket]
        told = NewEvent(
            id=event_id(f"by chance/{number}"), type=kind.__name__, schema_version=kind.schema_version,
            data=event.model_dump(mode="json"), actor="harness", occurred_at=BEGAN_AT + timedelta(seconds=number / 4),
            correlation_id=ticket,
        )  # fmt: skip
        yield StreamWrite(stream, None, [told])


def _next(chance: Random, ticket: str, life: Life) -> tuple[type[e.Event], str, dict[str, Any]]:
    """What happens next to a ticket, or beside it: type, stream, and what its data must say."""
    options = [e.EVENTS[name] for name in possible(life.state) if name != e.TicketFiled.__name__]
    if not options or chance.random() < 0.2:
        beside = chance.choice(_BESIDE)
        stream = {e.DeliveryWaits: queue_stream(SERVICE), e.WatchBeat: WATCH_STREAM}.get(beside, lock_stream(SERVICE))
        return beside, stream, {} if beside is e.WatchBeat else {"ticket_id": ticket, "attempt": max(life.attempt, 1)}
    forward = [one for one in options if one not in _ASIDE]
    kind = chance.choice(forward if forward and chance.random() < 0.95 else options)
    attempt = {"attempt": life.attempt + (kind is e.AttemptStarted)} if "attempt" in kind.model_fields else {}
    return kind, ticket_stream(ticket), attempt


def _value(chance: Random, kind: Any, pattern: bool = False) -> Any:
    """A value of this type, as JSON."""
    origin, of = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, e.Value):
        return {
            name: _value(chance, field.annotation, pattern=bool(field.metadata))
            for name, field in kind.model_fields.items() if field.is_required() or chance.random() < 0.7
        }  # fmt: skip
    if origin is Annotated:
        return _value(chance, of[0], pattern=True)
    if origin in (Union, UnionType):
        return _value(chance, chance.choice(of))
    if origin is Literal:
        return chance.choice(of)
    if origin is tuple:
        return [_value(chance, of[0]) for _ in range(chance.randint(0, 2))]
    if origin is dict:
        return {chance.choice("abc"): _value(chance, of[1]) for _ in range(chance.randint(0, 2))}
    if kind is str:
        return f"sha256:{chance.randint(0, 9):064}" if pattern else chance.choice(["one", "two", "drei – ü"])
    if kind is datetime:
        return (BEGAN_AT + timedelta(seconds=chance.randint(0, 999))).isoformat()
    number = chance.randint(0, 99)
    return {bool: number < 50, int: number, float: number / 4, NoneType: None}[kind]
