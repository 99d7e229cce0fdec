"""VERIFY: every criterion over its window of live traffic after the last swap, against the frozen baseline.

Touches the ledger; reads metrics. Takes the change back when the criteria do not hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from harness.cause import close_cause
from harness.core import events as e
from harness.core.ids import ticket_stream
from harness.core.lifecycle import State
from harness.core.manifest import Manifest
from harness.core.policy import Verify
from harness.core.record import StreamWrite
from harness.core.ticket import Criterion
from harness.journal import HARNESS, Journal, encode
from harness.measure import Bench, Window, declared, live, measure, measure_anywhere
from harness.operation import Operator, undo
from harness.ports import Checks, Metrics, Nodes, Repository
from harness.rollout import roll_back

TICK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a verification needs besides the ticket's journal."""

    manifest: Manifest
    policy: Verify
    metrics: Metrics
    nodes: Nodes
    repository: Repository
    operator: Operator
    checks: Checks


def due_in_s(journal: Journal, stage: Stage) -> float:
    """How long there is nothing to do yet: a window may last for hours, and a person may stop the ticket meanwhile."""
    ends_at = _window(journal, stage.policy).end - timedelta(seconds=stage.policy.ticks * TICK_S)
    return (ends_at - journal.clock.now()).total_seconds()


async def verify(journal: Journal, stage: Stage) -> e.CriteriaMet | e.CriteriaNotMet | e.RollbackFailed:
    """Judge the criteria at each of the last ticks of the window; all have to hold at all of them."""
    attempt = journal.ticket.attempt
    n, key = attempt.n, f"{attempt.n}/verify"
    if done := journal.recorded(key, e.Event):
        assert isinstance(done, e.CriteriaMet | e.CriteriaNotMet | e.RollbackFailed)
        return done
    window = _window(journal, stage.policy)
    judged, waits = await _judge(journal, stage, window)
    shown = await _shown(stage, judged, window)
    counted = [one.measured for one in judged if declared(stage.manifest, one.metric).kind == "ratio"]
    samples = min((one.samples for one in (*counted, *shown) if one.samples is not None), default=0)
    wait = e.Wait(kind="query_window", what="verification", opened_at=window.start, closed_at=window.end)
    common = {
        "attempt": n, "criteria": tuple(judged), "shown": shown, "samples": samples, "window_s": window.seconds,
        "waits": (wait, *waits),
    }  # fmt: skip
    if samples < stage.policy.min_samples:
        judged_reason = f"insufficient: {samples} requests in the window, {stage.policy.min_samples} are needed"
    else:
        judged_reason = "; ".join(
            f"{one.metric} {one.condition}: {_words(one)}" for one in judged if one.met is not True
        )
    if not judged_reason:
        met = e.CriteriaMet.model_validate(common)
        return journal.record(key, met, beside=[*close_cause(journal), *_mark_reverted(journal)])
    if attempt.main_moved is not None:
        back = await roll_back(journal, stage.nodes, stage.repository, stage.nodes.names(), judged_reason)
        if isinstance(back, e.RollbackFailed):
            return back
    if attempt.units:
        undone = await undo(journal, stage.operator, judged_reason)
        if isinstance(undone, e.RollbackFailed):
            return undone
    return journal.record(key, e.CriteriaNotMet.model_validate({**common, "reason": judged_reason}))


def _window(journal: Journal, policy: Verify) -> Window:
    """From the first sample after the last swap on: the one before may hold what the old release did.

    An operation: from when it was done. Without a change: from when the agent found that there is nothing to change.
    """
    attempt = journal.ticket.attempt
    swapped = [wait.opened_at for swap in attempt.swaps[-1:] for wait in swap.waits if wait.what.startswith("gate of ")]
    start = swapped[0] if swapped else attempt.deployed_at or attempt.nothing_at or journal.clock.now()
    start += timedelta(seconds=TICK_S)
    assert journal.ticket.admitted is not None
    durations = [Criterion(**one.model_dump(exclude={"baseline"})).spec() for one in journal.ticket.admitted.criteria]
    longest_s = max((one.duration.seconds for one in durations if one.duration), default=0.0)
    return Window(start, start + timedelta(seconds=max(policy.window_s, longest_s)))


