"""Work: one agent session on a ticket, a step at a time. Records every action before it is done and what was seen.

A step that was begun and has no observation is done again only where the world shows that this is harmless: tools that
look have no effect, tools that work carry the step's key and observe before they act.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import orjson

from harness.agent.desk import Desk
from harness.agent.runbook import Runbook, choose, next_action
from harness.agent.toolbox import call, effect_of
from harness.core import events as e
from harness.core.action import Action, Observation, Turn
from harness.core.manifest import Manifest
from harness.core.policy import Session
from harness.core.ticket import Attempt
from harness.journal import Journal
from harness.ports import Checks, Clock, Metrics, Nodes, Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What the work stage needs besides the ticket's journal."""

    manifest: Manifest
    runbooks: tuple[Runbook, ...]
    policy: Session
    spec_digest: str
    agent: str
    metrics: Metrics
    nodes: Nodes
    repository: Repository
    checks: Checks
    clock: Clock


def begin(journal: Journal, worker: Worker) -> e.AttemptStarted | e.HelpRequested:
    """Start the next attempt (or find the one under way); call a human when the attempts are used up."""
    ticket = journal.ticket
    if ticket.attempts and _under_way(ticket.attempt):
        return _started(journal, ticket.attempt.n)
    assert ticket.admitted is not None
    n = len(ticket.attempts) + 1
    if n > ticket.admitted.attempts_allowed:
        question = {"question": f"All {n - 1} attempts are used up and the criteria are not met. What should be tried?"}
        return journal.record(
            f"{n - 1}/used-up",
            e.HelpRequested(attempt=n - 1, exit_status="attempts_used_up", question=journal.put(question)),
        )
    book = choose(worker.runbooks, ticket.filed.signal, ticket.admitted.criteria[0].metric)
    return journal.record(
        f"{n}/begin",
        e.AttemptStarted(
            attempt=n, agent=worker.agent, runbook=book.runbook if book else None, base=worker.repository.main()
        ),
    )


def think(journal: Journal, worker: Worker, step: int) -> e.ActionTaken | None:
    """Record the action of this step; None when a limit ends the session instead."""
    attempt = journal.ticket.attempt
    key = f"{attempt.n}/step-{step}/action"
    if done := journal.recorded(key, e.ActionTaken):
        return done
    turns = _turns(journal, attempt)
    spent_s = (worker.clock.now() - attempt.started_at).total_seconds()
    if _repeats(turns) >= worker.policy.repeats or spent_s > worker.policy.wall_clock_s:
        return None
    action = _runbook_action(journal, worker, attempt, turns)
    return journal.record(
        key,
        e.ActionTaken(attempt=attempt.n, step=step, tool=action.tool, call=journal.put(action.model_dump(mode="json"))),
        actor=f"agent:{attempt.agent}",
    )


async def act(journal: Journal, worker: Worker, step: int) -> bool:
    """Do the recorded action of this step and record what was seen; True when it ended the session."""
    attempt = journal.ticket.attempt
    key = f"{attempt.n}/step-{step}"
    taken = journal.recorded(f"{key}/action", e.ActionTaken)
    assert taken is not None, "think records the action before act does it"
    action = Action.model_validate(journal.blobs.get_json(taken.call))
    seen = journal.recorded(f"{key}/observation", e.ObservationRecorded)
    if seen is None:
        desk = Desk(
            journal=journal, manifest=worker.manifest, metrics=worker.metrics, nodes=worker.nodes,
            repository=worker.repository, checks=worker.checks, clock=worker.clock, spec_digest=worker.spec_digest,
            key=journal.key(key), at=_stands_at(attempt),
        )  # fmt: skip
        observation = await call(action, desk)
        seen = journal.record(
            f"{key}/observation",
            e.ObservationRecorded(
                attempt=attempt.n, step=step, tool=action.tool, ok=observation.ok, body=journal.put(observation.body),
                commit=observation.commit, waits=observation.waits,
            ),
        )  # fmt: skip
    return seen.ok and effect_of(action.tool) == "end"


def give_up(journal: Journal) -> e.HelpRequested:
    """A limit ended the session: a human is called, with the number of steps that were taken."""
    attempt = journal.ticket.attempt
    taken = sum(isinstance(step, e.ActionTaken) for step in attempt.steps)
    question = {"question": f"The session ended at a limit after {taken} steps without a change. What should be tried?"}
    return journal.once(
        f"{attempt.n}/limits",
        e.HelpRequested,
        lambda: e.HelpRequested(attempt=attempt.n, exit_status="limits", question=journal.put(question)),
    )


def _under_way(attempt: Attempt) -> bool:
    return attempt.change is None and attempt.help is None and attempt.verification is None


def _started(journal: Journal, n: int) -> e.AttemptStarted:
    event = journal.recorded(f"{n}/begin", e.AttemptStarted)
    assert event is not None
    return event


def _runbook_action(journal: Journal, worker: Worker, attempt: Attempt, turns: list[Turn]) -> Action:
    book = next((book for book in worker.runbooks if book.runbook == attempt.runbook), None)
    if book is None:
        return Action(
            tool="call_for_help",
            arguments={
                "question": f"No runbook fits a ticket raised by {journal.ticket.filed.signal}. What should be done?"
            },
            why="the runbook agent has no tree for this",
        )
    assert journal.ticket.admitted is not None
    first = journal.ticket.admitted.criteria[0]
    facts = {
        "id": journal.ticket_id, "service": journal.ticket.filed.service, "metric": first.metric,
        "condition": first.condition, "age_s": round((worker.clock.now() - journal.ticket.filed_at).total_seconds()),
    }  # fmt: skip
    ratios = {probe.name: probe.ratios() for probe in worker.manifest.probes}
    return next_action(book, facts, turns, ratios)


def _turns(journal: Journal, attempt: Attempt) -> list[Turn]:
    actions = {step.step: step for step in attempt.steps if isinstance(step, e.ActionTaken)}
    return [
        Turn(
            Action.model_validate(journal.blobs.get_json(actions[seen.step].call)),
            Observation(ok=seen.ok, body=journal.blobs.get_json(seen.body), commit=seen.commit),
        )
        for seen in attempt.steps
        if isinstance(seen, e.ObservationRecorded)
    ]


def _repeats(turns: list[Turn]) -> int:
    """How often the most repeated call had the same answer."""
    counts = Counter(
        orjson.dumps([turn.action.tool, turn.action.arguments, turn.observation.body], option=orjson.OPT_SORT_KEYS)
        for turn in turns
    )
    return max(counts.values(), default=0)


def _stands_at(attempt: Attempt) -> str:
    commits = [seen.commit for seen in attempt.steps if isinstance(seen, e.ObservationRecorded) and seen.commit]
    return commits[-1] if commits else attempt.base
