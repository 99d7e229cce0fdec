"""Tools that end a session: each records what the agent asks of the pipeline or of people."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import BaseModel, ConfigDict, Field

from harness import parts
from harness.agent.desk import Desk
from harness.core import events as e
from harness.core.action import Observation
from harness.core.operation import units
from harness.core.ticket_spec import Child


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SubmitChange(_Arguments):
    """Hand the work over to test → canary → deploy → verify."""

    summary: str
    predicted_effect: str


async def submit_change(arguments: SubmitChange, desk: Desk) -> Observation:
    """Proposes the branch's commit; not ok when nothing was changed."""
    attempt = desk.journal.ticket.attempt
    if desk.at == attempt.base:
        return Observation(
            ok=False, body={"reason": "nothing was changed on the branch; change something or end otherwise"}
        )
    files = {file for entry in desk.repository.log(attempt.base, desk.at) for file in entry.files}
    diff = desk.journal.put({"text": desk.repository.diff(attempt.base, desk.at)})
    summary = desk.journal.put(arguments.model_dump(mode="json"))
    desk.journal.once(
        f"{attempt.n}/propose",
        e.ChangeProposed,
        lambda: e.ChangeProposed(
            attempt=attempt.n,
            kind="config" if desk.manifest.configures(files) else "code",
            commit=desk.at,
            base=attempt.base,
            branch=desk.branch,
            diff=diff,
            summary=summary,
        ),
        actor=f"agent:{attempt.agent}",
    )
    return Observation(ok=True, body={"commit": desk.at})


class ProposeAction(_Arguments):
    """Hand an action of the catalog over to test → canary → deploy → verify, with its arguments by name."""

    name: str
    parameters: dict[str, int | str]
    summary: str
    predicted_effect: str


async def propose_action(arguments: ProposeAction, desk: Desk) -> Observation:
    """Proposes the action; not ok when the catalog has no such action, or it does not take these arguments."""
    attempt = desk.journal.ticket.attempt
    operation = desk.catalog.action(arguments.name).operation(arguments.parameters)
    body = {**operation.model_dump(mode="json"), "units": [asdict(unit) for unit in units(operation)]}
    text = "".join(f"{unit.verb} {unit.node or 'a node'}\n" for unit in units(operation))
    diff = desk.journal.put({"text": text})
    summary = desk.journal.put({"summary": arguments.summary, "predicted_effect": arguments.predicted_effect})
    main = desk.repository.main()
    desk.journal.once(
        f"{attempt.n}/propose",
        e.ChangeProposed,
        lambda: e.ChangeProposed(
            attempt=attempt.n, kind="operation", commit=main, base=main, branch="main", diff=diff, summary=summary,
            operation=operation,
        ),
        actor=f"agent:{attempt.agent}",
    )  # fmt: skip
    return Observation(ok=True, body=body)


class Why(_Arguments):
    """A reason, in plain words."""

    why: str


async def nothing_to_change(arguments: Why, desk: Desk) -> Observation:
    """The criteria seem to hold already; they are verified without a change."""
    attempt = desk.journal.ticket.attempt
    why = desk.journal.put({"why": arguments.why})
    desk.journal.once(
        f"{attempt.n}/nothing", e.NothingToChange, lambda: e.NothingToChange(attempt=attempt.n, why=why),
        actor=f"agent:{attempt.agent}",
    )  # fmt: skip
    return Observation(ok=True, body={})


class SplitTicket(_Arguments):
    """Parts that can each be verified by itself, as a ticket file writes them: objective, acceptance_criteria, and what
    differs from the ticket. Together they reach what the ticket wants."""

    children: tuple[Child, ...] = Field(min_length=1)


async def split_ticket(arguments: SplitTicket, desk: Desk) -> Observation:
    """Files the parts as tickets; this one waits for them, and is verified by its own criteria when all are resolved.
    Not ok when policy, the ticket's budget or a rule of admission does not allow a part."""
    attempt = desk.journal.ticket.attempt
    split = parts.split(
        desk.journal, arguments.children, policy=desk.splitting, manifest=desk.manifest, key=f"{attempt.n}/split",
        actor=f"agent:{attempt.agent}", source="agent",
    )  # fmt: skip
    return Observation(ok=True, body={"children": list(split.children)})


class Question(_Arguments):
    """A question to a human, in plain words, with what was tried."""

    question: str


async def call_for_help(arguments: Question, desk: Desk) -> Observation:
    """The ticket is escalated with the question."""
    attempt = desk.journal.ticket.attempt
    question = desk.journal.put({"question": arguments.question})
    desk.journal.once(
        f"{attempt.n}/help", e.HelpRequested,
        lambda: e.HelpRequested(attempt=attempt.n, exit_status="asked", question=question),
        actor=f"agent:{attempt.agent}",
    )  # fmt: skip
    return Observation(ok=True, body={})
