"""Moving the fleet: one node after the other to a release, and all of them back. Touches nodes, main and the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import events as e
from harness.core.deployment import NodeAnswer, NodeOrder
from harness.core.errors import Broken, Refused, Retryable
from harness.core.lifecycle import STAGE
from harness.gate import note_gate
from harness.journal import Journal
from harness.operator import Operator, gate_of
from harness.ports import Nodes, Repository
from harness.stall import give_up


async def swap(journal: Journal, nodes: Nodes, node: str, commit: str, *, key: str) -> NodeAnswer:
    """Have one node serve ``commit``, drained; a release that does not start leaves the old one serving."""
    journal.require_newest()
    return await nodes.order(node, NodeOrder(verb="swap", key=journal.key(key), token=journal.token, commit=commit))


async def roll_back(
    journal: Journal, operator: Operator, touched: Sequence[str], reason: str
) -> e.RolledBack | e.RollbackFailed:
    """Take the change back on main by a revert commit, and have the touched nodes serve that, last touched first.

    ``main`` always equals what runs: the revert commit has the tree of before the change, and with it whatever another
    ticket delivered while this one's verification was interrupted. A node that does not answer for too long fails it.
    A gate tells how the service is afterwards.
    """
    n, nodes = journal.ticket.attempt.n, operator.nodes
    record_as = _key_of_this_try(journal, n)
    if done := journal.recorded(record_as, e.Event):
        assert isinstance(done, e.RolledBack | e.RollbackFailed)
        return done
    journal.require_newest()
    try:
        commit = _take_back_on_main(journal, operator.repository)
        there = [node for node in reversed(touched) if node in nodes.names()]  # one that is gone serves nothing
        answers, silent = await _swapped_back(journal, nodes, there, commit)
    except (Refused, Broken) as error:  # what may be retried is: the way back must not fail for one slow answer
        return journal.record(record_as, e.RollbackFailed(attempt=n, reason=str(error)))
    except Retryable as error:
        silent = error
    if silent is not None:
        reason = give_up(journal, operator.profile.stall_s, silent)
        return journal.record(record_as, e.RollbackFailed(attempt=n, reason=reason))
    if failed := [answer for answer in answers if not answer.ok]:
        reasons = "; ".join(f"{answer.node}: {answer.reason}" for answer in failed)
        return journal.record(record_as, e.RollbackFailed(attempt=n, reason=reasons))
    waits = tuple(wait for answer in answers for wait in swap_waits(answer))
    await note_gate(journal, gate_of(journal, operator), "rollback", key=f"{record_as}/gate")
    return journal.record(record_as, e.RolledBack(attempt=n, commit=commit, reason=reason, waits=waits))


async def _swapped_back(
    journal: Journal, nodes: Nodes, there: Sequence[str], commit: str
) -> tuple[list[NodeAnswer], Retryable | None]:
    """What the nodes answered, and why the last silent one did not: the others don't wait for it."""
    answers, silent = [], None
    for node in there:
        try:
            answers.append(await swap(journal, nodes, node, commit, key=f"{journal.ticket.attempt.n}/rollback/{node}"))
        except Retryable as error:
            silent = error
    return answers, silent


def _key_of_this_try(journal: Journal, n: int) -> str:
    """A way back that failed is tried again only when a person says so; the orders to the nodes keep their keys."""
    failed = sum(
        isinstance(event, e.RollbackFailed) and event.attempt == n for event in journal.ticket.recorded.values()
    )
    return f"{n}/rollback" if not failed or journal.state in STAGE else f"{n}/rollback-again-{failed}"


def _take_back_on_main(journal: Journal, repository: Repository) -> str:
    attempt = journal.ticket.attempt
    moved = attempt.main_moved
    if moved is None:  # main never moved: the nodes go back to where it is
        return repository.main()
    key = f"{attempt.n}/rollback/main"
    message = f"Roll back {moved.after[:12]}\n\n{journal.trailers()}"
    # After an interruption another ticket's change lies on top of this one's, and stays when this one goes.
    main = moved.after
    if attempt.interruptions and attempt.way_back:
        main = attempt.way_back.main or main
    if main == moved.after:
        commit = repository.roll_back(moved.before, moved.after, journal.key(key), message)
    else:
        alone = repository.roll_back(moved.before, moved.after, journal.key(f"{attempt.n}/rollback/alone"), message)
        commit = repository.merge(alone, main, journal.key(key), journal.trailers())
    if repository.main() != commit:
        repository.move_main(main, commit)
    journal.once(key, e.MainMoved, lambda: e.MainMoved(before=main, after=commit))
    return commit


def swap_waits(answer: NodeAnswer) -> tuple[e.Wait, ...]:
    """What a swap waited for: the start of the new release, and the drain of the old one."""
    waits = []
    if answer.ready_at:
        what = f"release on {answer.node}"
        waits.append(e.Wait(kind="start", what=what, opened_at=answer.started_at, closed_at=answer.ready_at))
    if answer.drain_from and answer.drain_to:
        what = f"old release on {answer.node}"
        waits.append(e.Wait(kind="drain", what=what, opened_at=answer.drain_from, closed_at=answer.drain_to))
    return tuple(waits)
