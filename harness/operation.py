"""Carries an action of the catalog through the four stages: rehearsed, tried on its first unit, done, or taken back.

Touches machines and nodes through their ports, and the ledger. Every unit has a key and is recorded; a retry asks the
ledger, then the world, before it acts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from harness.core import events as e
from harness.core import operation as core
from harness.core.canary import Counts, Limit, StageVerdict
from harness.core.deployment import NodeOrder
from harness.core.errors import Broken, Refused, Retryable
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.core.operation import AFTER, FACTS, GuardPlan, Precondition, Unit
from harness.core.policy import Profile
from harness.core.slo import Slo
from harness.counting import WHOLE_SERVICE, counts_if_readable
from harness.gate import Gate, note_gate, pass_gate
from harness.journal import Journal
from harness.measure import Window, measure
from harness.others import no_worse_only, note_start, restored_by
from harness.ports import Metrics, NodeProvider, Nodes, Repository
from harness.stall import give_up

POLL_S = 0.1
RECENT_S = 5.0
"""The span over which preconditions are measured."""
SAMPLE_S = 1.1
"""After so long there is a sample of what is now: Prometheus takes one a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What an operation needs besides the ticket's journal."""

    manifest: Manifest
    catalog: core.Catalog
    slos: tuple[Slo, ...]
    invariants: tuple[Invariant, ...]
    profile: Profile
    metrics: Metrics
    nodes: Nodes
    provider: NodeProvider
    repository: Repository


# --- TEST ----------------------------------------------------------------------------------------------------------


async def rehearse(journal: Journal, operator: Operator) -> e.ChecksPassed | e.ChecksFailed:
    """Ask every precondition of what is, and of what the dry run says would be. Changes nothing."""
    n = journal.ticket.attempt.n
    operation = _operation(journal)
    main = operator.repository.main()
    try:
        dry = await dry_run(
            operation, catalog=operator.catalog, manifest=operator.manifest, metrics=operator.metrics,
            nodes=operator.nodes, now=journal.clock.now(),
        )  # fmt: skip
    except Retryable as error:
        reason = give_up(journal, operator.profile.stall_s, error)
        return journal.record(
            f"{n}/test", e.ChecksFailed(attempt=n, commit=main, tree=None, outcomes=(), reason=reason, waits=())
        )
    outcomes = tuple(
        e.CheckOutcome(
            name=f"precondition {one.spec.text}", exit_code=None, passed=one.holds is True, seconds=0.0,
            tests_passed=None, output=journal.put({"text": one.words, "dry_run": dry.facts}),
        )
        for one in dry.preconditions
    )  # fmt: skip
    tree = operator.repository.tree(main)
    if dry.against:
        reason = f"{operation.action}: {dry.against}"
        return journal.record(
            f"{n}/test",
            e.ChecksFailed(attempt=n, commit=main, tree=tree, outcomes=outcomes, reason=reason, waits=()),
        )
    return journal.record(
        f"{n}/test", e.ChecksPassed(attempt=n, onto=main, commit=main, tree=tree, outcomes=outcomes, waits=())
    )


async def dry_run(
    operation: e.Operation, *, catalog: core.Catalog, manifest: Manifest, metrics: Metrics, nodes: Nodes, now: datetime
) -> core.DryRun:
    """What the operation would come to, and whether its preconditions hold. Looks at nodes and metrics only."""
    names = nodes.names()
    serve = await asyncio.gather(*(serves(nodes, name) for name in names))
    facts = core.facts(operation, names, [name for name, one in zip(names, serve, strict=True) if one])

    async def asked(name: str) -> float | None:
        if name in FACTS:
            return facts[name]
        metric = name.removesuffix(AFTER)
        value = (await measure(metrics, manifest, metric, Window.before(now, RECENT_S))).value
        return value if metric == name else core.free_after(value, facts)

    preconditions = [
        Precondition(spec, await asked(spec.metric)) for spec in catalog.action(operation.action).preconditions
    ]
    return core.DryRun(facts, tuple(preconditions), core.missing_target(operation, names))


async def serves(nodes: Nodes, node: str) -> bool:
    """Whether a node answers, and its stable release does."""
    try:
        report = await nodes.report(node)
    except Retryable:
        return False
    stable = report.slots.get("stable")
    return stable is not None and stable.healthy


