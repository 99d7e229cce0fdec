"""Work: one agent session on a ticket, a step at a time. Records every action before it is done and what was seen.

A step that was begun and has no observation is done again only where the world shows that this is harmless: tools that
look have no effect, tools that work carry the step's key and observe before they act.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import orjson

from harness import parts
from harness.agent import by_hand, by_runbook, session
from harness.agent.by_hand import BY_HAND
from harness.agent.desk import Desk
from harness.agent.dialogue import action_of, prompt_of, size_chars, taken_ids, waiting
from harness.agent.runbook import Runbook, choose
from harness.agent.toolbox import call, effect_of, schemas
from harness.cause import close_cause
from harness.core import events as e
from harness.core.action import Action, Turn
from harness.core.conversation import Prompt, Reply, with_own_ids
from harness.core.errors import Refused
from harness.core.lifecycle import State
from harness.core.manifest import Manifest
from harness.core.model_policy import ModelPolicy
from harness.core.operation import Catalog
from harness.core.parts import question as parts_question
from harness.core.policy import Session, Splitting
from harness.core.spending import over_budget, spent, within
from harness.core.structure import about_itself
from harness.core.ticket import Attempt
from harness.core.ticket_spec import TicketSpec
from harness.hours import call_if_missed, closed, missed
from harness.journal import HARNESS, Journal
from harness.ports import Checks, Metrics, Model, Nodes, Repository

ASK: Final = "ask"
"""The next action is for the model to name."""
RUNBOOK: Final = "runbook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What the work stage needs besides the ticket's journal."""

    manifest: Manifest
    catalog: Catalog
    runbooks: tuple[Runbook, ...]
    policy: Session
    design_effect: Mapping[str, float]
    """Metric → how much more its live share varies than independent requests would."""
    splitting: Splitting
    patience_s: float
    """How long a session may take when nothing is wrong."""
    spec_digest: str
    agent: str
    metrics: Metrics
    nodes: Nodes
    repository: Repository
    checks: Checks
    model: Model | None
    models: ModelPolicy
    prompt: str
    """What a model is told first, before the ticket."""
    planted: str | None = None
    """Added to what the first tool of a ticket gives."""


def begin(journal: Journal, worker: Worker) -> int:
    """Start the next attempt (or find the one under way); how many steps its session may take.

    0 when there is no session to be had: a constraint forbids changes now, the ticket is split, or verified after its
    parts, a human was called as the attempts, the budget or the time are used up, or it names its change itself.
    """
    ticket = journal.ticket
    assert ticket.admitted is not None
    spec = journal.spec()
    if ticket.ended is not None:
        _after_parts(journal, worker, ticket.ended)
        return 0
    if ticket.attempts and _under_way(ticket.attempt):
        return _go_on(journal, worker)
    if call_if_missed(journal) or (ticket.taken_over is None and parts.wait_again(journal)):
        return 0
    if spec.children and not ticket.children:
        _split_as_filed(journal, worker, spec)
        return 0
    if ticket.state is State.ADMITTED and (shut := closed(journal, worker.manifest)) is not None:
        constraint, until = shut
        journal.record("window", e.WindowAwaited(constraint=constraint.text, until=until))
        return 0
    if _found_nothing(journal):
        return 0
    if about_itself(ticket.filed.signal) and ticket.taken_over is None:
        question = "It is the harness itself, which no agent may change. Mend it, then cancel this ticket."
        return _call(journal, len(ticket.attempts), f"itself-{len(ticket.words)}", "asked", question)
    n = len(ticket.attempts) + 1
    if n > ticket.attempts_allowed:
        told = " ".join(one["told"] for one in by_runbook.failed_before(journal, n))
        question = f"All {n - 1} attempts are used up and the criteria are not met. {told} What should be tried?"
        return _call(journal, n - 1, f"used-up-{len(ticket.words)}", "attempts_used_up", question)
    if reason := _over_budget(journal, worker):
        question = f"No further attempt: {reason}. What should be tried?"
        return _call(journal, n - 1, f"over-budget-{len(ticket.words)}", "limits", question)
    by_hand = ticket.taken_over is not None or spec.change is not None or spec.reverts is not None
    agent = BY_HAND if by_hand else worker.agent
    base, first = worker.repository.main(), ticket.admitted.criteria[0].metric
    book = choose(worker.runbooks, ticket.filed.signal, first) if agent == RUNBOOK else None
    asks_a_model = agent not in (RUNBOOK, BY_HAND)
    briefing = session.brief(journal, worker.manifest, worker.catalog, base, worker.prompt) if asks_a_model else None
    journal.record(
        f"{n}/begin",
        e.AttemptStarted(attempt=n, agent=agent, runbook=book.runbook if book else None, base=base, briefing=briefing),
    )
    return _go_on(journal, worker)


