"""`harness ticket show`, `explain`, `watch`: what a ticket is, and why, from its stream alone. Changes nothing."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from harness.agent.by_hand import BY_HAND
from harness.bootstrap import Record, read_record
from harness.cause import grouped, standing
from harness.cli.alerts import alerts_on
from harness.cli.explain import explained
from harness.cli.render import (
    AsJson,
    condition_unit,
    in_words,
    many,
    minute,
    number,
    print_json,
    safe,
    say,
    short_hashes,
)
from harness.cli.shown import Shown
from harness.cli.story import line
from harness.core import events as e
from harness.core.cause import failed
from harness.core.dropping import dropped
from harness.core.errors import Dropped, Invalid
from harness.core.explanation import decided, evidence, questions
from harness.core.ids import alerts_stream, cause_stream, signal_stream, ticket_stream
from harness.core.lifecycle import State
from harness.core.plain_text import one_line
from harness.core.spending import cost_of
from harness.core.ticket import Attempt, Ticket, way_back_question
from harness.core.ticket_spec import Criterion, Labels
from harness.journal import Journal, decode, read_ticket
from harness.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Tickets: all work enters as one.")
Id = Annotated[str, typer.Argument(metavar="ID", help="The ticket's id, such as INF-1.")]
NAME_CHARS = 100
TEXT_CHARS = 20_000
By = Annotated[str | None, typer.Option(help="Who says so; the login name if left out.")]


def who(by: str | None) -> str:
    """Who says so, as it is recorded: the name that was given, or of who runs this process."""
    try:
        name = by if by is not None else getpass.getuser()
    except (KeyError, OSError):
        raise Invalid("--by: the system does not know who you are; give your name") from None
    if not 0 < len(name) <= NAME_CHARS or not name.isprintable():
        raise Invalid(f"--by: a name has 1 to {NAME_CHARS} printable characters; this has {len(name)}")
    return name


def spoken(text: str, where: str) -> str:
    """What a person says, if it is not too long to be read."""
    if len(text) > TEXT_CHARS:
        raise Invalid(f"{where}: has {len(text)} characters; at most {TEXT_CHARS} are allowed. Name where the rest is")
    return text


@app.command()
def show(ticket_id: Id, as_json: AsJson = False) -> None:
    """Show one ticket: objective, criteria with before and after, attempts."""
    record = read_record(Settings.load())
    document = ticket_document(record, ticket_id)
    if as_json:
        print_json(document)
        return
    say(f"{document['id']} {document['type']} {document['priority']} {document['state']}: {document['objective']}")
    verified = any(attempt["verification"] for attempt in document["attempts"])
    unknown = "not measured" if verified else "not judged"
    for one in document["acceptance_criteria"]:
        word = {True: "met", False: "not met", None: unknown}[one["met"]]
        unit = condition_unit(one["condition"])
        before = f"before {number(one['baseline'], unit)}"
        now = f", now {number(one['value'], unit)}" if verified else ""
        length = f" {one['duration']}" if one["duration"] else ""
        left = f", left to {one['left_to']}" if one["left_to"] else ""
        say(f"  {one['metric']} {one['condition']}{length}: {word} ({before}{now}{left})")
    for one in document["signals"]:
        apart = f"; {one['apart']} is there for it since an attempt failed" if one["apart"] else ""
        grouped_for = f", grouped, for {one['grouped']}{apart}" if one["grouped"] else ""
        say(f"  signal {one['kind']}:{one['name']} fired {many(one['count'], 'time')}{grouped_for}")
    if document["recurrence_of"]:
        say(f"  again after {document['recurrence_of']}")
    if document["recurrences"]:
        say(f"  came back: {', '.join(document['recurrences'])}")
    for text in document["constraints"]:
        say(f"  {text}")
    if document["parent"]:
        say(f"  part of {document['parent']}")
    for child in document["children"]:
        say(f"  part {child}: {_journal(record, child).state}")
    for attempt in document["attempts"]:
        by = "without an agent" if attempt["agent"] == BY_HAND else f"by {attempt['agent']}"
        change = f"change {short_hashes(attempt['change'])}" if attempt["change"] else "no change"
        stages = (attempt[stage] for stage in ("checks", "canary", "deploy", "verification"))
        say(f"  attempt {attempt['n']} {by}: " + ", ".join([change, *(in_words(one) for one in stages if one)]))
    if document["waits_for"] and not document["waits_until"]:
        say(f"waits for {document['waits_for']}")
    if document["waits_until"]:
        say(f"waits until {minute(document['waits_until'])}: {document['waits_for']}")
        say(f"say: harness ticket constrain {document['id']}, to give it other constraints, or cancel")
    if document["approval"]:
        asked = document["approval"]
        say(f"waits for approval of {asked['what']}: {asked['why']}")
        say(f"  {asked['hash']}")
        say(f"say: harness ticket approve {document['id']}, or reject")
    if document["question"]:
        print("asks: " + safe(document["question"]).replace("\n", "\n      "))
        say(f"say: harness ticket answer {document['id']} TEXT, or take-over, or cancel")
    say(f"why: harness ticket explain {document['id']} · steps: harness trajectory show {document['id']}")


@app.command()
def explain(ticket_id: Id, as_json: AsJson = False) -> None:
    """Tell why: this ticket, this change, and every gate's answer, with queries, windows, samples and values.

    From the ledger alone: every event of the ticket and of its signal in order, each with the evidence it rests on.
    """
    record = read_record(Settings.load())
    document = explanation(record, _journal(record, ticket_id).ticket)
    if as_json:
        print_json(document)
        return
    say(f"{ticket_id} is {document['state']}: {document['objective']}")
    for text in explained(document):
        print(text)


def explanation(record: Record, ticket: Ticket) -> dict[str, Any]:
    """Every event of a ticket and of its signals, with the question it answers and what it rests on."""
    streams = [ticket_stream(ticket.id)]
    if cause := ticket.filed.fingerprint:
        causes = {cause, *(one.fingerprint for one in grouped(record.ledger, ticket))}
        told = [stream(one) for stream in (signal_stream, alerts_stream) for one in sorted(causes)]
        streams = [*told, cause_stream(cause), *streams]
    rows = sorted(
        (row for stream in streams for row in record.ledger.read_stream(stream) if row.correlation_id == ticket.id),
        key=lambda row: row.position,
    )
    history = [(row, decode(row)) for row in rows]
    asked, shown = questions(history), Shown(record.blobs)
    return {
        "ticket": ticket.id, "state": str(ticket.state),
        "objective": title(record, ticket.filed.spec), "decisions": [
            {"position": row.position, "at": row.occurred_at.isoformat(), "actor": row.actor, "event": row.type,
             "why": text, "question": asked[row.position].about, "attempt": asked[row.position].attempt,
             "decided": decided(event), "evidence": evidence(event, shown.get_json),
             "data": event.model_dump(mode="json"), "hash": row.hash}
            for row, event in history
            if (text := line(event, shown))
        ],
    }  # fmt: skip


@app.command()
def watch(ticket_id: Id, as_json: AsJson = False) -> None:
    """Watch a ticket, under way or past, until it has ended or waits for a person.

    A live view on a terminal, else a line an event. With --json the ticket's document, at the end. Exit 0 when it is
    resolved, 1 when not; an interruption ends the watching and not the work.
    """
    from harness.cli.live import watch_ticket  # half a second of imports that only this needs

    record = read_record(Settings.load())
    _journal(record, ticket_id)
    try:
        state = watch_ticket(record, ticket_id, silent=as_json)
    except KeyboardInterrupt:
        print(f"interrupted; the work goes on: `harness ticket watch {ticket_id}` shows it", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print_json(ticket_document(record, ticket_id))
    raise typer.Exit(0 if state is State.RESOLVED else 1)


def ticket_document(record: Record, ticket_id: str) -> dict[str, Any]:
    """The contract's JSON of one ticket."""
    journal = _journal(record, ticket_id)
    ticket = journal.ticket
    written: Sequence[Criterion | e.FrozenCriterion]
    try:
        spec = journal.spec()
        written, constraints, labels = spec.acceptance_criteria, list(spec.constraints), spec.labels
    except Dropped:  # what was fixed at admission is in an event, and stays
        written, constraints, labels = ticket.admitted.criteria if ticket.admitted else (), [], Labels()
    return {
        "id": ticket.id, "type": ticket.filed.type, "service": ticket.filed.service, "state": str(ticket.state),
        "source": ticket.filed.source, "priority": ticket.filed.priority, "objective": title(record, ticket.filed.spec),
        "acceptance_criteria": _criteria(ticket, written), "constraints": constraints,
        "labels": labels.model_dump(), "approval": _approval(record, ticket),
        "question": _question(record, ticket), **_waits(ticket),
        "attempts": [_attempt(attempt) for attempt in ticket.attempts], "signals": _signals(record, ticket),
        "cost": cost_of(ticket),
        "recurrence_of": ticket.filed.recurrence_of, "recurrences": _recurrences(record, ticket),
        "parent": ticket.parent, "children": list(ticket.children),
        "links": [ticket.filed.recurrence_of] if ticket.filed.recurrence_of else [],
    }  # fmt: skip


