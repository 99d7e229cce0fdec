"""Tools that work: they measure in the sandbox and change the ticket's own branch, nothing that is served."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from harness.agent.desk import Desk
from harness.core.action import Observation
from harness.core.errors import Refused


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasureCommit(_Arguments):
    """Run the service's declared probe on a commit's tree. The probe is main's, never the commit's."""

    probe: str
    commit: str


async def measure(arguments: MeasureCommit, desk: Desk) -> Observation:
    """The probe's values by measure; not ok when the commit does not build or start."""
    run = await desk.checks.probe(arguments.probe, arguments.commit, desk.journal.ticket.attempt.base)
    if run.measures is None:
        return Observation(ok=False, body={"reason": run.reason}, waits=(run.wait,))
    return Observation(ok=True, body={"measures": run.measures}, waits=(run.wait,))


class RevertCommit(_Arguments):
    """Take one commit back, by a commit of its own on the ticket's branch."""

    commit: str
    why: str


async def revert_commit(arguments: RevertCommit, desk: Desk) -> Observation:
    """The new commit and its diff; not ok when the revert does not apply, with what stands in the way."""
    ticket = desk.journal.ticket
    position, head = desk.journal.ledger.head()
    message = (
        f"Take back {arguments.commit[:12]}\n\n{arguments.why}\n\n"
        f"Ticket: {ticket.id}\nAttempt: {ticket.life.attempt}\nAgent: {ticket.attempt.agent}\n"
        f"Spec: {desk.spec_digest}\nLedger-Head: {position} {head}\n"
    )
    try:
        commit = desk.repository.revert(arguments.commit, desk.at, desk.branch, desk.key, message)
    except Refused as error:
        return Observation(ok=False, body={"reason": str(error)})
    return Observation(ok=True, body={"commit": commit, "diff": desk.repository.diff(desk.at, commit)}, commit=commit)
