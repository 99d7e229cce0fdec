"""One ticket's stream, read and written: decides nothing, and touches only the ledger and its blobs.

Every effect has a key (``<attempt>/<stage>/<ordinal>``); its event gets the id of that key. A retried stage asks
``recorded`` before it acts, so that nothing that was recorded is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from harness.core import events as e
from harness.core.anchor import TRAILER, Anchor, ledger_name
from harness.core.errors import Broken, Invalid, VersionConflict
from harness.core.ids import event_id, ticket_stream
from harness.core.lifecycle import State
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.ticket import Ticket, apply, fold
from harness.core.ticket_spec import TicketSpec
from harness.core.upcast import decode as decode  # whoever reads a ledger takes it from here
from harness.ports import Blobs, Clock, Ledger

E = TypeVar("E", bound=e.Event)

HARNESS = "harness"


def encode(key: str, event: e.Event, *, clock: Clock, actor: str, correlation: str, cause: str | None) -> NewEvent:
    """The ledger's form of an event whose effect has this key."""
    return NewEvent(
        id=event_id(key),
        type=type(event).__name__,
        schema_version=event.schema_version,
        data=event.model_dump(mode="json"),
        actor=actor,
        causation_id=cause,
        correlation_id=correlation,
        occurred_at=clock.now(),
    )


def read_ticket(ledger: Ledger, ticket_id: str) -> Ticket:
    """The ticket as its stream says. Raises Invalid where there is none of that id."""
    return _read(ledger, ticket_id)[0]


def _read(ledger: Ledger, ticket_id: str) -> tuple[Ticket, Recorded]:
    """The ticket, and the last row of its stream."""
    rows = ledger.read_stream(ticket_stream(ticket_id))
    ticket = fold((row.id, row.occurred_at, decode(row)) for row in rows)
    if ticket is None:
        raise Invalid(f"ticket {ticket_id}: no such ticket; `harness ticket list` shows all")
    return ticket, rows[-1]


class Journal:
    """The record of one ticket."""

    def __init__(self, ticket_id: str, *, ledger: Ledger, blobs: Blobs, clock: Clock) -> None:
        self.ticket_id = ticket_id
        self.ledger = ledger
        self.blobs = blobs
        self.clock = clock
        self.ticket, self._last = _read(ledger, ticket_id)

    @property
    def state(self) -> State:
        """Where the ticket is."""
        return self.ticket.state

    @property
    def token(self) -> int:
        """The fencing token of the delivery lock, which the ticket holds: whoever touches the service has it."""
        token = self.ticket.life.token
        assert token is not None, "the delivery lock is held from TEST to VERIFY"
        return token

    def spec(self) -> TicketSpec:
        """The ticket file, with the constraints that people gave the ticket since."""
        spec = TicketSpec.read(self.blobs.get_json(self.ticket.filed.spec), self.ticket_id)
        changed = self.ticket.constraints
        return spec if changed is None else spec.model_copy(update={"constraints": changed})

    def trailers(self) -> str:
        """How the message of a commit of this attempt ends: for what it was made, and an anchor of the ledger.

        The anchor is the ticket's newest event that this journal knows, not the ledger's head: a retry has the same.
        """
        anchor = Anchor(self._last.position, self._last.hash, ledger_name(self.ledger.read_all(limit=1)[0]))
        return f"Ticket: {self.ticket_id}\nAttempt: {self.ticket.attempt.n}\n{TRAILER}: {anchor.line()}\n"

    def key(self, key: str) -> str:
        """The effect's key, unique in the world: this ticket's name before it."""
        return f"{self.ticket_id}/{key}"

    def recorded(self, key: str, kind: type[E]) -> E | None:
        """The event that was recorded under this key, if it was."""
        event = self.ticket.recorded.get(event_id(self.key(key)))
        if event is None or isinstance(event, kind):
            return event
        raise Broken(f"{self.key(key)}: recorded as {type(event).__name__}, asked for as {kind.__name__}")

    def record(self, key: str, event: E, *, actor: str = HARNESS, beside: Sequence[StreamWrite] = ()) -> E:
        """Append the event, and writes to other streams in the same transaction; the ticket's life must allow it.

        Raises Broken when the key has its event already: ``recorded`` has to be asked first. Raises VersionConflict
        when another worker was faster: after a stall longer than a heartbeat, two have one ticket for a moment.
        """
        if event_id(self.key(key)) in self.ticket.recorded:
            raise Broken(f"{self.key(key)}: has its event already, and {type(event).__name__} would be a second one")
        cause = self._last.id
        new = encode(self.key(key), event, clock=self.clock, actor=actor, correlation=self.ticket_id, cause=cause)
        after = apply(self.ticket, new.id, new.occurred_at, event)
        try:
            recorded = self.ledger.append(
                [StreamWrite(ticket_stream(self.ticket_id), self.ticket.version, [new]), *beside]
            )
        except Broken:  # the same key with other content: a bug, unless it was recorded after this journal was read
            self.require_newest()
            raise
        self.ticket, self._last = after, recorded[0]
        return event

    def require_newest(self) -> None:
        """Before an effect that another worker may have gone beyond: raises VersionConflict when one has.

        A worker that was stopped for a while goes on from what it remembers, with the token of its own delivery.
        """
        stream = ticket_stream(self.ticket_id)
        if newer := self.ledger.read_stream(stream, from_version=self.ticket.version + 1):
            raise VersionConflict(stream=stream, expected=self.ticket.version, actual=newer[-1].version)

    def once(self, key: str, kind: type[E], make: Callable[[], E], *, actor: str = HARNESS) -> E:
        """The event recorded under this key; made and recorded when it is not there yet."""
        return self.recorded(key, kind) or self.record(key, make(), actor=actor)

    def call_person(self, key: str, status: e.ExitStatus, question: str, *, attempt: int) -> e.HelpRequested:
        """Record that a person is called, and with which question. Raises as ``record`` does."""
        asked = self.put({"question": question})
        return self.record(key, e.HelpRequested(attempt=attempt, exit_status=status, question=asked))

    def put(self, value: Any) -> str:
        """Store a body; gives its reference."""
        return self.blobs.put_json(value)
