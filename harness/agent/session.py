"""A session as the ledger has it: reads what was done and seen, writes the briefing. Touches the journal alone."""

from __future__ import annotations

from typing import Any

from harness.agent.briefing import first_message
from harness.agent.dialogue import Step
from harness.cause import grouped
from harness.core import events as e
from harness.core.action import Action, Observation, Turn
from harness.core.conversation import Reply
from harness.core.errors import Dropped
from harness.core.ids import signal_stream
from harness.core.manifest import Manifest
from harness.core.operation import Catalog
from harness.core.ticket import Attempt, Ticket
from harness.journal import Journal, decode


def brief(journal: Journal, manifest: Manifest, catalog: Catalog, base: str, system: str) -> str:
    """Store what the model is told first; gives the blob's reference."""
    spec = journal.spec().document()["ticket"]
    first = first_message(journal.ticket, spec, manifest, catalog, base, _evidence(journal))
    return journal.put({"system": system, "first": first})


def turns(journal: Journal, attempt: Attempt) -> list[Turn]:
    """Every action that has its observation, in order."""
    return [_turn(journal, taken, seen) for taken, seen in _seen(attempt)]


def steps(journal: Journal, attempt: Attempt) -> list[Step]:
    """As ``turns``, each with the model's reply that called for it."""
    return [_step(journal, taken, seen) for taken, seen in _seen(attempt)]


def _seen(attempt: Attempt) -> list[tuple[e.ActionTaken, e.ObservationRecorded]]:
    taken = {step.step: step for step in attempt.steps if isinstance(step, e.ActionTaken)}
    return [(taken[seen.step], seen) for seen in attempt.steps if isinstance(seen, e.ObservationRecorded)]


def _turn(journal: Journal, taken: e.ActionTaken, seen: e.ObservationRecorded) -> Turn:
    body = journal.blobs.get_json
    return Turn(
        Action.model_validate(body(taken.call)), Observation(ok=seen.ok, body=body(seen.body), commit=seen.commit)
    )


def _step(journal: Journal, taken: e.ActionTaken, seen: e.ObservationRecorded) -> Step:
    assert taken.reply is not None
    turn = _turn(journal, taken, seen)
    return Step(
        reply=Reply.model_validate(journal.blobs.get_json(taken.reply)), n_call=taken.reply_call,
        action=turn.action, observation=turn.observation, seconds=seen.seconds,
    )  # fmt: skip


def _wanted(journal: Journal, ticket_id: str) -> dict[str, Any]:
    other = Journal(ticket_id, ledger=journal.ledger, blobs=journal.blobs, clock=journal.clock)
    try:
        wanted = other.spec().objective.description
    except Dropped as gone:
        wanted = str(gone)
    return {"state": other.state, "objective": wanted}


def _evidence(journal: Journal) -> dict[str, Any]:
    """Origin → JSON: what the signal rested on, and what people answered."""
    ticket: Ticket = journal.ticket
    evidence: dict[str, Any] = {}
    if ticket.filed.fingerprint is not None:
        rows = journal.ledger.read_stream(signal_stream(ticket.filed.fingerprint))
        fired = [event for row in rows if isinstance(event := decode(row), e.SignalStarted)]
        if fired:
            evidence["signal"] = journal.blobs.get_json(fired[-1].evidence)
        for event in grouped(journal.ledger, ticket):
            evidence[f"signal that began together with it, {event.signal}"] = journal.blobs.get_json(event.evidence)
    if ticket.parent is not None:
        evidence["the ticket that this is a part of"] = _wanted(journal, ticket.parent)
    if ticket.children:
        evidence["parts of this ticket"] = {one: _wanted(journal, one) for one in ticket.children}
    answers = [event for event in ticket.recorded.values() if isinstance(event, e.AnswerGiven)]
    if answers:
        evidence["answers of people"] = [journal.blobs.get_json(one.answer) for one in answers]
    return evidence