# --- CANARY --------------------------------------------------------------------------------------------------------


async def try_out(journal: Journal, operator: Operator) -> e.CanaryPassed | e.CanaryFailed | e.RollbackFailed:
    """Do the first unit and watch the guards over the whole service for the time of the policy; or take it back."""
    n, verdict = journal.ticket.attempt.n, None
    if shut := await _shut(journal, operator):
        told = {**_common(journal, operator, None), "reason": shut}
        return journal.record(f"{n}/canary", e.CanaryFailed.model_validate(told))
    step = await _unit(journal, operator, 1)
    plan, reason = _plan(operator, step), step.reason
    if step.ok:
        verdict = await _hold(journal, operator, plan, step)
        reason = verdict.reason
    if verdict is not None and verdict.decision == "promote":
        only = len(core.units(_operation(journal))) == 1
        reason = await _passed(journal, operator, "canary", "after", restores=only, node=_comes(step))
        if not reason:
            return journal.record(f"{n}/canary", e.CanaryPassed.model_validate(_common(journal, operator, verdict)))
    back = await undo(journal, operator, reason)
    if isinstance(back, e.RollbackFailed):
        return back
    told = {**_common(journal, operator, verdict), "reason": reason}
    return journal.record(f"{n}/canary", e.CanaryFailed.model_validate(told))


async def _shut(journal: Journal, operator: Operator) -> str:
    """Why the first unit may not be done, by an invariant; how the service was is noted before anything is touched."""
    try:
        await note_start(
            journal, manifest=operator.manifest, slos=operator.slos, invariants=operator.invariants,
            metrics=operator.metrics,
        )  # fmt: skip
    except Retryable as error:
        return give_up(journal, operator.profile.stall_s, error)
    return await _passed(journal, operator, "canary", "before")


async def _passed(
    journal: Journal, operator: Operator, stage: e.Gated, side: e.Side, *, restores: bool = False,
    node: str | None = None,
) -> str:  # fmt: skip
    """As ``pass_gate``; what does not answer for too long is no better than what says no."""
    try:
        return await pass_gate(journal, gate_of(journal, operator, restores=restores), stage, side, node=node)
    except Retryable as error:
        return give_up(journal, operator.profile.stall_s, error)


def _plan(operator: Operator, step: e.OperationStepped) -> GuardPlan:
    """Limits as they were fixed with the first unit."""
    policy, effects = operator.profile.operation, operator.profile.canary.design_effect
    limits = tuple(
        Limit(metric, at_most=at_most, design_effect=effects.get(metric, 1.0))
        for metric, at_most in step.limits.items()
    )
    return GuardPlan(limits, planned=policy.planned, looks=policy.looks, alpha=policy.alpha)


def _limits(journal: Journal, operator: Operator) -> dict[str, float]:
    """The objectives, as far as they held at the start: what was worse already must not get worse."""
    budgets = {metric: slo.error_budget for slo in operator.slos for metric in slo.metrics}
    start = journal.ticket.attempt.start
    return budgets | {
        one.metric: core.allowed_share(
            budgets[one.metric], one.value, one.samples, operator.profile.canary.clustering(one.metric)
        )
        for one in (start.measured if start else ())
        if one.metric in budgets
    }


async def _hold(journal: Journal, operator: Operator, plan: GuardPlan, step: e.OperationStepped) -> StageVerdict:
    policy, clock = operator.profile.operation, journal.clock
    while (verdict := _verdict(journal, plan)).decision == "continue":
        looks = journal.ticket.attempt.looks
        if step.verb == "start" and step.node not in operator.nodes.names():
            return StageVerdict("abort", f"{step.node} left the fleet while it was watched", verdict.metrics)
        counts, sampled_at = await _counts_if_readable(operator, tuple(step.limits), step.counters, looks)
        number = min(len(looks) + 1, plan.looks)
        due = step.at + timedelta(seconds=policy.hold_s * number / plan.looks)
        enough = counts is not None and (number < plan.looks or min(c.canary_total for c in counts) >= plan.planned)
        if counts is not None and sampled_at is not None and sampled_at >= due and enough:
            look = e.CanaryLooked(
                attempt=step.attempt, look=len(looks) + 1, step=1, window_to=sampled_at, counts=counts,
                decision="continue",
            )  # fmt: skip
            decision = _verdict(journal, plan, look).decision
            journal.record(f"{step.attempt}/canary/look-{look.look}", look.model_copy(update={"decision": decision}))
            continue
        if clock.now() > step.at + timedelta(seconds=policy.hold_s + policy.extension_s):
            have = min((c.canary_total for c in counts), default=0) if counts else 0
            reason = f"insufficient: {have} of {plan.planned} requests when the time was over"
            return StageVerdict("ask", reason, verdict.metrics)
        await clock.sleep(POLL_S)
    return verdict


