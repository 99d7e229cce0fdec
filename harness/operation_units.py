"""Does the units of an operation, and takes them back. Touches machines and nodes through their ports, and the ledger.

Every unit has a key and is recorded; a retry asks the ledger, then the world, before it acts.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from harness.core import events as e
from harness.core import operation as core
from harness.core.deployment import NodeOrder
from harness.core.errors import Broken, Refused, Retryable
from harness.core.operation import Unit
from harness.counting import WHOLE_SERVICE, counts_if_readable
from harness.gate import note_gate
from harness.journal import Journal
from harness.operator import Operator, gate_of, serves
from harness.stall import give_up

POLL_S = 0.1


async def do_unit(journal: Journal, operator: Operator, ordinal: int) -> e.OperationStepped:
    """Do a unit, or find that it is done; the guards count from right after it, what is left to others from before."""
    key = f"{journal.ticket.attempt.n}/unit-{ordinal}"
    if done := journal.recorded(key, e.OperationStepped):
        return done
    unit = core.units(operation_of(journal))[ordinal - 1]
    limits = _limits(journal, operator)
    journal.require_newest()
    step = await _do(journal, operator, unit, key, ordinal, back=False)
    seen: dict[str, object] = {"limits": limits, "counters": await _first_counts(journal, operator, tuple(limits))}
    if limits and not seen["counters"] and step.ok:
        reason = f"insufficient: {', '.join(limits)} have no counters right after it; is the traffic measured?"
        seen |= {"ok": False, "reason": reason}
    return journal.record(key, step.model_copy(update={**seen, "at": journal.clock.now()}))


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
    await note_gate(journal, gate_of(journal, operator), "rollback", key=f"{n}/rollback/gate")
    back = e.RolledBack(attempt=n, commit=operator.repository.main(), reason=reason, waits=waits)
    return journal.record(f"{n}/rollback", back)


def _limits(journal: Journal, operator: Operator) -> dict[str, float]:
    """The objectives, as far as they held at the start: what was worse already must not get worse.

    Not those with counters of their own: a service that counts for itself begins anew with what is done to it.
    """
    budgets = {metric: slo.error_budget for slo in operator.slos for metric in slo.by_arm}
    start = journal.ticket.attempt.start
    return budgets | {
        one.metric: core.allowed_share(
            budgets[one.metric], one.value, one.samples, operator.profile.canary.clustering(one.metric)
        )
        for one in (start.measured if start else ())
        if one.metric in budgets
    }


async def _first_counts(journal: Journal, operator: Operator, names: tuple[str, ...]) -> tuple[e.ArmCount, ...]:
    """What the guards count from; empty when it cannot be read for a while: the unit is done, and nobody watches it."""
    gives_up_at = journal.clock.now() + timedelta(seconds=operator.profile.operation.extension_s)
    while True:
        counts, _ = await whole_counts(operator, names, (), ())
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
    node, token = unit.node, journal.token
    assert node is not None, "the unit names its node"
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


async def whole_counts(
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


def operation_of(journal: Journal) -> e.Operation:
    operation = journal.ticket.attempt.operation
    assert operation is not None, "only a change of kind operation comes here"
    return operation