def _approval(record: Record, ticket: Ticket) -> dict[str, Any] | None:
    if ticket.state is not State.AWAITING_APPROVAL or ticket.asked is None:
        return None
    said = Shown(record.blobs).get_json(ticket.asked.why)
    told = dropped(said)
    return {"what": ticket.asked.what, "hash": ticket.asked.hash, **(said if told is None else {"why": told})}


def _waits(ticket: Ticket) -> dict[str, str | None]:
    """The constraint that has it wait now, and until when; or what blocks it, nobody knows until when."""
    if ticket.state not in (State.WAITING, State.QUEUED) or ticket.waits_for is None:
        return {"waits_for": None, "waits_until": None}
    until = ticket.waits_until.isoformat() if ticket.waits_until else None
    return {"waits_for": ticket.waits_for, "waits_until": until}


def _question(record: Record, ticket: Ticket) -> str | None:
    """What a person is asked; None while the ticket is with no person."""
    if ticket.state is not State.ESCALATED:
        return None
    if ticket.way_back_failed is not None:
        return way_back_question(ticket.way_back_failed)
    if ticket.question is None:
        return None
    return str(Shown(record.blobs).get_json(ticket.question)["question"])


def _journal(record: Record, ticket_id: str) -> Journal:
    return Journal(ticket_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock)


