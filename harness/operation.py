"""Carries an action of the catalog through the four stages: rehearsed, tried on its first unit, done, or taken back.

Touches machines and nodes through the units, and the ledger.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from harness.core import events as e
from harness.core import operation as core
from harness.core.canary import Counts, Limit, StageVerdict
from harness.core.errors import Retryable
from harness.core.manifest import Manifest
from harness.core.operation import AFTER, FACTS, GuardPlan, Precondition
from harness.gate import pass_gate
from harness.journal import Journal
from harness.measure import Window, measure
from harness.operation_units import do_unit, operation_of, undo, whole_counts
from harness.operator import Operator, gate_of, overspend_of, serves
from harness.ports import Metrics, Nodes
from harness.stall import give_up
from harness.start import note_start

POLL_S = 0.1
RECENT_S = 5.0
"""The span over which preconditions are measured."""


# --- TEST ----------------------------------------------------------------------------------------------------------


async def rehearse(journal: Journal, operator: Operator) -> e.ChecksPassed | e.ChecksFailed:
    """Ask every precondition of what is, and of what the dry run says would be. Changes nothing."""
    n = journal.ticket.attempt.n
    operation = operation_of(journal)
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


# --- CANARY --------------------------------------------------------------------------------------------------------


async def try_out(journal: Journal, operator: Operator) -> e.CanaryPassed | e.CanaryFailed | e.RollbackFailed:
    """Do the first unit and watch the guards over the whole service for the time of the policy; or take it back."""
    n, verdict = journal.ticket.attempt.n, None
    if shut := await _shut(journal, operator):
        told = {**_common(journal, operator, None), "reason": shut}
        return journal.record(f"{n}/canary", e.CanaryFailed.model_validate(told))
    step = await do_unit(journal, operator, 1)
    plan, reason = _plan(operator, step), step.reason
    if step.ok:
        verdict = await _hold(journal, operator, plan, step)
        reason = verdict.reason
    if verdict is not None and verdict.decision == "promote":
        only = len(core.units(operation_of(journal))) == 1
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
        await note_start(journal, operator)
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


async def _hold(journal: Journal, operator: Operator, plan: GuardPlan, step: e.OperationStepped) -> StageVerdict:
    policy, clock = operator.profile.operation, journal.clock
    while (verdict := _verdict(journal, plan)).decision == "continue":
        looks = journal.ticket.attempt.looks
        if step.verb == "start" and step.node not in operator.nodes.names():
            return StageVerdict("abort", f"{step.node} left the fleet while it was watched", verdict.metrics)
        if over := await overspend_of(journal, operator).judge_if_readable():
            return StageVerdict("abort", over, verdict.metrics)
        counts, sampled_at = await whole_counts(operator, tuple(step.limits), step.counters, looks)
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
    last = len(core.units(operation_of(journal)))
    waits: tuple[e.Wait, ...] = ()
    left_to: tuple[e.LeftTo, ...] = ()
    reason = await _passed(journal, operator, "deploy", "before")
    for ordinal in range(min(2, last), last + 1):
        if reason:
            break
        step = await do_unit(journal, operator, ordinal)
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