def _split_as_filed(journal: Journal, worker: Worker, spec: TicketSpec) -> None:
    """The parts that stand in the ticket's own file: they are filed once its baseline is measured."""
    parts.split(
        journal, spec.children, policy=worker.splitting, manifest=worker.manifest, key="split", actor=HARNESS,
        source="agent" if journal.ticket.filed.source == "agent" else "human",
    )  # fmt: skip


def _after_parts(journal: Journal, worker: Worker, ended: e.ChildrenEnded) -> None:
    """Verify the ticket where all of its parts were resolved: it may be done with that. Else a person is called."""
    ticket = journal.ticket
    if (asked := parts_question(ended)) is not None:
        _call(journal, len(ticket.attempts), f"parts-{ticket.version}", "asked", asked)
        return
    if not (ticket.attempts and ticket.attempt.is_open):
        n, base = len(ticket.attempts) + 1, worker.repository.main()
        journal.record(f"{n}/begin", e.AttemptStarted(attempt=n, agent=parts.PARTS, runbook=None, base=base))
    n = journal.ticket.attempt.n
    why = journal.put({"why": f"All parts were resolved: {', '.join(ticket.children)}."})
    journal.record(f"{n}/nothing", e.NothingToChange(attempt=n, why=why))


def _found_nothing(journal: Journal) -> bool:
    """End an opportunity of which the last attempt says that there is nothing to change: it was none. Nobody is asked
    at night, and a verification on record says that everything else held or not."""
    ticket = journal.ticket
    if not ticket.attempts or ticket.filed.source != "opportunity" or ticket.attempt.nothing is None:
        return False
    why = journal.blobs.get_json(ticket.attempt.nothing.why)["why"]
    cancelled = e.TicketCancelled(by=HARNESS, why=journal.put({"text": f"No opportunity after all. {why}"}))
    journal.record("no-opportunity", cancelled, beside=close_cause(journal))
    return True


def _go_on(journal: Journal, worker: Worker) -> int:
    """The session of the attempt under way; a ticket that names its change needs none."""
    if journal.ticket.attempt.agent != BY_HAND:
        return _steps_left(journal, worker)
    by_hand.propose(journal, worker.repository)
    return 0


def _call(journal: Journal, n: int, key: str, status: e.ExitStatus, question: str) -> int:
    journal.call_person(f"{n}/{key}", status, question, attempt=n)
    return 0


def _steps_taken(journal: Journal) -> int:
    own = [step for attempt in journal.ticket.attempts for step in attempt.steps]
    return sum(isinstance(step, e.ActionTaken) for step in (*own, *parts.steps_below(journal)))


def _steps_left(journal: Journal, worker: Worker) -> int:
    """What the profile allows a session, and the ticket's budget leaves of that, counted from its first step."""
    most = journal.spec().budget.most_steps
    own = sum(isinstance(step, e.ActionTaken) for step in journal.ticket.attempt.steps)
    left = worker.policy.steps if most is None else most - _steps_taken(journal) + own
    return max(1, min(worker.policy.steps, left))


