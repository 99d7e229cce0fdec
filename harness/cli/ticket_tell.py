"""`harness ticket pause`, `resume`, `cancel`, `answer`, `take-over`, `approve`, `reject`, `constrain`, `split`.

The ticket's workflow does it and alone writes its stream; here only the global stop is recorded. Exit 4 without
Temporal.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.adapters.declarations import load
from harness.agent.by_hand import IN_MAIN
from harness.bootstrap import Record, read_record, read_repository, read_rules
from harness.cli.render import AsJson, print_json, say
from harness.cli.ticket import By, Id, spoken, who
from harness.core.command import EVENT_OF, Command, Verb, refuse_unless_open
from harness.core.constraint import Constraint
from harness.core.errors import Forbidden, Invalid
from harness.core.ids import ticket_stream
from harness.core.lifecycle import STAGE, TABLE, State
from harness.journal import Journal
from harness.parts import Children
from harness.settings import Settings
from harness.stop import is_stopped, record_stop

MaybeId = Annotated[str | None, typer.Argument(metavar="[ID]", help="The ticket's id, such as INF-1.")]
Why = Annotated[str, typer.Option(help="Why; kept with the ticket.")]
Hash = Annotated[
    str | None, typer.Option("--hash", help="Of the change that was looked at; the one that is asked for if left out.")
]


def pause(
    ticket_id: MaybeId = None,
    all_: Annotated[bool, typer.Option("--all", help="All tickets; none is begun until `resume --all`.")] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Stop a ticket at its next safe point, or all tickets."""
    _one_or_all("pause", ticket_id, all_, by, as_json)


