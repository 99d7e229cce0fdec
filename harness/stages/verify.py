"""VERIFY: every criterion over its window of live traffic after the last swap, against the frozen baseline.

Touches the ledger; reads metrics. Takes the change back when the criteria do not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from harness import lock
from harness.cause import close_cause
from harness.core import events as e
from harness.core import others
from harness.core.ids import ticket_stream
from harness.core.lifecycle import State
from harness.core.manifest import Manifest
from harness.core.policy import Verify
from harness.core.record import StreamWrite
from harness.core.ticket import Criterion
from harness.journal import HARNESS, Journal, encode
from harness.measure import Bench, Window, declared, live, measure, measure_anywhere
from harness.operation import Operator, undo
from harness.others import Left, left_to_others, note_start
from harness.ports import Checks, Metrics, Nodes, Repository
from harness.rollout import roll_back

TICK_S = 1.0
REST_S, RESTS = 60.0, 50
"""Between two looks at the ledger within a long window: a minute, or this part of what is left of it."""


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
    if journal.ticket.attempt.way_back is not None:
        return 0.0
    ends_at = _window(journal, stage.policy).end - timedelta(seconds=stage.policy.ticks * TICK_S)
    return (ends_at - journal.clock.now()).total_seconds()


def rest_s(due_s: float) -> float:
    """How long to rest until the ledger is asked again: now and then, for the verification may be interrupted."""
    return max(0.0, min(due_s, max(REST_S, due_s / RESTS)))


async def verify(journal: Journal, stage: Stage) -> e.CriteriaMet | e.CriteriaNotMet | e.RollbackFailed:
    """Judge the criteria at each of the last ticks of the window; all have to hold at all of them."""
    attempt = journal.ticket.attempt
    n, key = attempt.n, f"{attempt.n}/verify"
    if done := journal.recorded(key, e.Event):
        assert isinstance(done, e.CriteriaMet | e.CriteriaNotMet | e.RollbackFailed)
        return done
    window = _window(journal, stage.policy)
    if attempt.change is None:  # it touches nothing, so that what it finds is how it was
        operator = stage.operator
        await note_start(
            journal, manifest=stage.manifest, slos=operator.slos, invariants=operator.invariants, metrics=stage.metrics
        )
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
        judged_reason = "; ".join(f"{one.metric} {one.condition}: {_words(one)}" for one in judged if not one.passes)
    if attempt.way_back is not None:  # it was found before a crash, and what was begun has to come to its end
        judged_reason = attempt.way_back.reason
    if not judged_reason:
        met = e.CriteriaMet.model_validate(common)
        return journal.record(key, met, beside=[*close_cause(journal), *_mark_reverted(journal)])
    if attempt.main_moved is not None or attempt.units:
        lock.keep(journal, judged_reason, stage.repository.main())
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
    After an interruption: from when the lock was held again.
    """
    attempt = journal.ticket.attempt
    swapped = [wait.opened_at for swap in attempt.swaps[-1:] for wait in swap.waits if wait.what.startswith("gate of ")]
    start = swapped[0] if swapped else attempt.deployed_at or attempt.nothing_at or journal.clock.now()
    start = attempt.verified_from or start
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
    left = left_to_others(journal, stage.operator.slos, stage.operator.invariants)
    probed = {number for number, one in enumerate(admitted.criteria) if _kind(stage, one) == "probe"}
    at_ticks: list[list[e.JudgedCriterion]] = []
    for ticks_left in range(stage.policy.ticks - 1, -1, -1):
        at = window.end - timedelta(seconds=ticks_left * TICK_S)
        await journal.clock.sleep(max(0.0, (at - journal.clock.now()).total_seconds()))
        at_ticks.append(
            [
                (await _criterion(stage, one, Window(window.start, at), left))[0]
                for number, one in enumerate(admitted.criteria)
                if number not in probed
            ]
        )
    judged = [_at_all([tick[number] for tick in at_ticks]) for number in range(len(at_ticks[-1]))]
    waits: tuple[e.Wait, ...] = ()
    for number in sorted(probed):
        at_the_end, waited = await _criterion(stage, admitted.criteria[number], window, left)
        judged.insert(number, at_the_end)
        waits += waited
    return judged, waits


def _kind(stage: Stage, one: e.FrozenCriterion) -> str:
    return declared(stage.manifest, one.metric).kind


async def _criterion(
    stage: Stage, frozen: e.FrozenCriterion, window: Window, left: Left
) -> tuple[e.JudgedCriterion, tuple[e.Wait, ...]]:
    bench = Bench(stage.checks, stage.repository.main())
    measured, waits = await measure_anywhere(stage.metrics, stage.manifest, frozen.metric, window, bench)
    spec = Criterion(metric=frozen.metric, condition=frozen.condition, duration=frozen.duration).spec()
    baseline = frozen.baseline.value if frozen.baseline else None
    direction = declared(stage.manifest, frozen.metric).direction
    met = spec.condition.holds(measured.value, baseline, direction)
    left_to = None
    if met is False and (its := left.get((frozen.metric, frozen.condition))) is not None:
        effect = stage.operator.profile.canary.clustering(frozen.metric)
        left_to = others.judged(its[0], frozen.condition, its[1], measured, direction, effect)
    judged = e.JudgedCriterion(
        metric=frozen.metric, condition=frozen.condition, duration=frozen.duration, measured=measured, met=met,
        left_to=left_to,
    )  # fmt: skip
    return judged, waits


def _at_all(ticks: Sequence[e.JudgedCriterion]) -> e.JudgedCriterion:
    """The criterion as of the last tick, met or passed over only where it was at every one of them."""
    last, met = ticks[-1], _all(one.met for one in ticks)
    left_to = next((one.left_to for one in reversed(ticks) if one.left_to is not None), None)
    if left_to is not None:
        left_to = left_to.model_copy(update={"no_worse": _all(one.passes for one in ticks)})
    return last.model_copy(update={"met": met, "left_to": left_to if met is not True else None})


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
    if one.measured.value is None:
        return "not measured"
    seen = f"{one.measured.value:.4g} measured"
    if one.left_to is None:
        return seen
    return f"{seen}, which is worse than {one.left_to.before.value:.4g} before (left to {one.left_to.ticket_id})"


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
