"""Tools that work: they measure in the sandbox and change the ticket's own branch, nothing that is served."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.agent.desk import Desk
from harness.core.action import Observation
from harness.core.errors import Forbidden, Invalid, Refused
from harness.core.events import Wait
from harness.core.manifest import Tunable
from harness.core.paths import confined
from harness.core.plain_text import commit_message
from harness.core.redaction import REDACTED
from harness.core.tunable import with_value
from harness.measure import quantile
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


class CompareValues(_Arguments):
    """Measure a tunable's metric with two of its values, one right after the other, ``first`` first."""

    tunable: str
    challenger: int
    in_force: int
    pair: int = Field(ge=1)
    first: Literal["challenger", "in_force"]


async def compare_values(arguments: CompareValues, desk: Desk) -> Observation:
    """What the metric is with each value, everything else as main has it; not ok when one cannot be measured."""
    tunable = desk.manifest.tunable(arguments.tunable)
    metric = desk.manifest.metrics[tunable.metric]
    values = {"challenger": arguments.challenger, "in_force": arguments.in_force}
    order = sorted(values, key=lambda side: side != arguments.first)
    measured: dict[str, float | None] = {}
    repetitions: dict[str, list[float]] = {}
    waits: list[Wait] = []
    base = desk.journal.ticket.attempt.base
    for side in order:
        run = await desk.checks.probe(str(metric.probe), _with_value(tunable, values[side], desk), base)
        waits.append(run.wait)
        if run.measures is None:
            reason = f"{tunable.name} {values[side]}: {run.reason}"
            return Observation(ok=False, body={"reason": reason}, waits=tuple(waits))
        repetitions[side] = run.measures[str(metric.measure)]
        measured[side] = quantile(repetitions[side], float(metric.quantile or 0))
    body = {"metric": tunable.metric, "of_challenger": measured["challenger"], "of_in_force": measured["in_force"],
            "repetitions": repetitions}  # fmt: skip
    return Observation(ok=True, body=body, waits=tuple(waits))


def _with_value(tunable: Tunable, value: int, desk: Desk) -> str:
    """A commit on the attempt's base with this value, on a branch of its own; the base where it has that already."""
    base, n = desk.journal.ticket.attempt.base, desk.journal.ticket.attempt.n
    text = _tuned(tunable, value, base, desk)
    if text is None:
        return base
    message = _message(f"Try {tunable.name} {value}", f"A candidate: {tunable.what}.", desk)
    key = desk.journal.key(f"{n}/try-{tunable.name}-{value}")
    return desk.repository.write(tunable.file, text, base, f"{desk.branch}-try-{tunable.name}-{value}", key, message)


def _tuned(tunable: Tunable, value: int, at: str, desk: Desk) -> str | None:
    """The tunable's file with this value; None when it has it. Raises Invalid for a value out of its range."""
    low, high = tunable.range
    if not low <= value <= high:
        raise Invalid(f"{tunable.name}: {value} is out of its range; allowed {low} to {high}")
    text = desk.repository.read(at, tunable.file)
    tuned = with_value(text, tunable.file, tunable.key, value)
    return None if tuned == text else tuned


class SetTunable(_Arguments):
    """Give a declared tunable another value, by a commit of its own on the ticket's branch."""

    tunable: str
    value: int
    why: str


async def set_tunable(arguments: SetTunable, desk: Desk) -> Observation:
    """The new commit and its diff; not ok when the value is out of range, or in force already."""
    tunable = desk.manifest.tunable(arguments.tunable)
    text = _tuned(tunable, arguments.value, desk.at, desk)
    if text is None:
        raise Invalid(f"{tunable.name}: is {arguments.value} already")
    subject = f"Set {tunable.name} to {arguments.value}"
    return _write(_changeable(tunable.file, desk), text, arguments.why, desk, subject)


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
    if REDACTED in arguments.find and arguments.find not in text:
        raise Invalid(
            f"{path}: the text to replace holds {REDACTED}, which stands for something that the record does not show; "
            "give a part of the line without it, or lines beside it"
        )
    if (found := text.count(arguments.find)) != 1:
        way_out = "read the file again" if found == 0 else "give more of the lines around it"
        raise Invalid(f"{path}: the text to replace occurs {found} times, it has to be once; {way_out}")
    edited = text.replace(arguments.find, arguments.replace)
    _require_whole(path, edited, text)
    return _write(path, edited, arguments.why, desk)


class WriteFile(_Arguments):
    """Write a whole file on the ticket's branch, be it there or not."""

    path: str
    text: str
    why: str


async def write_file(arguments: WriteFile, desk: Desk) -> Observation:
    """The new commit and its diff."""
    path = _changeable(arguments.path, desk)
    if REDACTED in arguments.text:
        there = path in desk.repository.files(desk.at)
        _require_whole(path, arguments.text, desk.repository.read(desk.at, path) if there else "")
    return _write(path, arguments.text, arguments.why, desk)


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
             "seconds": (run.wait.closed_at - run.wait.opened_at).total_seconds(),
             "output": _end(desk.journal.blobs.cleaned(run.output))}
            for run in runs
        ],
    }  # fmt: skip
    return Observation(ok=True, body=body, waits=tuple(run.wait for run in runs))


def _changeable(path: str, desk: Desk) -> str:
    if desk.manifest.protects(confined(path)):
        raise Forbidden(f"{path}: is protected, for it judges changes; a change to it needs a person: `call_for_help`")
    return path


def _require_whole(path: str, text: str, before: str) -> None:
    """Raises Forbidden where more of the new text is redacted than the file itself says: it would overwrite what is
    only not shown."""
    if text.count(REDACTED) > before.count(REDACTED):
        raise Forbidden(
            f"{path}: {REDACTED} stands for a secret that the record does not show, and would overwrite it; change "
            "the lines around it with `edit_file`. A new secret is not written by an agent: have the code read it "
            "where it runs, or `call_for_help`"
        )


def _write(path: str, text: str, why: str, desk: Desk, subject: str | None = None) -> Observation:
    message = _message(subject or f"Change {path}", why, desk)
    return _changed(desk.repository.write(path, text, desk.at, desk.branch, desk.key, message), desk)


def _changed(commit: str, desk: Desk, *, took_back: str | None = None) -> Observation:
    """``took_back`` names what a later attempt must be able to tell from what was tried."""
    body = {"commit": commit, "took_back": took_back, "diff": desk.repository.diff(desk.at, commit)}
    return Observation(ok=True, body=body, commit=commit)


def _message(subject: str, why: str, desk: Desk) -> str:
    """A commit's message: by whom and for what it was made, and where the ledger stood."""
    agent = desk.journal.ticket.attempt.agent
    return f"{commit_message(subject, why)}\n\nAgent: {agent}\nSpec: {desk.spec_digest}\n{desk.journal.trailers()}"


def _end(output: str) -> str:
    cut = len(output) - OUTPUT_CHARS
    return output if cut <= 0 else f"[cut: {cut} characters before this]\n{output[cut:]}"
