"""What a canary came to, in the words of its events: verdicts, and what was waited for. Pure, touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from harness.core import canary as judge
from harness.core import events as e
from harness.core.canary_plan import smaller_arm
from harness.core.deployment import NodeAnswer
from harness.core.policy import Canary
from harness.core.ticket import Attempt


def per_arm(looks: Sequence[e.CanaryLooked]) -> int:
    """Requests of the smaller arm at the last look."""
    return smaller_arm(looks[-1].counts) if looks else 0


def verdicts(
    plan: judge.DeliveryPlan, verdict: judge.StageVerdict | None, looks: Sequence[e.CanaryLooked]
) -> tuple[e.MetricVerdict, ...]:
    """What the judge said of each metric, and the smallest harm that its guard would have shown."""
    if verdict is None:
        return ()
    guards = {guard.metric: guard for guard in plan.guards}
    rates = {c.metric: c.baseline_bad / c.baseline_total for c in looks[-1].counts if c.baseline_total} if looks else {}
    return tuple(
        e.MetricVerdict(
            metric=each.metric, role=each.role, verdict=each.judged.verdict, reason=each.judged.reason,
            p_value=each.judged.p_value, effect=each.judged.effect, decided_at_look=each.judged.decided_at_look,
            smallest_harm=(
                plan.smallest_harm(guards[each.metric], rates[each.metric])
                if each.role == "guard" and each.metric in rates
                else None
            ),
        )
        for each in verdict.metrics
    )  # fmt: skip


def windows(policy: Canary, attempt: Attempt) -> list[e.Wait]:
    """What the steps were held for. A step that went on for longer because its worker was away waited for nothing."""
    steps, waits = attempt.canary_steps, []
    for number, step in enumerate(steps if attempt.looks else ()):
        closes_at = step.at + timedelta(seconds=policy.steps[number].hold_s)
        if number == len(steps) - 1:  # the last sample comes after its end, and may be asked more time for
            closes_at = min(attempt.looks[-1].window_to, closes_at + timedelta(seconds=policy.extension_s))
        what = f"canary sample, step {step.step}"
        waits.append(e.Wait(kind="query_window", what=what, opened_at=step.at, closed_at=max(step.at, closes_at)))
    return waits


def drains(gone: Sequence[NodeAnswer]) -> list[e.Wait]:
    """How long the arms were drained."""
    return [
        e.Wait(kind="drain", what=f"{answer.node}: arm", opened_at=answer.drain_from, closed_at=answer.drain_to)
        for answer in gone
        if answer.drain_from and answer.drain_to
    ]


def start_wait(answer: NodeAnswer) -> e.Wait:
    """How long an arm took to answer."""
    return e.Wait(
        kind="start", what=f"release {(answer.commit or '')[:12]} on {answer.node}", opened_at=answer.started_at,
        closed_at=answer.ready_at or answer.ended_at,
    )  # fmt: skip
