"""VERIFY: every criterion over its window of live traffic after the last swap, against the frozen baseline.

Touches the ledger; reads metrics. Takes the change back when the criteria do not hold, or what users were promised,
unless what the ticket is about is better than before and all else holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from harness import lock
from harness.cause import close_cause
from harness.core import events as e
from harness.core import others
from harness.core.contract import Kept
from harness.core.criteria import Condition
from harness.core.errors import Retryable
from harness.core.ids import ticket_stream
from harness.core.lifecycle import State
from harness.core.policy import Verify
from harness.core.record import StreamWrite
from harness.core.regression import held
from harness.core.ticket_spec import Criterion
from harness.core.units import Quantity
from harness.core.verification import Outcome, is_better, judge, middle
from harness.journal import HARNESS, Journal, encode
from harness.measure import Bench, Window, declared, live, measure, measure_anywhere, measure_by_probe
from harness.operation_units import undo
from harness.operator import Operator, overspend_of
from harness.others import Left, left_to_others
from harness.rollout import roll_back
from harness.stall import give_up
from harness.start import note_start

TICK_S = 1.0
PAIRS = 3
"""Of a probe that compares: two runs differ by about 5 %, and what disturbs the machine meets both of a pair."""
REST_S, RESTS = 60.0, 50
"""Between two looks at the ledger within a long window: a minute, or this part of what is left of it."""


def due_in_s(journal: Journal, policy: Verify) -> float:
    """How long there is nothing to do yet: a window may last for hours, and a person may stop the ticket meanwhile."""
    if journal.ticket.attempt.way_back is not None:
        return 0.0
    ends_at = _window(journal, policy).end - timedelta(seconds=policy.ticks * TICK_S)
    return (ends_at - journal.clock.now()).total_seconds()


def rest_s(due_s: float) -> float:
    """How long to rest until the ledger is asked again: now and then, for the verification may be interrupted."""
    return max(0.0, min(due_s, max(REST_S, due_s / RESTS)))


async def is_overspent(journal: Journal, operator: Operator) -> bool:
    """Whether the rest of the window need not be waited for, as too much of an error budget is spent."""
    return bool(await overspend_of(journal, operator).judge_if_readable())


async def verify(journal: Journal, operator: Operator) -> e.CriteriaMet | e.CriteriaNotMet | e.RollbackFailed:
    """Judge the criteria at each of the last ticks of the window; all have to hold at all of them."""
    attempt = journal.ticket.attempt
    n, key = attempt.n, f"{attempt.n}/verify"
    if done := journal.recorded(key, e.Event):
        assert isinstance(done, e.CriteriaMet | e.CriteriaNotMet | e.RollbackFailed)
        return done
    policy = operator.profile.verify
    window = _window(journal, policy)
    wait = e.Wait(kind="query_window", what="verification", opened_at=window.start, closed_at=window.end)
    spend = overspend_of(journal, operator)
    common: dict[str, Any] = {"attempt": n, "window_s": window.seconds, "waits": (wait,)}
    try:
        if attempt.change is None:  # it touches nothing, so that what it finds is how it was
            await note_start(journal, operator)
        over = await spend.judge()
        judged, waits = (list(_unmeasured(journal, window)), ()) if over else await _judge(journal, operator, window)
        over = over or await spend.judge()
        shown, promises = await _shown(operator, judged, window), await _promises(journal, operator, window)
    except Retryable as error:
        outcome = Outcome(give_up(journal, operator.profile.stall_s, error))
        common |= {"criteria": _unmeasured(journal, window), "shown": (), "samples": 0}
    else:
        counted = [
            one
            for one in (*(each.measured for each in judged), *shown)
            if declared(operator.manifest, one.metric).kind == "ratio"
        ]
        samples = min((one.samples for one in counted if one.samples is not None), default=0)
        common |= {
            "criteria": tuple(judged), "shown": shown, "promises": promises, "samples": samples,
            "waits": (wait, *waits),
        }  # fmt: skip
        outcome = judge(
            judged, promises, samples=samples, min_samples=policy.min_samples,
            improved=_improved(journal, operator, judged[0]),
        )  # fmt: skip
        outcome = Outcome(over) if over else outcome
    if attempt.way_back is not None:  # it was found before a crash, and what was begun has to come to its end
        outcome = Outcome(attempt.way_back.reason)
    if not outcome.reason:
        await spend.end()
        met = e.CriteriaMet.model_validate(common)
        return journal.record(key, met, beside=[*close_cause(journal), *_mark_reverted(journal)])
    served = attempt.main_moved is not None or bool(attempt.units)
    if served and not outcome.kept:
        lock.keep(journal, outcome.reason, operator.repository.main())
    if attempt.main_moved is not None and not outcome.kept:
        back = await roll_back(journal, operator, operator.nodes.names(), outcome.reason)
        if isinstance(back, e.RollbackFailed):
            return back
    if attempt.units and not outcome.kept:
        undone = await undo(journal, operator, outcome.reason)
        if isinstance(undone, e.RollbackFailed):
            return undone
    await spend.end()
    told = {"reason": outcome.reason, "kept": outcome.kept and served}
    return journal.record(key, e.CriteriaNotMet.model_validate({**common, **told}))


async def _promises(journal: Journal, operator: Operator, window: Window) -> tuple[e.JudgedCriterion, ...]:
    """What users were promised, after the change; who changed nothing has broken nothing."""
    attempt = journal.ticket.attempt
    begun = [step.at for step in attempt.canary_steps[:1]] + [unit.at for unit in attempt.units[:1]]
    if attempt.main_moved is None and not attempt.units:
        return ()
    policy, judged = operator.profile.canary, []
    for promise in operator.promises:
        measured = await measure(operator.metrics, operator.manifest, promise.metric, window)
        earlier = Window.before(begun[0], window.seconds) if begun else None
        was = await measure(operator.metrics, operator.manifest, promise.metric, earlier) if earlier else None
        kept = Kept(promise, was, measured, policy.clustering(promise.metric), policy.alpha)
        judged.append(
            e.JudgedCriterion(
                metric=promise.metric, condition=kept.condition, duration=Quantity(window.seconds, "s").text,
                measured=measured, met=kept.met, compared=kept.compared,
            )
        )  # fmt: skip
    return tuple(judged)


def _improved(journal: Journal, operator: Operator, target: e.JudgedCriterion) -> bool:
    """Whether what the ticket is about is better than it was at admission: then the service was as sick as it was."""
    admitted = journal.ticket.admitted
    assert admitted is not None
    sick = [one for one in admitted.sick if one.metric == target.metric and one.value is not None]
    frozen = [one.baseline for one in admitted.criteria if one.metric == target.metric]
    before = target.beside or (sick[0] if sick else (None if journal.ticket.filed.signal else frozen[0]))
    policy, direction = operator.profile.canary, declared(operator.manifest, target.metric).direction
    effect = policy.clustering(target.metric)
    return is_better(before, target.measured, direction, design_effect=effect, alpha=policy.alpha)


def _unmeasured(journal: Journal, window: Window) -> tuple[e.JudgedCriterion, ...]:
    admitted = journal.ticket.admitted
    assert admitted is not None
    nothing = {"query": "", "window_from": window.start, "window_to": window.end, "value": None, "samples": None}
    return tuple(
        e.JudgedCriterion(
            metric=one.metric, condition=one.condition, duration=one.duration, met=None,
            measured=e.Measurement.model_validate({"metric": one.metric, **nothing}),
        )
        for one in admitted.criteria
    )  # fmt: skip


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


async def _judge(
    journal: Journal, operator: Operator, window: Window
) -> tuple[list[e.JudgedCriterion], tuple[e.Wait, ...]]:
    """Each criterion as it was at all of the last ticks, and what was waited for beside the window.

    A probe measures the release that is served, not its traffic: it runs once, at the end.
    """
    admitted = journal.ticket.admitted
    assert admitted is not None
    left = left_to_others(journal, operator.slos, operator.invariants)
    probed = {
        number for number, one in enumerate(admitted.criteria) if declared(operator.manifest, one.metric).of_tree
    }  # fmt: skip
    at_ticks: list[list[e.JudgedCriterion]] = []
    for ticks_left in range(operator.profile.verify.ticks - 1, -1, -1):
        at = window.end - timedelta(seconds=ticks_left * TICK_S)
        await journal.clock.sleep(max(0.0, (at - journal.clock.now()).total_seconds()))
        at_ticks.append(
            [
                (await _criterion(operator, one, Window(window.start, at), left))[0]
                for number, one in enumerate(admitted.criteria)
                if number not in probed
            ]
        )
    judged = [_at_all([tick[number] for tick in at_ticks]) for number in range(len(at_ticks[-1]))]
    waits: tuple[e.Wait, ...] = ()
    for number in sorted(probed):
        at_the_end, waited = await _probed(journal, operator, admitted.criteria[number], window, left)
        judged.insert(number, at_the_end)
        waits += waited
    return judged, waits


async def _probed(
    journal: Journal, operator: Operator, frozen: e.FrozenCriterion, window: Window, left: Left
) -> tuple[e.JudgedCriterion, tuple[e.Wait, ...]]:
    """A criterion on a probe. One that compares is measured in pairs, without the change and with it, and the pair in
    the middle counts: since admission the machine itself may have become slower or faster."""
    condition = Condition.parse(frozen.condition)
    pairs, waits = list[tuple[e.Measurement, e.Measurement]](), tuple[e.Wait, ...]()
    if condition.needs_baseline and frozen.baseline is not None and frozen.baseline.value is not None:
        pairs, waits = await _pairs(journal, operator, frozen.metric)
    if (pair := middle(pairs)) is None:  # nothing to compare with: as it is
        judged, waited = await _criterion(operator, frozen, window, left)
        return judged, (*waits, *waited)
    without, with_it = pair
    met = condition.holds(with_it.value, without.value, declared(operator.manifest, frozen.metric).direction)
    judged = e.JudgedCriterion(
        metric=frozen.metric, condition=frozen.condition, duration=frozen.duration, measured=with_it, met=met,
        beside=without,
    )  # fmt: skip
    return judged, waits


async def _pairs(
    journal: Journal, operator: Operator, metric: str
) -> tuple[list[tuple[e.Measurement, e.Measurement]], tuple[e.Wait, ...]]:
    """Of a probe, without what the ticket changed and still stands, and with it.

    Where nothing stands it is what was served when the ticket was begun, and what is served now. Where both are the
    same tree, one run is both: two would differ by the machine alone.
    """
    attempts, repository = journal.ticket.attempts, operator.repository
    standing = [one.main_moved for one in attempts if one.main_moved is not None and one.rolled_back is None]
    before = standing[0].before if standing else attempts[0].base
    moved = journal.ticket.attempt.main_moved
    after = moved.after if moved is not None else repository.main()
    same = repository.tree(before) == repository.tree(after)
    pairs: list[tuple[e.Measurement, e.Measurement]] = []
    waits: tuple[e.Wait, ...] = ()
    for _ in range(1 if same else PAIRS):
        without, waited = await measure_by_probe(operator.manifest, metric, Bench(operator.checks, before))
        with_it, waits = without, (*waits, *waited)
        if not same:
            with_it, waited = await measure_by_probe(operator.manifest, metric, Bench(operator.checks, after))
            waits += waited
        pairs.append((without, with_it))
    return pairs, waits


async def _criterion(
    operator: Operator, frozen: e.FrozenCriterion, window: Window, left: Left
) -> tuple[e.JudgedCriterion, tuple[e.Wait, ...]]:
    bench = Bench(operator.checks, operator.repository.main())
    measured, waits = await measure_anywhere(operator.metrics, operator.manifest, frozen.metric, window, bench)
    spec = Criterion(metric=frozen.metric, condition=frozen.condition, duration=frozen.duration).spec()
    metric, policy, left_to = declared(operator.manifest, frozen.metric), operator.profile.canary, None
    met, compared = held(
        spec.condition, frozen.baseline, measured, metric, design_effect=policy.design_effect.get(frozen.metric, 1.0),
        alpha=policy.alpha,
    )  # fmt: skip
    if met is False and (its := left.get((frozen.metric, frozen.condition))) is not None:
        left_to = others.judged(its[0], frozen.condition, its[1], measured, metric, policy.clustering(frozen.metric))
    judged = e.JudgedCriterion(
        metric=frozen.metric, condition=frozen.condition, duration=frozen.duration, measured=measured, met=met,
        left_to=left_to, compared=compared,
    )  # fmt: skip
    return judged, waits


def _at_all(ticks: Sequence[e.JudgedCriterion]) -> e.JudgedCriterion:
    """The criterion as of the last tick, met or passed over only where it was at every one of them."""
    last, met = ticks[-1], _all(one.met for one in ticks)
    left_to = next((one.left_to for one in reversed(ticks) if one.left_to is not None), None)
    if left_to is not None:
        left_to = left_to.model_copy(update={"no_worse": _all(one.passes for one in ticks)})
    compared = next((one.compared for one in reversed(ticks) if one.met is met), None)
    return last.model_copy(update={"met": met, "left_to": left_to if met is not True else None, "compared": compared})


async def _shown(operator: Operator, judged: list[e.JudgedCriterion], window: Window) -> tuple[e.Measurement, ...]:
    """Metrics that are no criterion of this ticket: what else people want to see before and after."""
    names = {one.metric for one in judged}
    return tuple(
        [
            await measure(operator.metrics, operator.manifest, name, window)
            for name in live(operator.manifest)
            if name not in names
        ]
    )


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """False if any is, else None if any is unmeasured, else True."""
    seen = list(verdicts)
    return False if False in seen else None if None in seen else True


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