def resume(
    ticket_id: MaybeId = None,
    all_: Annotated[bool, typer.Option("--all", help="All paused tickets; new ones are begun again.")] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused ticket go on from where it was, or all of them."""
    _one_or_all("resume", ticket_id, all_, by, as_json)


def cancel(ticket_id: Id, why: Why = "", by: By = None, as_json: AsJson = False) -> None:
    """End a ticket at its next safe point. What is half done is taken back first."""
    _tell_one("cancel", ticket_id, by, as_json, text=why)


def answer(
    ticket_id: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The answer, in plain words.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Answer an escalated ticket: it goes back to work, with one more attempt, and the agent sees the answer."""
    if not text.strip():
        raise Invalid("TEXT: the answer is empty; say what was done or what should be tried")
    _tell_one("answer", ticket_id, by, as_json, text=text)


def take_over(
    ticket_id: Id,
    commit: Annotated[str, typer.Argument(metavar="COMMIT", help="A commit of the service's repository.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Take an escalated ticket over: a commit of yours goes through its test, canary, deploy and verify."""
    settings = Settings.load()
    repository = read_repository(settings, read_rules())
    if not repository.log(repository.main(), commit):
        raise Forbidden(f"COMMIT: {commit} {IN_MAIN}")
    _tell_one("take_over", ticket_id, by, as_json, commit=commit)


def approve(ticket_id: Id, hash_: Hash = None, by: By = None, as_json: AsJson = False) -> None:
    """Approve the change that waits for it: exactly this diff, by its hash."""
    _tell_one("approve", ticket_id, by, as_json, hash=hash_)


def reject(
    ticket_id: Id,
    why: Why = "",
    final: Annotated[bool, typer.Option("--final", help="End the ticket instead of sending it back to work.")] = False,
    hash_: Hash = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Reject the change that waits for approval."""
    _tell_one("reject", ticket_id, by, as_json, text=why, hash=hash_, final=final)


def constrain(
    ticket_id: Id,
    constraint: Annotated[
        list[str] | None, typer.Option(help="A constraint, `deadline 2026-12-01T00:00Z`; may be given often.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Lift all that it has.")] = False,
    why: Why = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Give a ticket other constraints, in place of all that it has. One that waits looks again at once."""
    if bool(constraint) is none:
        raise Invalid("--constraint: give those that hold from here on, or --none to lift all")
    for text in constraint or ():
        try:
            Constraint.parse(text)
        except Invalid as error:
            raise Invalid(f"--constraint: {error}") from None
    _tell_one("constrain", ticket_id, by, as_json, text=why, constraints=tuple(constraint or ()))


def split(
    ticket_id: Id,
    path: Annotated[Path, typer.Option("--file", "-f", help="A file with `children`, as a ticket has them.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Split a ticket into parts, each verified by itself. It is verified when all of them are resolved.

    What is under way on it is broken off, and a delivery that is half done is taken back first.
    """
    children = load(Children, path)
    put = read_record(Settings.load()).blobs.put_json(children.model_dump(mode="json", exclude_none=True))
    _tell_one("split", ticket_id, by, as_json, children=put)


def _one_or_all(verb: Verb, ticket_id: str | None, all_: bool, by: str | None, as_json: bool) -> None:
    if (ticket_id is None) is not all_:
        raise Invalid(f"{verb}: give either a ticket's ID or --all")
    if ticket_id is not None:
        _tell_one(verb, ticket_id, by, as_json)
        return
    settings = Settings.load()
    record, name = read_record(settings), who(by)
    record_stop(record.ledger, record.clock, stopped=verb == "pause", by=name)
    ids = [stream.removeprefix(ticket_stream("")) for stream in record.ledger.streams(ticket_stream(""))]
    kind = EVENT_OF[verb]
    there = [one for one in ids if (_journal(record, one).state, kind) in TABLE]
    outcome = asyncio.run(_tell_many(settings, {one: _command(verb, name) for one in there}))
    if as_json:
        print_json({"stopped": is_stopped(record.ledger), "tickets": outcome})
        return
    for one, state in outcome.items():
        say(f"{one}: {state}")
    print("no ticket is begun until `harness ticket resume --all`" if verb == "pause" else "tickets are begun again")


def _tell_one(verb: Verb, ticket_id: str, by: str | None, as_json: bool, *, text: str = "", **more: Any) -> None:
    settings = Settings.load()
    record = read_record(settings)
    journal = _journal(record, ticket_id)
    if journal.state not in STAGE:  # nothing moves it but time and people: what the ledger says holds
        refuse_unless_open(journal.state, verb)
    if verb in ("approve", "reject") and more["hash"] is None:
        if journal.state is not State.AWAITING_APPROVAL or journal.ticket.asked is None:
            refuse_unless_open(journal.state, verb)
        else:
            more["hash"] = journal.ticket.asked.hash
    said = spoken(text, "TEXT" if verb == "answer" else "--why")
    told = _command(verb, who(by), text=journal.put({"text": said}), **more)
    state = asyncio.run(_tell(settings, ticket_id, told))
    if as_json:
        print_json({"id": ticket_id, "state": state})
    else:
        say(f"{ticket_id} is {state}")


def _command(verb: Verb, by: str, **more: Any) -> Command:
    return Command(verb=verb, request=str(uuid.uuid4()), by=by, **more)


async def _tell(settings: Settings, ticket_id: str, told: Command) -> str:
    from harness.adapters.temporal import connect, tell_ticket

    client = await connect(settings.temporal_address, settings.temporal_namespace, settings.secrets)
    return await tell_ticket(client, ticket_id, told)


async def _tell_many(settings: Settings, told: dict[str, Command]) -> dict[str, str]:
    """All at once: a stop must not wait for one ticket's safe point before it reaches the next."""
    from harness.adapters.temporal import connect

    client = await connect(settings.temporal_address, settings.temporal_namespace, settings.secrets)
    states = await asyncio.gather(*(_state_or_refusal(client, one, command) for one, command in told.items()))
    return dict(zip(told, states, strict=True))


async def _state_or_refusal(client: Any, ticket_id: str, told: Command) -> str:
    from harness.adapters.temporal import tell_ticket

    try:
        return await tell_ticket(client, ticket_id, told)
    except Forbidden as refusal:  # it came to its end, or was told the same, a moment ago
        return f"as it was: {refusal}"


def _journal(record: Record, ticket_id: str) -> Journal:
    return Journal(ticket_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock)