def title(record: Record, spec: e.BlobRef) -> str:
    """What a ticket wants, in a sentence; the words of who dropped it, where it was dropped."""
    return one_line(str(Shown(record.blobs).get_json(spec)["ticket"]["objective"]["description"]))


def _criteria(ticket: Ticket, written: Sequence[Criterion | e.FrozenCriterion]) -> list[dict[str, Any]]:
    """Baselines from admission, values from the last verification; None where nothing was measured."""
    frozen = {one.metric: one for one in ticket.admitted.criteria} if ticket.admitted else {}
    verification = next((a.verification for a in reversed(ticket.attempts) if a.verification), None)
    judged = {one.metric: one for one in verification.criteria} if verification else {}
    return [
        {
            "metric": one.metric, "condition": one.condition, "duration": one.duration,
            "baseline": b.value if one.metric in frozen and (b := frozen[one.metric].baseline) else None,
            "value": judged[one.metric].measured.value if one.metric in judged else None,
            "met": judged[one.metric].met if one.metric in judged else None,
            "left_to": left.ticket_id if one.metric in judged and (left := judged[one.metric].left_to) else None,
        }
        for one in written
    ]  # fmt: skip


def _attempt(attempt: Attempt) -> dict[str, Any]:
    def word(event: e.Event | None) -> str | None:
        return None if event is None else type(event).__name__

    exit_status = attempt.help.exit_status if attempt.help else "submitted" if attempt.change else None
    return {
        "n": attempt.n, "agent": attempt.agent, "exit_status": exit_status,
        "change": attempt.change.commit if attempt.change else None, "checks": word(attempt.checks),
        "canary": word(attempt.canary), "deploy": word(attempt.deploy), "verification": word(attempt.verification),
    }  # fmt: skip


def _recurrences(record: Record, ticket: Ticket) -> list[str]:
    """The tickets that its causes had next, where they came back after this one; those of the list say the same."""
    causes = {one.fingerprint for one in grouped(record.ledger, ticket)} | {ticket.filed.fingerprint or ""}
    opened = [
        event.ticket_id for cause in sorted(causes - {""}) for row in record.ledger.read_stream(cause_stream(cause))
        if isinstance(event := decode(row), e.CauseOpened)
    ]  # fmt: skip
    return [one for one in opened if read_ticket(record.ledger, one).filed.recurrence_of == ticket.id]


def _signals(record: Record, ticket: Ticket) -> list[dict[str, Any]]:
    """The ticket's own signal, and those that were grouped into it: each with how often it fired, and why it is here.

    ``apart``: it was given a ticket of its own since, for an attempt at one cause of all failed.
    """
    if ticket.filed.fingerprint is None:
        return []
    found: dict[str, dict[str, Any]] = {}
    for row in record.ledger.read_stream(cause_stream(ticket.filed.fingerprint)):
        match event := decode(row):
            case e.CauseOpened() | e.SignalAttached() | e.SignalGrouped() if event.ticket_id == ticket.id:
                name, why = ticket.filed.signal or "", None
                if isinstance(event, e.SignalGrouped):
                    name, why = event.signal, event.why
                seen = found.setdefault(event.fingerprint, {
                    "fingerprint": event.fingerprint, "kind": name.partition(":")[0], "name": name.partition(":")[2],
                    "first_seen": row.occurred_at.isoformat(), "count": 0, "grouped": why,
                })  # fmt: skip
                seen["count"] += 1
    return [
        one | {"apart": _apart(record, ticket, one), "alerts": alerts_on(record, one["fingerprint"], ticket.id)}
        for one in found.values()
    ]


def _apart(record: Record, ticket: Ticket, signal: dict[str, Any]) -> str | None:
    last = standing(record.ledger, signal["fingerprint"]).last
    return last if signal["grouped"] and failed(ticket) and last != ticket.id else None
