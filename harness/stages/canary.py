"""CANARY: a fresh baseline and the change take a share of the keys each; a sequential judge decides.

Touches nodes (two releases), the router (shares) and the ledger (every look). A retry goes on at the last look that was
recorded; the verdict depends on the recorded looks alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from harness import arms
from harness.core import canary as judge
from harness.core import events as e
from harness.core.canary_plan import (
    has_exposed,
    insufficient,
    is_late,
    planned,
    requests_due,
    smaller_arm,
    verdict_of,
)
from harness.core.canary_told import drains, per_arm, start_wait, verdicts, windows
from harness.core.deployment import NodeOrder
from harness.core.errors import Broken, Refused, Retryable
from harness.counting import TWO_ARMS, counts_if_readable, counts_since, share_of_stable
from harness.gate import note_gate, pass_gate
from harness.journal import Journal
from harness.measure import declared
from harness.operation import try_out
from harness.operator import Operator, gate_of, overspend_of
from harness.others import left_to_others
from harness.stall import give_up
from harness.start import note_start

POLL_S = 0.1


async def canary(journal: Journal, operator: Operator) -> e.CanaryPassed | e.CanaryFailed | e.RollbackFailed:
    """Stand up both arms, give them traffic step by step, look until the judge decides, take everything down.

    An operation has no arms: its first unit is watched by guards alone. What does not answer for too long ends it: then
    the arms lose their traffic, and are left standing where their node does not answer.
    """
    n = journal.ticket.attempt.n
    if done := journal.recorded(f"{n}/canary", e.Event):
        assert isinstance(done, e.CanaryPassed | e.CanaryFailed | e.RollbackFailed)
        return done
    if journal.ticket.attempt.operation is not None:
        return await try_out(journal, operator)
    try:
        await note_start(journal, operator)
        plan = _plan(journal, operator)
        if shut := await pass_gate(journal, gate_of(journal, operator), "canary", "before"):
            return await _finish(journal, operator, plan, None, reason=shut)
        started = journal.recorded(f"{n}/canary/start", e.CanaryStarted) or await _start(journal, operator, plan)
        if isinstance(started, str):
            return await _finish(journal, operator, plan, None, reason=started)
        try:
            verdict = await _look_until_decided(journal, operator, plan, started)
        except (Refused, Broken):  # a person is called, and the arms must not have traffic until one comes
            await arms.without_traffic(journal, operator)
            raise
        return await _finish(journal, operator, plan, verdict, reason=verdict.reason)
    except Retryable as error:
        reason = give_up(journal, operator.profile.stall_s, error)
    try:
        return await _finish(journal, operator, _plan(journal, operator), None, reason=reason, answers=False)
    except Retryable as error:  # the router's: its way back has as long again
        reason = give_up(journal, 2 * operator.profile.stall_s, error)
        return journal.record(f"{n}/canary", e.RollbackFailed(attempt=n, reason=f"the arms have traffic yet: {reason}"))


def _plan(journal: Journal, operator: Operator) -> judge.DeliveryPlan:
    """What this delivery is judged by.

    A ticket whose own metric is no share of requests by arm, as what an objective counts for itself, has guards only:
    what it is about is judged by VERIFY alone.
    """
    assert journal.ticket.admitted is not None
    own, manifest = journal.ticket.admitted.criteria[0].metric, operator.manifest
    return planned(
        operator.profile.canary, own,
        wins=declared(manifest, own).kind == "ratio" and journal.ticket.filed.signal is not None,
        guards=manifest.canary.guards, promises=operator.promises, slos=operator.slos,
        no_limit=_no_limit(journal, operator),
    )  # fmt: skip


def _no_limit(journal: Journal, operator: Operator) -> dict[str, str]:
    """Guarded metrics whose objective is left to another ticket, and to which: as it was when the arms were placed."""
    if (started := journal.ticket.attempt.canary_started) is not None:
        return started.no_limit
    left = left_to_others(journal, operator.slos, ())
    return {metric: ticket for (metric, _), (ticket, _) in left.items() if metric in operator.manifest.canary.guards}


async def _start(journal: Journal, operator: Operator, plan: judge.DeliveryPlan) -> e.CanaryStarted | str:
    """Place both arms on one node, with empty state; the reason when one of them does not start."""
    n, token = journal.ticket.attempt.n, journal.token
    checks = journal.ticket.attempt.checks
    assert isinstance(checks, e.ChecksPassed)
    commits: dict[e.Slot, str] = {"canary": checks.commit, "baseline": checks.base}
    node = await _host(operator)
    answers = await asyncio.gather(
        *(
            operator.nodes.order(
                node,
                NodeOrder(
                    verb="place", key=journal.key(f"{n}/canary/place-{arm}"), token=token, slot=arm, commit=commits[arm]
                ),
            )
            for arm in arms.ARMS
        )
    )
    for arm, answer in zip(arms.ARMS, answers, strict=True):
        if not answer.ok:
            return f"{arm} ({commits[arm][:12]}) did not start on {node}: {answer.reason}"
    counts, _ = await counts_since(operator.metrics, operator.manifest, sorted(plan.metrics), (), TWO_ARMS)
    if counts is None:
        raise Retryable(f"canary: {', '.join(sorted(plan.metrics))} have no counters yet; is the traffic measured?")
    return journal.record(
        f"{n}/canary/start",
        e.CanaryStarted(
            attempt=n, canary=commits["canary"], baseline=commits["baseline"], node=node,
            planned_per_arm=plan.planned_per_arm, counters=counts, waits=tuple(map(start_wait, answers)),
            no_limit=_no_limit(journal, operator),
        ),
    )  # fmt: skip


async def _host(operator: Operator) -> str:
    """The node for both arms: the one where an arm stands already (from before a crash), else the first that serves."""
    reports = await arms.reports(operator)
    standing = [report.node for report in reports if report.slots.keys() & set(arms.ARMS)]
    serving = [report.node for report in reports if (stable := report.slots.get("stable")) and stable.healthy]
    if not (hosts := standing or serving):
        raise Retryable("canary: no node serves; `harness node list` tells why")
    return hosts[0]


async def _look_until_decided(
    journal: Journal, operator: Operator, plan: judge.DeliveryPlan, started: e.CanaryStarted
) -> judge.StageVerdict:
    clock, policy = journal.clock, operator.profile.canary
    verdict = verdict_of(plan, journal.ticket.attempt.looks)
    while verdict.decision not in ("promote", "abort", "ask"):
        if started.node not in operator.nodes.names():
            reason = f"{started.node}, which hosted both arms, left the fleet"
            return judge.StageVerdict("abort", reason, verdict.metrics)
        if over := await overspend_of(journal, operator).judge_if_readable():
            return judge.StageVerdict("abort", over, verdict.metrics)
        counts, sampled_at = await counts_if_readable(
            operator.metrics, operator.manifest, sorted(plan.metrics), started.counters, TWO_ARMS
        )
        if counts is None and not journal.ticket.attempt.canary_steps:
            raise Retryable(f"canary: {', '.join(sorted(plan.metrics))} can't be read, so its traffic is not begun")
        step = await _step(journal, operator, seen=counts is not None)
        attempt = journal.ticket.attempt
        due = requests_due(plan, len(attempt.looks) + 1)
        have = smaller_arm(counts or ())
        late = is_late(policy, attempt.canary_steps, clock.now(), seen=counts is not None)
        if counts is not None and sampled_at is not None:
            fresh = not attempt.looks or sampled_at > attempt.looks[-1].window_to
            exposed = has_exposed(policy, attempt.canary_steps, sampled_at)
            if fresh and (late or have >= due) and (have < plan.planned_per_arm or exposed):
                _record_look(journal, plan, step, sampled_at, counts, out_of_time=late and have < due)
                verdict = verdict_of(plan, journal.ticket.attempt.looks)
                continue
        if late:
            return insufficient(plan, verdict, None if counts is None else have)
        await clock.sleep(POLL_S)
    return verdict


def _record_look(
    journal: Journal,
    plan: judge.DeliveryPlan,
    step: int,
    sampled_at: datetime,
    counts: tuple[e.ArmCount, ...],
    *,
    out_of_time: bool,
) -> None:
    attempt = journal.ticket.attempt
    look = e.CanaryLooked(
        attempt=attempt.n, look=len(attempt.looks) + 1, step=step, window_to=sampled_at, counts=counts,
        decision="ask" if out_of_time else "continue",
    )  # fmt: skip
    decision = "ask" if out_of_time else verdict_of(plan, (*attempt.looks, look)).decision
    journal.record(f"{attempt.n}/canary/look-{look.look}", look.model_copy(update={"decision": decision}))


async def _step(journal: Journal, operator: Operator, *, seen: bool) -> int:
    """The step under way (1..n), moved on when its time is over and somebody sees what it does; its shares are applied
    before it counts."""
    attempt = journal.ticket.attempt
    taken, steps = attempt.canary_steps, operator.profile.canary.steps
    if not seen or len(taken) == len(steps):
        return len(taken)
    if taken and _held(journal, taken[-1]) < steps[len(taken) - 1].hold_s:
        return len(taken)
    number = len(taken) + 1
    share = steps[number - 1].share
    journal.require_newest()
    version = await operator.router.set_weights(
        {"canary": share, "baseline": share}, journal.token, journal.key(f"{attempt.n}/canary-{number}")
    )
    journal.record(
        f"{attempt.n}/canary/step-{number}",
        e.CanaryStepped(attempt=attempt.n, step=number, share=share, version=version, at=journal.clock.now()),
    )
    return number


def _held(journal: Journal, step: e.CanaryStepped) -> float:
    return (journal.clock.now() - step.at).total_seconds()


async def _finish(
    journal: Journal,
    operator: Operator,
    plan: judge.DeliveryPlan,
    verdict: judge.StageVerdict | None,
    *,
    reason: str,
    answers: bool = True,
) -> e.CanaryPassed | e.CanaryFailed | e.RollbackFailed:
    """Traffic off first, read back from the router; then the arms are drained and stopped; then the verdict.

    ``answers``: whether nodes are waited for. An arm that is left standing is replaced by the next canary's.
    """
    attempt = journal.ticket.attempt
    n, policy = attempt.n, operator.profile.canary
    version = await arms.without_traffic(journal, operator)
    gone = await arms.taken_down(journal, operator, answers=answers)
    promoted = verdict is not None and verdict.decision == "promote"
    gate = gate_of(journal, operator)
    if not promoted:
        await note_gate(journal, gate, "canary", key=f"{n}/canary/gate-after")
    elif shut := await pass_gate(journal, gate, "canary", "after"):
        promoted, reason = False, shut
    try:
        keys = await _keys(operator, attempt.canary_steps)
    except Retryable:
        if promoted:
            raise
        keys = 0
    if promoted and keys < policy.keys_per_arm:
        promoted, reason = False, f"insufficient: {keys} keys an arm, {policy.keys_per_arm} are needed"
    common: dict[str, Any] = {
        "attempt": n, "looks": len(attempt.looks), "alpha": plan.alpha, "keys": keys, "version": version,
        "per_arm": per_arm(attempt.looks), "verdicts": verdicts(plan, verdict, attempt.looks),
        "waits": (*windows(policy, attempt), *drains(gone)),
    }  # fmt: skip
    if promoted:
        return journal.record(f"{n}/canary", e.CanaryPassed.model_validate(common))
    share, waited = await share_of_stable(operator.metrics, operator.manifest, journal.clock)
    if share is not None and share < 1:
        still = f"{reason}; its traffic was taken off, and yet {1 - share:.2%} of the requests do not reach stable"
        return journal.record(f"{n}/canary", e.RollbackFailed(attempt=n, reason=still))
    failed = {**common, "reason": reason, "stable_share": share, "waits": (*common["waits"], *waited)}
    return journal.record(f"{n}/canary", e.CanaryFailed.model_validate(failed))


async def _keys(operator: Operator, steps: Sequence[e.CanaryStepped]) -> int:
    """Keys assigned to each arm at the last step: the hash gives an arm its share of all keys that are asked for."""
    query = operator.manifest.canary.keys
    population = await operator.metrics.value(query) if query else None
    return round((population or 0) * steps[-1].share) if steps else 0
