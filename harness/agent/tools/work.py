"""Tools that work: they measure in the sandbox and change the ticket's own branch, nothing that is served."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from harness.agent.desk import Desk
from harness.core.action import Observation
from harness.core.errors import Forbidden, Invalid, Refused
from harness.core.paths import confined
from harness.ports import CheckRun

OUTPUT_CHARS = 6_000


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
    try:
        commit = desk.repository.revert(
            arguments.commit, desk.at, desk.branch, desk.key,
            _message(f"Take back {arguments.commit[:12]}", arguments.why, desk),
        )  # fmt: skip
    except Refused as error:
        return Observation(ok=False, body={"reason": str(error)})
    return _changed(commit, desk, took_back=arguments.commit)


class RevertRelease(_Arguments):
    """Take back all that came after ``since`` up to ``until``, by one commit of its own on the ticket's branch."""

    since: str
    until: str
    why: str


async def revert_release(arguments: RevertRelease, desk: Desk) -> Observation:
    """The new commit and its diff; not ok when something else has come since, which would be lost with it."""
    repository, since, until = desk.repository, arguments.since, arguments.until
    if repository.tree(desk.at) != repository.tree(until):
        reason = f"since {until[:12]} other changes have come to {desk.at[:12]}; they would be taken back along with it"
        return Observation(ok=False, body={"reason": reason})
    message = _message(f"Take back {since[:12]}..{until[:12]}", arguments.why, desk)
    return _changed(repository.roll_back(since, desk.at, desk.key, message), desk, took_back=f"{since}..{until}")


class EditFile(_Arguments):
    """Replace text that occurs exactly once in a file of the ticket's branch."""

    path: str
    find: str = Field(min_length=1)
    replace: str
    why: str


async def edit_file(arguments: EditFile, desk: Desk) -> Observation:
    """The new commit and its diff; not ok when the text is not there, or more than once."""
    path = _changeable(arguments.path, desk)
    text = desk.repository.read(desk.at, path)
    if (found := text.count(arguments.find)) != 1:
        way_out = "read the file again" if found == 0 else "give more of the lines around it"
        raise Invalid(f"{path}: the text to replace occurs {found} times, it has to be once; {way_out}")
    return _write(path, text.replace(arguments.find, arguments.replace), arguments.why, desk)


class WriteFile(_Arguments):
    """Write a whole file on the ticket's branch, be it there or not."""

    path: str
    text: str
    why: str


async def write_file(arguments: WriteFile, desk: Desk) -> Observation:
    """The new commit and its diff."""
    return _write(_changeable(arguments.path, desk), arguments.text, arguments.why, desk)


class RunChecks(_Arguments):
    """No arguments: every check that the service declares, in order, up to the first that fails."""


async def run_checks(arguments: RunChecks, desk: Desk) -> Observation:
    """What each check said of the branch, run in the sandbox; ``output`` is the end of what it printed."""
    base = desk.journal.ticket.attempt.base
    runs: list[CheckRun] = []
    for check in desk.manifest.checks:
        runs.append(await desk.checks.check(check.name, desk.at, base))
        if not runs[-1].passed:
            break
    body = {
        "passed": all(run.passed for run in runs) and bool(runs),
        "checks": [
            {"name": run.name, "passed": run.passed, "reason": run.reason, "tests_passed": run.tests_passed,
             "output": _end(run.output)}
            for run in runs
        ],
    }  # fmt: skip
    return Observation(ok=True, body=body, waits=tuple(run.wait for run in runs))


def _changeable(path: str, desk: Desk) -> str:
    if desk.manifest.protects(confined(path)):
        raise Forbidden(f"{path}: is protected, for it judges changes; a change to it needs a person: `call_for_help`")
    return path


def _write(path: str, text: str, why: str, desk: Desk) -> Observation:
    message = _message(f"Change {path}", why, desk)
    return _changed(desk.repository.write(path, text, desk.at, desk.branch, desk.key, message), desk)


def _changed(commit: str, desk: Desk, *, took_back: str | None = None) -> Observation:
    """``took_back`` names what a later attempt must be able to tell from what was tried."""
    body = {"commit": commit, "took_back": took_back, "diff": desk.repository.diff(desk.at, commit)}
    return Observation(ok=True, body=body, commit=commit)


def _message(subject: str, why: str, desk: Desk) -> str:
    """A commit's message: by whom and for what it was made, and where the ledger stood."""
    ticket = desk.journal.ticket
    position, head = desk.journal.ledger.head()
    return (
        f"{subject}\n\n{why}\n\n"
        f"Ticket: {ticket.id}\nAttempt: {ticket.life.attempt}\nAgent: {ticket.attempt.agent}\n"
        f"Spec: {desk.spec_digest}\nLedger-Head: {position} {head}\n"
    )


def _end(output: str) -> str:
    cut = len(output) - OUTPUT_CHARS
    return output if cut <= 0 else f"[cut: {cut} characters before this]\n{output[cut:]}"