def _verdict(journal: Journal, plan: GuardPlan, *more: e.CanaryLooked) -> StageVerdict:
    looks = (*journal.ticket.attempt.looks, *more)
    return core.judge_guards(
        plan, [{count.metric: Counts(count.canary_bad, count.canary_total) for count in look.counts} for look in looks]
    )


async def _counts_if_readable(
    operator: Operator, names: tuple[str, ...], since: tuple[e.ArmCount, ...], looks: tuple[e.CanaryLooked, ...]
) -> tuple[tuple[e.ArmCount, ...] | None, datetime | None]:
    """Nothing when nobody answers, or when counters began anew: what is not watched for its time is taken back."""
    counts, sampled_at = await counts_if_readable(operator.metrics, operator.manifest, names, since, WHOLE_SERVICE)
    before = {count.metric: count for count in looks[-1].counts} if looks else {}
    began_anew = any(
        now.canary_bad < was.canary_bad or now.canary_total < was.canary_total
        for now in counts or ()
        if (was := before.get(now.metric)) is not None
    )
    return (None, None) if began_anew else (counts, sampled_at)


def _common(journal: Journal, operator: Operator, verdict: StageVerdict | None) -> dict[str, object]:
    attempt, policy = journal.ticket.attempt, operator.profile.operation
    last = attempt.looks[-1] if attempt.looks else None
    held = []
    if last:  # no longer than they were to be watched: while its worker was away, nothing was waited for
        first = attempt.units[0]
        over_at = first.at + timedelta(seconds=policy.hold_s + policy.extension_s)
        closed_at = max(first.at, min(last.window_to, over_at))
        held.append(e.Wait(kind="query_window", what="guards", opened_at=first.at, closed_at=closed_at))
    return {
        "attempt": attempt.n, "looks": len(attempt.looks), "alpha": policy.alpha, "keys": 0, "version": "",
        "per_arm": min((count.canary_total for count in last.counts), default=0) if last else 0,
        "verdicts": tuple(
            e.MetricVerdict(
                metric=one.metric, role=one.role, verdict=one.judged.verdict, reason=one.judged.reason,
                p_value=one.judged.p_value, effect=one.judged.effect, smallest_harm=None,
                decided_at_look=one.judged.decided_at_look,
            )
            for one in (verdict.metrics if verdict else ())
        ),
        "waits": tuple(held), "guards_only": True,
    }  # fmt: skip


# --- DEPLOY --------------------------------------------------------------------------------------------------------


async def carry_out(journal: Journal, operator: Operator) -> e.ReleaseDeployed | e.DeployFailed | e.RollbackFailed:
    """Do the units that are left, with a gate after each; the ticket's own invariant has to hold after the last."""
    attempt = journal.ticket.attempt
    n, checks = attempt.n, attempt.checks
    assert isinstance(checks, e.ChecksPassed)
    last = len(core.units(_operation(journal)))
    waits: tuple[e.Wait, ...] = ()
    left_to: tuple[e.LeftTo, ...] = ()
    reason = await _passed(journal, operator, "deploy", "before")
    for ordinal in range(min(2, last), last + 1):
        if reason:
            break
        step = await _unit(journal, operator, ordinal)
        reason = step.reason
        if step.ok:
            opened_at = step.at if ordinal > 1 else journal.clock.now()
            reason, waited, left_to = await _watched(journal, operator, step, opened_at, restores=ordinal == last)
            waits = (*waits, *waited)
    if reason := reason or await _passed(journal, operator, "deploy", "after", restores=True):
        back = await undo(journal, operator, reason)
        if isinstance(back, e.RollbackFailed):
            return back
        return journal.record(f"{n}/deploy", e.DeployFailed(attempt=n, reason=reason))
    nodes = operator.nodes.names()
    done = e.ReleaseDeployed(
        attempt=n, commit=checks.commit, tree=checks.tree, nodes=nodes, waits=waits, left_to=left_to
    )
    return journal.record(f"{n}/deploy", done)


