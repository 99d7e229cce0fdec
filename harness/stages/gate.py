"""GATE: whether a proposed change may be delivered now: constraints, a person's word where policy asks, invariants.

Touches only the ledger. Stands before TEST, so that nobody is waited for while the service's lock is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from harness.blocked import hold_back
from harness.core import events as e
from harness.core.constraint import NoNewDependencies, OnlyUnder, RequiresApproval
from harness.core.dependencies import added, locks
from harness.core.invariant import Invariant
from harness.core.lifecycle import State
from harness.core.manifest import Manifest
from harness.core.operation import Catalog
from harness.core.policy import Approvals
from harness.hours import call_if_missed, closed
from harness.journal import Journal
from harness.lock import wait_for_hours
from harness.overspend import call_if_overspent
from harness.ports import Repository


def change_hash(journal: Journal) -> str:
    """What an approval is for: the diff that is proposed, byte for byte."""
    change = journal.ticket.attempt.change
    assert change is not None
    text: str = journal.blobs.get_json(change.diff)["text"]
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def gate(
    journal: Journal, *, manifest: Manifest, rules: Approvals, catalog: Catalog, invariants: Sequence[Invariant],
    repository: Repository, budget_left: float | None,
) -> bool:  # fmt: skip
    """True when the change goes on to its tests. Else the ticket waits for a person, its hours, or an invariant that
    blocks deployments, or works again.

    ``budget_left``: the share of its objective's error budget that is left; part of its place in the queue.
    """
    attempt = journal.ticket.attempt
    change = attempt.change
    assert change is not None
    if journal.ticket.life.token is not None:  # it was let in before
        return True
    if call_if_missed(journal) or call_if_overspent(journal):
        return False
    constraints = journal.spec().limits()
    files = tuple(sorted({file for entry in repository.log(change.base, change.commit) for file in entry.files}))
    if outside := [f"{one.text}: {', '.join(bad)}" for one in constraints if isinstance(one, OnlyUnder)
                   if (bad := one.outside(files))]:  # fmt: skip
        return _forbidden(journal, f"the ticket's constraints forbid these files: {'; '.join(outside)}")
    if any(isinstance(one, NoNewDependencies) for one in constraints) and (
        new := _new_dependencies(repository, change.base, change.commit)
    ):
        return _forbidden(journal, f"the ticket's constraints forbid new dependencies: {', '.join(new)}")
    risk, why = rules.risk(change.kind, files)
    if change.operation is not None:
        risk = catalog.action(change.operation.action).risk
        why = f"the catalog holds {change.operation.action} for {risk} risk"
    asked_by_ticket = any(isinstance(one, RequiresApproval) for one in constraints)
    if (asked_by_ticket or rules.asks(risk)) and not _approved(journal, risk, why, asked_by_ticket):
        return False
    return _open_now(journal, manifest, budget_left) and not hold_back(journal, invariants, budget_left)


def _forbidden(journal: Journal, reason: str) -> bool:
    attempt = journal.ticket.attempt
    assert attempt.change is not None
    failed = e.ChecksFailed(
        attempt=attempt.n, commit=attempt.change.commit, tree=None, outcomes=(), reason=reason, waits=()
    )
    journal.record(f"{attempt.n}/test", failed)
    return False


def _new_dependencies(repository: Repository, base: str, commit: str) -> list[str]:
    """By the locks that each of the two commits says are its own."""
    before, after = (
        [repository.read(one, lock) for lock in locks(repository.manifest(one)) if lock in repository.files(one)]
        for one in (base, commit)
    )
    return added(before, after)


def _open_now(journal: Journal, manifest: Manifest, budget_left: float | None) -> bool:
    shut = closed(journal, manifest)
    if shut is None:
        return True
    constraint, until = shut
    if journal.state is State.TESTING:
        wait_for_hours(journal, constraint.text, until, budget_left)
    return False


def _approved(journal: Journal, risk: str, why: str, asked_by_ticket: bool) -> bool:
    """Whether a person approved exactly this diff; asked for when nobody was asked yet."""
    ticket, wanted = journal.ticket, change_hash(journal)
    if any(one.hash == wanted for one in ticket.granted):
        return True
    n = ticket.attempt.n
    if denied := [one for one in ticket.denied if one.hash == wanted]:
        said = journal.blobs.get_json(denied[-1].why)["text"]
        question = (
            f"The change that {denied[-1].by} rejected ({said or 'no reason given'}) was proposed again. What now?"
        )
        journal.call_person(f"{n}/rejected-again", "asked", question, attempt=n)
        return False
    change = ticket.attempt.change
    assert change is not None
    reason = "the ticket requires approval" if asked_by_ticket else why
    consequence = {
        "risk": risk, "why": reason,
        "consequence": "approved, it goes through test, canary, deploy and verify; one that fails there is taken back",
    }  # fmt: skip
    journal.record(
        f"{n}/approval",
        e.ApprovalRequested(what=f"change {change.commit}", hash=wanted, why=journal.put(consequence)),
    )
    return False
