"""TEST: merges the change with main and runs every declared check in the sandbox; an operation is rehearsed instead.

Touches the service's repository.
"""

from __future__ import annotations

from harness.core import events as e
from harness.core.errors import Refused, Retryable
from harness.core.manifest import Manifest
from harness.journal import Journal
from harness.operation import rehearse
from harness.operator import Operator
from harness.ports import CheckRun, Repository
from harness.stall import give_up


async def test(journal: Journal, operator: Operator) -> e.ChecksPassed | e.ChecksFailed:
    """Run the checks on the merge of the change and main. The lock is held: this tree is the one that is delivered."""
    attempt = journal.ticket.attempt
    key = f"{attempt.n}/test"
    if done := journal.recorded(key, e.Event):
        assert isinstance(done, e.ChecksPassed | e.ChecksFailed)
        return done
    assert attempt.change is not None
    if attempt.operation is not None:
        return await rehearse(journal, operator)
    repository = operator.repository
    main = repository.main()
    try:
        commit = repository.merge(attempt.change.commit, main, journal.key(key), journal.trailers())
    except Refused as error:
        return journal.record(
            key,
            e.ChecksFailed(
                attempt=attempt.n, commit=attempt.change.commit, tree=None, outcomes=(), reason=str(error), waits=()
            ),
        )
    tree = repository.tree(commit)
    if touched := _protected(operator.manifest, repository, main, commit):
        reason = f"protected paths are changed: {', '.join(touched)}; a change to them needs a person"
        return journal.record(
            key,
            e.ChecksFailed(attempt=attempt.n, commit=commit, tree=tree, outcomes=(), reason=reason, waits=()),
        )
    runs: list[CheckRun] = []
    for check in operator.manifest.checks:
        try:
            runs.append(await operator.checks.check(check.name, commit, main))
        except Retryable as error:
            reason = give_up(journal, operator.profile.stall_s, error)
            return journal.record(
                key, e.ChecksFailed(attempt=attempt.n, commit=commit, tree=None, outcomes=(), reason=reason, waits=())
            )
        if not runs[-1].passed:
            break
    outcomes = tuple(_outcome(journal, run) for run in runs)
    waits = tuple(run.wait for run in runs)
    if runs and runs[-1].passed:
        return journal.record(
            key, e.ChecksPassed(attempt=attempt.n, onto=main, commit=commit, tree=tree, outcomes=outcomes, waits=waits)
        )
    reason = (
        f"{runs[-1].name}: {runs[-1].reason}" if runs else "the service declares no checks; declare one in service.yaml"
    )
    return journal.record(
        key, e.ChecksFailed(attempt=attempt.n, commit=commit, tree=tree, outcomes=outcomes, reason=reason, waits=waits)
    )


def _protected(manifest: Manifest, repository: Repository, main: str, commit: str) -> list[str]:
    """Files of the change that an agent may not touch."""
    changed = {file for entry in repository.log(main, commit) for file in entry.files}
    return sorted(file for file in changed if manifest.protects(file))


def _outcome(journal: Journal, run: CheckRun) -> e.CheckOutcome:
    return e.CheckOutcome(
        name=run.name, exit_code=run.exit_code, passed=run.passed, tests_passed=run.tests_passed,
        seconds=(run.wait.closed_at - run.wait.opened_at).total_seconds(), output=journal.put({"text": run.output}),
    )  # fmt: skip