def gate_of(journal: Journal, operator: Operator, *, restores: bool = False) -> Gate:
    """The gate of the policy, on every invariant.

    ``restores``: what the ticket is there to restore has to hold in full at the end, and not only to get no worse.
    """
    own = restored_by(journal, operator.invariants) if restores else ()
    return Gate(
        ticket_id=journal.ticket_id, manifest=operator.manifest, gate_s=operator.profile.deploy.gate_s,
        metrics=operator.metrics, nodes=operator.nodes, clock=journal.clock, restored=own,
        invariants=tuple(one for one in operator.invariants if one not in own),
        left=lambda: no_worse_only(journal, operator.invariants),
    )  # fmt: skip


async def _watched(
    journal: Journal, operator: Operator, step: e.OperationStepped, opened_at: datetime, *, restores: bool
) -> tuple[str, tuple[e.Wait, ...], tuple[e.LeftTo, ...]]:
    """Why a unit may not stay, the wait, and what was left to others; what does not answer for too long is no better
    than what says no."""
    gate = gate_of(journal, operator, restores=restores)
    try:
        reason, waited, left_to = await gate.watch(_comes(step), opened_at)
    except Retryable as error:
        return give_up(journal, operator.profile.stall_s, error), (), ()
    return reason, (waited,), left_to


def _comes(step: e.OperationStepped) -> str | None:
    """The node that has to answer after this unit, if one has to."""
    return step.node if step.verb in ("start", "restore") else None


# --- units and the way back ----------------------------------------------------------------------------------------


async def undo(journal: Journal, operator: Operator, reason: str) -> e.RolledBack | e.RollbackFailed:
    """Take back what was done, last first, by the units of the action that reverses it."""
    attempt = journal.ticket.attempt
    n = attempt.n
    if done := journal.recorded(f"{n}/rollback", e.Event):
        assert isinstance(done, e.RolledBack | e.RollbackFailed)
        return done
    waits: tuple[e.Wait, ...] = ()
    for ordinal, unit in enumerate(core.way_back(attempt.units), start=1):
        key = f"{n}/rollback/{ordinal}"
        step = journal.recorded(key, e.OperationStepped)
        if step is None:
            journal.require_newest()
            step = journal.record(key, await _do(journal, operator, unit, key, ordinal, back=True))
        if not step.ok:
            return journal.record(f"{n}/rollback", e.RollbackFailed(attempt=n, reason=f"{step.node}: {step.reason}"))
        waits = (*waits, *step.waits)
    # It waits for a sample of what is now: the next attempt would look at the fleet with what was taken back.
    await note_gate(journal, gate_of(journal, operator), "rollback", "after", key=f"{n}/rollback/gate")
    back = e.RolledBack(attempt=n, commit=operator.repository.main(), reason=reason, waits=waits)
    return journal.record(f"{n}/rollback", back)


async def _unit(journal: Journal, operator: Operator, ordinal: int) -> e.OperationStepped:
    """Do a unit, or find that it is done; the guards count from right after it, what is left to others from before."""
    key = f"{journal.ticket.attempt.n}/unit-{ordinal}"
    if done := journal.recorded(key, e.OperationStepped):
        return done
    unit = core.units(_operation(journal))[ordinal - 1]
    limits = _limits(journal, operator)
    journal.require_newest()
    step = await _do(journal, operator, unit, key, ordinal, back=False)
    seen: dict[str, object] = {"limits": limits, "counters": await _first_counts(journal, operator, tuple(limits))}
    if limits and not seen["counters"] and step.ok:
        reason = f"insufficient: {', '.join(limits)} have no counters right after it; is the traffic measured?"
        seen |= {"ok": False, "reason": reason}
    return journal.record(key, step.model_copy(update={**seen, "at": journal.clock.now()}))


