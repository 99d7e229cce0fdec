"""`harness ticket pause`, `resume`, `cancel`, `answer`, `take-over`, `approve`, `reject`, `constrain`, `split`.

The ticket's workflow does it and alone writes its stream; here only the global stop is recorded. Exit 4 without
Temporal.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from harness.adapters.declarations import load
from harness.agent.by_hand import IN_MAIN
from harness.bootstrap import Record, read_record, read_repository, read_rules
from harness.cli.render import AsJson, print_json, say
from harness.cli.ticket import By, Id, spoken, who
from harness.core.command import EVENT_OF, Command, Verb, refuse_unless_open
from harness.core.constraint import Constraint
from harness.core.errors import Forbidden, Invalid, Retryable
from harness.core.ids import ticket_stream
from harness.core.lifecycle import STAGE, TABLE, State
from harness.journal import Journal
from harness.parts import Children
from harness.settings import Settings
from harness.stop import is_stopped, record_stop

T = TypeVar("T")
PATIENCE_S = 3.0
"""After so long it is said whose safe point is waited for."""
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
    if not as_json:  # holds already, whatever comes of the telling
        print(
            "tickets are begun again" if verb == "resume" else "no ticket is begun until `harness ticket resume --all`"
        )
    told = _interruptible(_tell_all(settings, {one: _command(verb, name) for one in there}))
    outcome = {one: state for one, state in told.items() if isinstance(state, str)}
    if as_json and len(outcome) == len(told):
        print_json({"stopped": is_stopped(record.ledger), "tickets": outcome})
        return
    for one, state in outcome.items():
        say(f"{one}: {state}")
    for late in told.values():
        if isinstance(late, Retryable):
            raise late


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
    (state,) = _interruptible(_tell_all(settings, {ticket_id: told}, refusals_too=False)).values()
    if isinstance(state, Retryable):
        raise state
    if as_json:
        print_json({"id": ticket_id, "state": state})
        return
    looks = "; it looks again now" if verb == "constrain" and state in (State.WAITING, State.QUEUED) else ""
    say(f"{ticket_id} is {state}{looks}")


def _command(verb: Verb, by: str, **more: Any) -> Command:
    return Command(verb=verb, request=str(uuid.uuid4()), by=by, **more)


def _interruptible(telling: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(telling)
    except KeyboardInterrupt:
        told = "interrupted; what was heard is done at the next safe point: `harness ticket list` shows it"
        print(told, file=sys.stderr)
        raise typer.Exit(130) from None


async def _tell_all(
    settings: Settings, told: dict[str, Command], *, refusals_too: bool = True
) -> dict[str, str | Retryable]:
    """All at once: a stop must not wait for one ticket's safe point before it reaches the next."""
    from harness.adapters.temporal import connect

    client = await connect(settings.temporal_address, settings.temporal_namespace, settings.secrets)
    return await patiently({one: _state(client, one, command, refusals_too) for one, command in told.items()})


async def patiently(asked: Mapping[str, Coroutine[Any, Any, T]], patience_s: float = PATIENCE_S) -> dict[str, T]:
    """What each comes to. Whose safe point is not there soon is named on stderr, for that may take minutes."""
    tasks = {one: asyncio.ensure_future(answer) for one, answer in asked.items()}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=patience_s)
    if late := [one for one, task in tasks.items() if not task.done()]:
        print(f"waiting for the next safe point of {', '.join(late)}", file=sys.stderr, flush=True)
    return {one: await task for one, task in tasks.items()}


async def _state(client: Any, ticket_id: str, told: Command, refusals_too: bool) -> str | Retryable:
    """The state that it is in then. What one of many does not do, or cannot yet, keeps none of the others."""
    from harness.adapters.temporal import tell_ticket

    try:
        return await tell_ticket(client, ticket_id, told)
    except Forbidden as refusal:  # it came to its end, or was told the same, a moment ago
        if not refusals_too:
            raise
        return f"as it was: {refusal}"
    except Retryable as error:
        return error


def _journal(record: Record, ticket_id: str) -> Journal:
    return Journal(ticket_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock)