async def _judge(journal: Journal, stage: Stage, window: Window) -> tuple[list[e.JudgedCriterion], tuple[e.Wait, ...]]:
    """Each criterion as it was at all of the last ticks, and what was waited for beside the window.

    A probe measures the release that is served, not its traffic: it runs once, at the end.
    """
    admitted = journal.ticket.admitted
    assert admitted is not None
    probed = {number for number, one in enumerate(admitted.criteria) if _kind(stage, one) == "probe"}
    at_ticks: list[list[e.JudgedCriterion]] = []
    for left in range(stage.policy.ticks - 1, -1, -1):
        at = window.end - timedelta(seconds=left * TICK_S)
        await journal.clock.sleep(max(0.0, (at - journal.clock.now()).total_seconds()))
        at_ticks.append(
            [
                (await _criterion(stage, one, Window(window.start, at)))[0]
                for number, one in enumerate(admitted.criteria)
                if number not in probed
            ]
        )
    judged = [
        last.model_copy(update={"met": _all(tick[number].met for tick in at_ticks)})
        for number, last in enumerate(at_ticks[-1])
    ]
    waits: tuple[e.Wait, ...] = ()
    for number in sorted(probed):
        at_the_end, waited = await _criterion(stage, admitted.criteria[number], window)
        judged.insert(number, at_the_end)
        waits += waited
    return judged, waits


def _kind(stage: Stage, one: e.FrozenCriterion) -> str:
    return declared(stage.manifest, one.metric).kind


async def _criterion(
    stage: Stage, frozen: e.FrozenCriterion, window: Window
) -> tuple[e.JudgedCriterion, tuple[e.Wait, ...]]:
    bench = Bench(stage.checks, stage.repository.main())
    measured, waits = await measure_anywhere(stage.metrics, stage.manifest, frozen.metric, window, bench)
    spec = Criterion(metric=frozen.metric, condition=frozen.condition, duration=frozen.duration).spec()
    baseline = frozen.baseline.value if frozen.baseline else None
    met = spec.condition.holds(measured.value, baseline, declared(stage.manifest, frozen.metric).direction)
    judged = e.JudgedCriterion(
        metric=frozen.metric, condition=frozen.condition, duration=frozen.duration, measured=measured, met=met
    )
    return judged, waits


async def _shown(stage: Stage, judged: list[e.JudgedCriterion], window: Window) -> tuple[e.Measurement, ...]:
    """Metrics that are no criterion of this ticket: what else people want to see before and after."""
    names = {one.metric for one in judged}
    return tuple(
        [
            await measure(stage.metrics, stage.manifest, name, window)
            for name in live(stage.manifest)
            if name not in names
        ]
    )


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """False if any is, else None if any is unmeasured, else True."""
    seen = list(verdicts)
    return False if False in seen else None if None in seen else True


def _words(one: e.JudgedCriterion) -> str:
    return "not measured" if one.measured.value is None else f"{one.measured.value:.4g} measured"


def _mark_reverted(journal: Journal) -> list[StreamWrite]:
    """The ticket whose change this one took back says so, in the same transaction."""
    reverted = journal.spec().reverts
    if reverted is None or journal.ticket.attempt.main_moved is None:
        return []
    other = Journal(reverted, ledger=journal.ledger, blobs=journal.blobs, clock=journal.clock)
    if other.state is not State.RESOLVED:  # another revert was faster
        return []
    event = e.ChangeReverted(by_ticket=journal.ticket_id)
    new = encode(journal.key("reverts"), event, clock=journal.clock, actor=HARNESS, correlation=reverted, cause=None)
    return [StreamWrite(ticket_stream(reverted), other.ticket.version, [new])]