def _over_budget(journal: Journal, worker: Worker) -> str:
    """Why the ticket's budget allows no further step; empty while it does."""
    budget, attempts = journal.spec().budget, journal.ticket.attempts
    if budget.most_steps is not None and _steps_taken(journal) >= budget.most_steps:
        return f"the ticket's budget of {budget.most_steps} steps is used up"
    if budget.wall_clock_s is not None and attempts:
        since_s = (journal.clock.now() - attempts[0].started_at).total_seconds()
        if since_s >= budget.wall_clock_s:
            return f"the ticket's budget of {budget.wall_clock} is used up"
    return ""


def think(journal: Journal, worker: Worker, step: int) -> e.ActionTaken | Literal["ask"] | None:
    """Record the action of this step; ASK when a model has to name it, None when a limit ends the session instead."""
    attempt = journal.ticket.attempt
    if done := journal.recorded(_action_key(attempt, step), e.ActionTaken):
        return done
    if _limit(journal, worker, attempt) is not None:
        return None
    if attempt.briefing is None:
        action = by_runbook.action_of(
            journal, attempt, session.turns(journal, attempt), runbooks=worker.runbooks,
            manifest=worker.manifest, design_effect=worker.design_effect,
        )  # fmt: skip
        return _take(journal, step, action)
    if (call_waits := waiting(session.steps(journal, attempt))) is None:
        return ASK
    reply, n_call = call_waits
    return _take(journal, step, action_of(reply, n_call), reply=reply, n_call=n_call)


async def ask(journal: Journal, worker: Worker, step: int, requests: int) -> e.ActionTaken:
    """Have the model name the action of this step, and record it with what it took.

    ``requests``: how many were made for it, this one included. Raises what the model's port raises, and Refused when
    this worker is not the agent that began the attempt.
    """
    attempt = journal.ticket.attempt
    if done := journal.recorded(_action_key(attempt, step), e.ActionTaken):
        return done
    if worker.model is None or worker.agent != attempt.agent:
        raise Refused(
            f"attempt {attempt.n} was begun by agent {attempt.agent}, and this worker runs {worker.agent}; "
            f"`harness up` with HARNESS_AGENT={attempt.agent} takes it up again"
        )
    opened_at = journal.clock.now()
    came = await worker.model.reply(_prompt(journal, worker, attempt))
    waited = e.Wait(kind="model", what=worker.model.name, opened_at=opened_at, closed_at=journal.clock.now())
    clean = Reply.model_validate(journal.blobs.cleaned(came.model_dump(mode="json")))
    reply = with_own_ids(clean, taken_ids(session.steps(journal, attempt)))
    usage = e.ModelUsage(
        model=reply.model, tokens_in=reply.usage.tokens_in, tokens_out=reply.usage.tokens_out,
        usd=worker.models.cost_usd(reply.model, reply.usage), requests=requests,
    )  # fmt: skip
    return _take(journal, step, action_of(reply, 0), reply=reply, usage=usage, waits=(waited,))


def _take(
    journal: Journal, step: int, action: Action, *, reply: Reply | None = None, n_call: int = 0,
    usage: e.ModelUsage | None = None, waits: tuple[e.Wait, ...] = (),
) -> e.ActionTaken:  # fmt: skip
    attempt = journal.ticket.attempt
    taken = e.ActionTaken(
        attempt=attempt.n, step=step, tool=action.tool, call=journal.put(action.model_dump(mode="json")), waits=waits,
        reply=journal.put(reply.model_dump(mode="json")) if reply else None, reply_call=n_call, usage=usage,
    )  # fmt: skip
    return journal.record(_action_key(attempt, step), taken, actor=f"agent:{attempt.agent}")


def _action_key(attempt: Attempt, step: int) -> str:
    return f"{attempt.n}/step-{step}/action"


