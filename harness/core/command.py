"""What a person can tell a live ticket, in the imperative, and the event that it becomes. Decides; touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from harness.core import events as e
from harness.core.constraint import Constraint
from harness.core.errors import Broken, Forbidden
from harness.core.lifecycle import NOTES, TABLE, State, evolve
from harness.core.ticket import Ticket

Verb = Literal["pause", "resume", "cancel", "answer", "take_over", "approve", "reject", "constrain", "split"]

EVENT_OF: Final[dict[Verb, type[e.Event]]] = {
    "pause": e.TicketPaused,
    "resume": e.TicketResumed,
    "cancel": e.TicketCancelled,
    "answer": e.AnswerGiven,
    "take_over": e.TakenOver,
    "approve": e.ApprovalGranted,
    "reject": e.ApprovalDenied,
    "constrain": e.ConstraintsChanged,
    "split": e.TicketSplit,
}
TAKES_BACK: Final = frozenset[Verb]({"cancel", "answer", "take_over", "split"})
"""Before these hold, a delivery that is half done is taken back: main equals what runs, and the lock can go."""
INTERRUPTS: Final[Mapping[str, frozenset[Verb]]] = {
    "work": frozenset({"pause", "cancel", "split"}),
    "test": frozenset({"pause", "cancel", "constrain"}),
}
"""Stages that leave nothing half done when they are broken off (a session, the wait for the lock, a run of the checks),
and what is not to wait for their end. The other stages are let come to their end."""


class Command(BaseModel):
    """``request`` names this one telling: told twice, it is done once. Text is a blob, here is its reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verb: Verb
    request: str
    by: str
    text: str | None = None
    hash: str | None = None
    """Of the change that the person saw: what is approved or rejected."""
    final: bool = False
    commit: str | None = None
    """By which a person takes the ticket over."""
    constraints: tuple[str, ...] = ()
    """In place of all that the ticket has."""
    children: str | None = None
    """The parts into which it is split: the reference of a body with ``children``."""


def refuse_unless_open(state: State, verb: Verb) -> None:
    """Raise Forbidden when a ticket in this state cannot be told so, with what it can be told."""
    open_to = [
        other for other, kind in EVENT_OF.items() if (state, kind) in TABLE or state in NOTES.get(kind, frozenset())
    ]
    if verb not in open_to:
        ended = "nothing any more"
        if state is State.RESOLVED:
            ended += "; what it changed is taken back by `harness ticket revert`"
        told = f"{verb}: the ticket is {state}; it can be told: {', '.join(open_to) or ended}"
        raise Forbidden(told.replace("_", "-"))  # as it is typed


def event_of(command: Command, ticket: Ticket, nothing_said: str) -> e.Event:
    """What happens to the ticket when it is told so.

    Args:
        nothing_said: reference of an empty reason.

    Raises:
        Forbidden: the ticket's state does not allow it, or another change than the one that was seen waits for a word.
        Invalid: a constraint is not understood.
    """
    refuse_unless_open(ticket.state, command.verb)
    if command.verb == "constrain" and (ticket.life.token is not None or ticket.life.interrupted):
        raise Forbidden("constrain: its change is being delivered, and nothing would keep to it; it can be cancelled")
    event = _event(command, ticket, command.text or nothing_said)
    evolve(ticket.life, event)
    return event


def _event(command: Command, ticket: Ticket, text: str) -> e.Event:
    match command.verb:
        case "pause":
            return e.TicketPaused(by=command.by)
        case "resume":
            return e.TicketResumed(by=command.by)
        case "cancel":
            return e.TicketCancelled(by=command.by, why=text)
        case "answer":
            return e.AnswerGiven(by=command.by, answer=text)
        case "take_over":
            assert command.commit is not None, "who takes a ticket over names a commit"
            return e.TakenOver(by=command.by, commit=command.commit)
        case "approve":
            return e.ApprovalGranted(hash=_asked(command, ticket), by=command.by)
        case "reject":
            return e.ApprovalDenied(hash=_asked(command, ticket), by=command.by, why=text, final=command.final)
        case "constrain":
            understood = tuple(Constraint.parse(one).text for one in command.constraints)
            return e.ConstraintsChanged(by=command.by, constraints=understood, why=text)
        case "split":
            raise Broken("split: its event names the parts, which are filed with it (`harness.parts.split`)")


def _asked(command: Command, ticket: Ticket) -> str:
    assert ticket.asked is not None, "a ticket waits for approval only after it was asked for"
    if command.hash != ticket.asked.hash:
        raise Forbidden(
            f"{command.verb} names the hash {command.hash}, and {ticket.id} waits for a word on {ticket.asked.hash}: "
            f"look again with `harness ticket show {ticket.id}`; an approval is for one hash"
        )
    return ticket.asked.hash
