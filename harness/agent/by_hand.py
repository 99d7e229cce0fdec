"""A ticket whose change a person named: a commit, or the revert of what another ticket delivered. No agent thinks.

Touches the ledger and the ticket's own branch. What it proposes goes through the same stages as anything else.
"""

from __future__ import annotations

from harness.core import events as e
from harness.core.errors import Refused
from harness.core.revert import delivered_by
from harness.journal import Journal
from harness.ports import Repository

IN_MAIN = "is in main's history already; when it was taken back there, make a new commit of it (`git cherry-pick`)"
BY_HAND = "none"
"""The agent of such an attempt."""


def propose(journal: Journal, repository: Repository) -> None:
    """Propose the change that the ticket names; what stands in the way is told to a human.

    A change that was stopped is tried again only when a person has answered: nothing else could have become different.
    """
    ticket = journal.ticket
    attempt, n = ticket.attempt, ticket.attempt.n
    since = max(ticket.words, default=0)
    tried = [one for one in ticket.attempts[:-1] if one.change is not None and one.n > since]
    if tried:
        stopped = f"{failure.stage}: {failure.reason}" if (failure := tried[-1].failure) else "by a person"
        _ask(journal, f"The change was stopped: {stopped}. Should it be tried again?")
        return
    branch = f"harness/{journal.ticket_id}/{n}"
    try:
        commit, summary = _made(journal, repository, branch)
    except Refused as error:
        _ask(journal, f"The change cannot be carried through: {error}. What should be done?")
        return
    said = {"summary": summary, "predicted_effect": journal.spec().objective.description}
    journal.once(
        f"{n}/propose",
        e.ChangeProposed,
        lambda: e.ChangeProposed(
            attempt=n, kind="code", commit=commit, base=attempt.base, branch=branch,
            diff=journal.put({"text": repository.diff(attempt.base, commit)}), summary=journal.put(said),
        ),
    )  # fmt: skip


def _made(journal: Journal, repository: Repository, branch: str) -> tuple[str, str]:
    """The commit on top of the attempt's base, and what it is. Raises Refused with what stands in the way."""
    spec, n, base = journal.spec(), journal.ticket.attempt.n, journal.ticket.attempt.base
    taken_over = journal.ticket.taken_over
    named = taken_over.commit if taken_over else spec.change
    if named is not None:
        brought = repository.log(base, named)
        if not brought:
            raise Refused(f"{named} {IN_MAIN}")
        commit = repository.merge(brought[-1].commit, base, journal.key(f"{n}/join"), journal.trailers())
        return commit, f"{named[:12]} by {brought[-1].author}: {brought[-1].subject}"
    assert spec.reverts is not None
    other = Journal(spec.reverts, ledger=journal.ledger, blobs=journal.blobs, clock=journal.clock)
    moved = delivered_by(other.ticket)
    at = base
    for number, entry in enumerate(reversed(repository.log(moved.before, moved.after)), start=1):
        message = f"Take back {entry.commit[:12]} of {spec.reverts}\n\n{journal.trailers()}"
        at = repository.revert(entry.commit, at, branch, journal.key(f"{n}/revert-{number}"), message)
    return at, f"Take back {moved.after[:12]}, by which {spec.reverts} was resolved."


def _ask(journal: Journal, question: str) -> None:
    n = journal.ticket.attempt.n
    asked = journal.put({"question": question})
    journal.once(f"{n}/help", e.HelpRequested, lambda: e.HelpRequested(attempt=n, exit_status="asked", question=asked))