async def _first_counts(journal: Journal, operator: Operator, names: tuple[str, ...]) -> tuple[e.ArmCount, ...]:
    """What the guards count from; empty when it cannot be read for a while: the unit is done, and nobody watches it."""
    gives_up_at = journal.clock.now() + timedelta(seconds=operator.profile.operation.extension_s)
    while True:
        counts, _ = await _counts_if_readable(operator, names, (), ())
        if counts is not None or journal.clock.now() >= gives_up_at:
            return counts or ()
        await journal.clock.sleep(POLL_S)


async def _do(
    journal: Journal, operator: Operator, unit: Unit, key: str, ordinal: int, *, back: bool
) -> e.OperationStepped:
    try:
        if unit.verb == "start":
            node, reason, waits = await _start(journal, operator, key)
        else:
            assert unit.node is not None, f"{unit.verb} names its node"
            node = unit.node
            reason, waits = await _to_node(journal, operator, unit, key)
    except (Refused, Broken) as error:  # what may be retried is: no operation fails for one slow answer
        return _failed(journal, unit, ordinal, unit.node or "", str(error), back=back)
    except Retryable as error:  # a machine may be there all the same: the way back has to know of it
        reason = give_up(journal, operator.profile.stall_s, error)
        node = unit.node or operator.provider.observe(journal.key(key)) or ""
        return _failed(journal, unit, ordinal, node, reason, back=back)
    return e.OperationStepped(
        attempt=journal.ticket.attempt.n, ordinal=ordinal, verb=unit.verb, node=node, ok=not reason, reason=reason,
        at=journal.clock.now(), back=back, waits=waits,
    )  # fmt: skip


def _failed(journal: Journal, unit: Unit, ordinal: int, node: str, reason: str, *, back: bool) -> e.OperationStepped:
    return e.OperationStepped(
        attempt=journal.ticket.attempt.n, ordinal=ordinal, verb=unit.verb, node=node, ok=False, reason=reason,
        at=journal.clock.now(), back=back,
    )  # fmt: skip


async def _start(journal: Journal, operator: Operator, key: str) -> tuple[str, str, tuple[e.Wait, ...]]:
    """A machine under this key, and its node until it serves; the reason why it does not."""
    name = journal.key(key)
    node = operator.provider.observe(name) or operator.provider.start(name)
    opened_at = journal.clock.now()
    closes_at = opened_at + timedelta(seconds=operator.profile.operation.ready_within_s)
    reason = ""
    while not await serves(operator.nodes, node):
        if journal.clock.now() >= closes_at:
            reason = f"{node} does not serve {operator.profile.operation.ready_within_s:g} s after it was started"
            break
        await journal.clock.sleep(POLL_S)
    wait = e.Wait(kind="start", what=f"node {node}", opened_at=opened_at, closed_at=journal.clock.now())
    return node, reason, (wait,)


async def _to_node(journal: Journal, operator: Operator, unit: Unit, key: str) -> tuple[str, tuple[e.Wait, ...]]:
    node, token = unit.node, journal.ticket.life.token
    assert node is not None and token is not None, "the delivery lock is held from TEST to VERIFY"
    name = journal.key(key)
    if unit.verb == "remove":
        if operator.provider.observe(name) is None and node in operator.nodes.names():
            operator.provider.remove(node, name)
        return "", ()
    if node not in operator.nodes.names() or (unit.verb == "drain" and not await _answers(operator, node)):
        return "", ()  # whoever is gone, or never came up, has nothing to drain
    order = (
        NodeOrder(verb="remove", key=name, token=token)
        if unit.verb == "drain"
        else NodeOrder(verb="place", key=name, token=token, commit=operator.repository.main())
    )
    answer = await operator.nodes.order(node, order)
    waits = []
    if answer.drain_from and answer.drain_to:
        waits.append(
            e.Wait(kind="drain", what=f"release on {node}", opened_at=answer.drain_from, closed_at=answer.drain_to)
        )
    if answer.ready_at:
        waits.append(
            e.Wait(kind="start", what=f"release on {node}", opened_at=answer.started_at, closed_at=answer.ready_at)
        )
    return ("" if answer.ok else answer.reason), tuple(waits)


async def _answers(operator: Operator, node: str) -> bool:
    """Whether the node's agent does, whatever it serves."""
    try:
        await operator.nodes.report(node)
    except Retryable:
        return False
    return True


def _operation(journal: Journal) -> e.Operation:
    operation = journal.ticket.attempt.operation
    assert operation is not None, "only a change of kind operation comes here"
    return operation
