"""The harness's activities: each loads a ticket's journal, calls one stage, and gives back the ticket's state."""

from __future__ import annotations

from typing import Literal

from prometheus_client import Gauge
from temporalio import activity

from harness import blocked, budget, hours, lock, parts
from harness.agent.toolbox import effect_of
from harness.bootstrap import Harness
from harness.core import events as e
from harness.core.action import Effect
from harness.core.command import Command
from harness.core.lifecycle import ENDS, STAGE, TIMED, State
from harness.journal import Journal
from harness.measure import Bench
from harness.stages import admit, canary, command, deploy, file, gate, observe, test, verify, work
from workflows.edge import at_the_edge

LAST_TICK = Gauge("harness_watch_last_tick_seconds", "When the watch last evaluated (Unix time): it is dead when old")
UNLOCKS = ENDS | {State.WORKING, State.WAITING}
"""States in which a delivery is over: its lock is given back. An escalated ticket keeps it until a human acts."""


class Activities:
    """Thin shells around the stages, with the ports that ``bootstrap`` built."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness

    def _journal(self, ticket_id: str) -> Journal:
        record = self._harness.record
        return Journal(ticket_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock)

    def _due(self, stage: str, journal: Journal) -> bool:
        """Whether the ticket is at this stage. Not any more when this call is the retry of one that was cut off after
        its last line, or when a person took the ticket out of the harness's hands meanwhile."""
        return STAGE.get(journal.state) == stage

    def _left(self, journal: Journal) -> str:
        if journal.state in UNLOCKS:
            lock.release(journal)
        return str(journal.state)

    @activity.defn
    async def look(self, ticket_id: str) -> str:
        """Where the ticket is."""
        async with at_the_edge():
            return self._left(self._journal(ticket_id))

    @activity.defn
    async def escalate(self, ticket_id: str, reason: str) -> str:
        """A stage broke: a human is called with the reason."""
        async with at_the_edge():
            journal = self._journal(ticket_id)
            if journal.state not in STAGE.keys() | TIMED:  # a person has it already, or it is over
                return self._left(journal)
            n, words = journal.ticket.life.attempt, len(journal.ticket.words)
            question = f"A stage could not be completed: {reason}. What should be done?"
            # An answer may lead back to the same state of the same attempt, and that may break again.
            journal.call_person(f"{n}/escalate/{journal.state}-{words}", "broken", question, attempt=n)
            return self._left(journal)

    @activity.defn
    async def admit(self, ticket_id: str) -> str:
        """Admission."""
        harness = self._harness
        async with at_the_edge():
            journal = self._journal(ticket_id)
            if self._due("admit", journal):
                await admit.admit(
                    journal, manifest=harness.manifest(), policy=harness.rules.profile.admission,
                    window_s=harness.rules.profile.verify.window_s, digest=harness.rules.digest,
                    metrics=harness.metrics, bench=Bench(harness.checks, harness.repository.main()),
                )  # fmt: skip
            return self._left(journal)

    def _worker(self) -> work.Worker:
        harness = self._harness
        return work.Worker(
            manifest=harness.manifest(), catalog=harness.rules.catalog, runbooks=harness.rules.runbooks,
            policy=harness.rules.profile.session,
            design_effect=harness.rules.profile.canary.design_effect, splitting=harness.rules.splitting,
            patience_s=harness.rules.opportunities.session_s,
            spec_digest=harness.rules.digest, agent=harness.agent,
            metrics=harness.metrics, nodes=harness.nodes, repository=harness.repository, checks=harness.checks,
            model=harness.model, models=harness.rules.models,
            prompt=harness.rules.prompt, planted=harness.planted,
        )  # fmt: skip

    @activity.defn
    async def begin_attempt(self, ticket_id: str) -> int:
        """Begin an attempt; how many steps its session may take, 0 when there is no session to be had."""
        async with at_the_edge():
            journal = self._journal(ticket_id)
            return work.begin(journal, self._worker()) if self._due("work", journal) else 0

    @activity.defn
    async def think(self, ticket_id: str, step: int) -> Effect | Literal["ask"] | None:
        """Record the next action; the kind of effect it will have, ``ask`` when a model has to name it, None when a
        limit was reached."""
        async with at_the_edge():
            taken = work.think(self._journal(ticket_id), self._worker(), step)
            return effect_of(taken.tool) if isinstance(taken, e.ActionTaken) else taken

    @activity.defn
    async def ask(self, ticket_id: str, step: int) -> Effect:
        """Have the model name the next action; the kind of effect it will have."""
        async with at_the_edge():
            requests = activity.info().attempt
            return effect_of((await work.ask(self._journal(ticket_id), self._worker(), step, requests)).tool)

    @activity.defn
    async def act(self, ticket_id: str, step: int) -> bool:
        """Do the recorded action; True when it ended the session."""
        async with at_the_edge():
            return await work.act(self._journal(ticket_id), self._worker(), step)

    @activity.defn
    async def give_up(self, ticket_id: str) -> str:
        """A limit ended the session."""
        async with at_the_edge():
            journal = self._journal(ticket_id)
            work.give_up(journal, self._worker())
            return self._left(journal)

    @activity.defn
    async def test(self, ticket_id: str) -> str:
        """TEST, once nothing forbids the delivery, under the service's lock from here on."""
        harness = self._harness
        async with at_the_edge():
            journal = self._journal(ticket_id)
            if not self._due("test", journal):
                return self._left(journal)
            manifest = harness.manifest()

            def may_deliver(one: Journal) -> bool:
                return hours.allow(one, manifest) and blocked.blocked(one, harness.rules.invariants) is None

            left = await budget.left_of(
                journal.ticket.filed, slos=harness.rules.slos, manifest=manifest, metrics=harness.metrics,
                now=harness.record.clock.now(),
            )  # fmt: skip
            terms = lock.Terms(aging_s=harness.rules.profile.queue.aging_s, budget_left=left, may_deliver=may_deliver)
            if journal.ticket.life.interrupted:  # it was tested and deployed: under the lock it verifies anew
                await lock.acquire(journal, terms)
            elif gate.gate(
                journal, manifest=manifest, rules=harness.rules.approvals, catalog=harness.rules.catalog,
                invariants=harness.rules.invariants, repository=harness.repository, budget_left=left,
            ) and await lock.acquire(journal, terms):  # fmt: skip
                await test.test(journal, harness.operator())
            return self._left(journal)

    @activity.defn
    async def canary(self, ticket_id: str) -> str:
        """CANARY."""
        async with at_the_edge():
            journal = self._journal(ticket_id)
            if self._due("canary", journal):
                await canary.canary(journal, self._harness.operator())
            return self._left(journal)

    @activity.defn
    async def deploy(self, ticket_id: str) -> str:
        """DEPLOY."""
        async with at_the_edge():
            journal = self._journal(ticket_id)
            if self._due("deploy", journal):
                await deploy.deploy(journal, self._harness.operator())
            return self._left(journal)

    @activity.defn
    async def verify(self, ticket_id: str) -> str:
        """VERIFY, when its window is all but over, or the ticket spent too much. Until then a timer of the workflow
        waits: people can end it."""
        async with at_the_edge():
            journal, operator = self._journal(ticket_id), self._harness.operator()
            if self._due("verify", journal) and (
                verify.due_in_s(journal, operator.profile.verify) <= 0 or await verify.is_overspent(journal, operator)
            ):
                await verify.verify(journal, operator)
            return self._left(journal)

    @activity.defn
    async def rest(self, ticket_id: str) -> float | None:
        """How many seconds the ticket waits for its hours, its window or its deadline; None when for a person, or its
        parts."""
        async with at_the_edge():
            journal = self._journal(ticket_id)
            match journal.state:
                case State.WAITING if parts.awaits_parts(journal):
                    return parts.rest_s(journal)
                case State.QUEUED if not journal.ticket.life.interrupted:
                    shut_s = hours.rest_s(journal, self._harness.manifest())
                    blocked_s = None if shut_s else blocked.rest_s(journal, self._harness.rules.invariants)
                    return shut_s if blocked_s is None else blocked_s
                case State.WAITING | State.AWAITING_APPROVAL:
                    return hours.rest_s(journal, self._harness.manifest())
                case State.QUEUED:
                    return 0.0
                case State.VERIFYING:
                    return verify.rest_s(verify.due_in_s(journal, self._harness.rules.profile.verify))
            return None

    @activity.defn
    async def open_window(self, ticket_id: str) -> str:
        """Go on with a ticket whose time has come: its hours are there, its parts ended, or its deadline is over."""
        async with at_the_edge():
            journal = self._journal(ticket_id)
            hours.look_again(journal, self._harness.manifest())
            parts.look_again(journal)
            return self._left(journal)

    @activity.defn
    async def obey(self, ticket_id: str, told: Command) -> str:
        """What a person told the ticket."""
        harness = self._harness
        async with at_the_edge():
            journal = self._journal(ticket_id)
            await command.obey(journal, harness.operator(), harness.rules.splitting, told)
            return self._left(journal)

    @activity.defn
    async def watch_tick(self, memory: observe.Memory | None) -> observe.Memory:
        """One tick of the watch; every signal that starts gets its ticket."""
        harness, record, rules = self._harness, self._harness.record, self._harness.rules
        async with at_the_edge():
            watch = observe.Watch(
                manifest=harness.manifest(), slos=rules.slos, invariants=rules.invariants, anomalies=rules.anomalies,
                metrics=harness.metrics, nodes=harness.nodes, ledger=record.ledger, clock=record.clock,
                structural=rules.structural, structure=harness.structure, no_data=rules.profile.no_data,
                together_s=rules.profile.causes.together_s,
            )  # fmt: skip
            seen = await observe.tick(memory or observe.Memory(), watch)
            for signal in seen.started:
                shown = signal.with_evidence(planted=harness.planted) if harness.planted else signal
                file.file(
                    shown, slos=rules.slos, invariants=rules.invariants, sustained_s=rules.profile.verify.window_s,
                    policy=rules.profile.causes, ledger=record.ledger, blobs=record.blobs, clock=record.clock,
                )  # fmt: skip
            LAST_TICK.set_to_current_time()
            return seen.memory