def _prompt(journal: Journal, worker: Worker, attempt: Attempt) -> Prompt:
    assert attempt.briefing is not None
    briefing = journal.blobs.get_json(attempt.briefing)
    return prompt_of(briefing, schemas(), session.steps(journal, attempt), worker.models.session)


def _limit(journal: Journal, worker: Worker, attempt: Attempt) -> str | None:
    """The limit that the session has reached; None while it may go on."""
    if over := _over_budget(journal, worker):
        return over
    if (due := missed(journal)) is not None:
        return f"the deadline {due.isoformat(timespec='minutes')} is over"
    if (same := _repeats(session.turns(journal, attempt))) >= worker.policy.repeats:
        return f"one call gave the same answer {same} times"
    is_model = attempt.briefing is not None
    own_s = worker.patience_s if journal.ticket.filed.source == "opportunity" else worker.policy.wall_clock_s
    allowed_s = worker.models.session.wall_clock_s if is_model else own_s
    if (journal.clock.now() - attempt.started_at).total_seconds() > allowed_s:
        return f"more than {allowed_s:g} s"
    if is_model and worker.model is not None:
        prompt_chars = size_chars(_prompt(journal, worker, attempt))
        earlier = [step for one in journal.ticket.attempts[:-1] for step in one.steps]
        before = spent([*earlier, *parts.steps_below(journal)])
        policy = within(worker.models, journal.spec().budget, before)
        return over_budget(spent(attempt.steps), prompt_chars, worker.model.name, policy)
    return None


async def act(journal: Journal, worker: Worker, step: int) -> bool:
    """Do the recorded action of this step and record what was seen; True when it ended the session."""
    attempt = journal.ticket.attempt
    key = f"{attempt.n}/step-{step}"
    taken = journal.recorded(_action_key(attempt, step), e.ActionTaken)
    assert taken is not None, "think records the action before act does it"
    action = Action.model_validate(journal.blobs.get_json(taken.call))
    seen = journal.recorded(f"{key}/observation", e.ObservationRecorded)
    if seen is None:
        desk = Desk(
            journal=journal, manifest=worker.manifest, catalog=worker.catalog, metrics=worker.metrics,
            nodes=worker.nodes, repository=worker.repository, checks=worker.checks,
            spec_digest=worker.spec_digest, splitting=worker.splitting, key=journal.key(key), at=_stands_at(attempt),
        )  # fmt: skip
        begun_at = journal.clock.now()
        observation = await call(action, desk)
        if worker.planted is not None and (attempt.n, step) == (1, 1):
            observation = replace(observation, body={**observation.body, "planted": worker.planted})
        seen = journal.record(
            f"{key}/observation",
            e.ObservationRecorded(
                attempt=attempt.n, step=step, tool=action.tool, ok=observation.ok, body=journal.put(observation.body),
                commit=observation.commit, waits=observation.waits,
                seconds=(journal.clock.now() - begun_at).total_seconds(),
            ),
        )  # fmt: skip
    return seen.ok and effect_of(action.tool) == "end"


def give_up(journal: Journal, worker: Worker) -> e.HelpRequested:
    """A limit ended the session: a human is called, with the limit and the number of steps that were taken."""
    attempt = journal.ticket.attempt
    taken = sum(isinstance(step, e.ActionTaken) for step in attempt.steps)
    which = _limit(journal, worker, attempt) or f"{_steps_left(journal, worker)} steps are allowed"
    question = {
        "question": f"The session ended at a limit after {taken} steps without a change ({which}). "
        "What should be tried?"
    }
    return journal.once(
        f"{attempt.n}/limits",
        e.HelpRequested,
        lambda: e.HelpRequested(attempt=attempt.n, exit_status="limits", question=journal.put(question)),
    )


def _under_way(attempt: Attempt) -> bool:
    over = (attempt.change, attempt.help, attempt.verification, attempt.split)
    return all(end is None for end in over)


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
