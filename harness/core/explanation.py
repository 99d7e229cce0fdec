"""Why a ticket went as it went: each event with the evidence that it rests on, under the question it answers. Pure.

Touches nothing. Everything is in the ledger and its blobs: queries, windows, samples, values, verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.core import events as e
from harness.core.case import Body, cut
from harness.core.dropping import bare
from harness.core.record import Recorded
from harness.core.regression import told

OUTPUT_CHARS: Final = 2_000
ANSWER_CHARS: Final = 4_000


@dataclass(frozen=True, slots=True)
class Question:
    """What the reader asks; ``attempt`` 0: about the ticket as a whole."""

    attempt: int
    about: str
    """`ticket`, `change`, `test`, `canary`, `deploy` or `verify`."""


_ABOUT: Final[dict[str, tuple[type[e.Event], ...]]] = {
    "ticket": (
        e.SignalStarted, e.AlertsTold, e.TicketFiled, e.ParentNamed, e.SignalGrouped, e.TicketAdmitted,
        e.TicketRejected, e.TicketMerged, e.WindowAwaited, e.WindowOpened,
    ),
    "change": (
        e.AttemptStarted, e.ActionTaken, e.ObservationRecorded, e.ChangeProposed, e.NothingToChange, e.HelpRequested,
        e.AnswerGiven, e.TakenOver, e.TicketSplit, e.ChildrenEnded,
    ),
    "test": (e.DeliveryQueued, e.DeliveryBlocked, e.LockAcquired, e.ChecksPassed, e.ChecksFailed),
    "canary": (e.StartMeasured, e.CanaryStarted, e.CanaryStepped, e.CanaryLooked, e.CanaryPassed, e.CanaryFailed),
    "deploy": (e.MainMoved, e.NodeSwapped, e.ReleaseDeployed, e.DeployFailed),
    "verify": (e.VerificationInterrupted, e.WayBackBegun, e.CriteriaMet, e.CriteriaNotMet, e.ChangeReverted),
}  # fmt: skip
"""What else happens (a lock given back, a way back, a pause) belongs to the question that was open."""
_DECIDES: Final[dict[type[e.Event], str]] = {
    e.TicketAdmitted: "admitted", e.TicketRejected: "rejected", e.ChangeProposed: "proposed",
    e.NothingToChange: "nothing to change", e.TicketSplit: "split",
    e.HelpRequested: "a person was called", e.ChecksPassed: "let it through",
    e.ChecksFailed: "stopped it", e.CanaryPassed: "let it through", e.CanaryFailed: "stopped it",
    e.ReleaseDeployed: "let it through", e.DeployFailed: "stopped it", e.CriteriaMet: "let it through",
    e.CriteriaNotMet: "took it back", e.RollbackFailed: "the way back failed",
}  # fmt: skip


def questions(history: Sequence[tuple[Recorded, e.Event]]) -> dict[int, Question]:
    """Position → the question that the event answers, in the order of the history."""
    asked: dict[int, Question] = {}
    attempt, about, delivers = 0, "ticket", True
    for row, event in history:
        if isinstance(event, e.AttemptStarted):
            attempt, delivers = event.attempt, True
        elif isinstance(event, e.NothingToChange):
            delivers = False
        before, about = about, next((name for name, kinds in _ABOUT.items() if isinstance(event, kinds)), about)
        if isinstance(event, e.LockAcquired | e.StartMeasured) and (before == "verify" or not delivers):
            about = "verify"  # it verifies anew, or has nothing to deliver
        if isinstance(event, e.OperationStepped) and not event.back:
            about = "canary" if event.ordinal == 1 else "deploy"
        if isinstance(event, e.GateJudged) and event.stage != "rollback":
            about = event.stage
        asked[row.position] = Question(attempt if about != "ticket" else 0, about)
    return asked


def decided(event: e.Event) -> str | None:
    """How the event answers its question; None for one that only adds evidence."""
    if isinstance(event, e.CriteriaNotMet) and event.kept:
        return "not enough, and kept"
    return _DECIDES.get(type(event))


def evidence(event: e.Event, body: Body) -> list[dict[str, Any]]:
    """What the event rests on: each with its ``kind`` and the values of that kind."""
    return [*_evidence(event, body), *_waits(event)]


def _evidence(event: e.Event, body: Body) -> Iterator[dict[str, Any]]:
    match event:
        case e.SignalStarted():
            told = body(event.evidence)
            for one in told.get("burn") or []:
                yield {"kind": "burn", "window_s": one["window_s"], "rate": one["rate"], "target": told.get("target")}
            if "value" in told:
                yield {"kind": "value", "name": event.name, "value": told["value"]}
        case e.TicketAdmitted():
            sick = {one.metric: one for one in event.sick}
            for criterion in event.criteria:
                wanted = {"condition": criterion.condition, "duration": criterion.duration}
                yield _measurement("before", criterion.baseline, metric=criterion.metric, **wanted)
                yield _measurement("at admission", sick.get(criterion.metric), metric=criterion.metric, **wanted)
            yield {"kind": "rules", "sha256": event.policy, "attempts_allowed": event.attempts_allowed}
        case e.ObservationRecorded():
            yield from _answer(event, body(event.body))
        case e.ChangeProposed():
            yield {"kind": "change", "commit": event.commit, "base": event.base, "branch": event.branch,
                   "diff": event.diff}  # fmt: skip
    yield from _gate(event, body)
    yield from _left(getattr(event, "left_to", ()))


def _left(ones: Sequence[e.LeftTo]) -> Iterator[dict[str, Any]]:
    """What another ticket is there to restore, and whether it got worse meanwhile."""
    for one in ones:
        yield {
            "kind": "left", "to": one.ticket_id, "metric": one.metric, "condition": one.condition,
            "before": one.before.model_dump(mode="json"), "now": one.now.model_dump(mode="json"),
            "no_worse": one.no_worse,
        }  # fmt: skip


def _gate(event: e.Event, body: Body) -> Iterator[dict[str, Any]]:
    match event:
        case e.ChecksPassed() | e.ChecksFailed():
            for check in event.outcomes:
                yield {
                    "kind": "check", "name": check.name, "passed": check.passed, "exit_code": check.exit_code,
                    "seconds": round(check.seconds, 3), "tests_passed": check.tests_passed, "output": check.output,
                    "output_end": None if check.passed else str(body(check.output)["text"])[-OUTPUT_CHARS:],
                }  # fmt: skip
        case e.CanaryStarted():
            yield {"kind": "plan", "canary": event.canary, "baseline": event.baseline, "node": event.node,
                   "planned_per_arm": event.planned_per_arm, "no_limit": event.no_limit}  # fmt: skip
        case e.StartMeasured():
            for seen in event.measured:
                yield _measurement("right before", seen, metric=seen.metric)
        case e.GateJudged():
            for one in event.invariants:
                yield _measurement(f"gate {event.side} {event.stage}", one.measured, metric=one.metric,
                                   condition=one.condition, duration=one.duration, met=one.met)  # fmt: skip
                yield from _left((one.left_to,) if one.left_to else ())
        case e.BudgetSpendJudged():
            for spend in event.objectives:
                yield {"kind": "error_budget_spend", "at_most": event.at_most, **spend.model_dump(mode="json")}
        case e.OperationStepped():
            for metric, allowed in event.limits.items():
                yield {"kind": "limit", "metric": metric, "allowed": allowed}
        case e.CanaryLooked():
            for count in event.counts:
                yield {"kind": "count", **count.model_dump()}
        case e.CanaryPassed() | e.CanaryFailed():
            for verdict in event.verdicts:
                yield {"kind": "verdict", **verdict.model_dump(), "looks": event.looks, "alpha": event.alpha,
                       "per_arm": event.per_arm, "keys": event.keys}  # fmt: skip
        case e.CriteriaMet() | e.CriteriaNotMet():
            for one in event.criteria:
                yield _measurement(
                    "after",
                    one.measured,
                    metric=one.metric,
                    condition=one.condition,
                    duration=one.duration,
                    met=one.met,
                )
                yield from _compared(one)
                if one.beside is not None:
                    yield _measurement("without the change", one.beside, metric=one.metric)
                yield from _left((one.left_to,) if one.left_to else ())
            for promised in event.promises:
                yield _measurement("promised", promised.measured, metric=promised.metric, condition=promised.condition,
                                   duration=promised.duration, met=promised.met)  # fmt: skip
                yield from _compared(promised)
            for shown in event.shown:
                yield _measurement("shown", shown, metric=shown.metric)


def _compared(one: e.JudgedCriterion) -> Iterator[dict[str, Any]]:
    if one.compared is not None:
        words = told(one.compared, one.met)
        yield {"kind": "compared", "metric": one.metric, "told": words, **one.compared.model_dump(mode="json")}


def _measurement(role: str, one: e.Measurement | None, **more: Any) -> dict[str, Any]:
    """A metric with its query, window, samples and value; None where nothing was measured."""
    measured = (
        one.model_dump(mode="json") if one else dict.fromkeys(("query", "window_from", "window_to", "value", "samples"))
    )
    return {"kind": "measurement", "role": role, **measured, **more}


def _answer(event: e.ObservationRecorded, answer: Any) -> Iterator[dict[str, Any]]:
    answer = bare(answer)
    if isinstance(answer, Mapping) and {"query", "window_from", "window_to", "value"} <= set(answer):
        yield {"kind": "measurement", "role": "seen by the agent", **answer}
    else:
        yield {"kind": "answer", "ok": event.ok, "blob": event.body, "body": _short(answer)}


def _short(value: Any) -> Any:
    """The same JSON with its texts cut: a whole one is in the blob."""
    if isinstance(value, str):
        return cut(value, ANSWER_CHARS)
    if isinstance(value, Mapping):
        return {key: _short(inner) for key, inner in value.items()}
    return [_short(inner) for inner in value] if isinstance(value, list) else value


def _waits(event: e.Event) -> Iterator[dict[str, Any]]:
    for wait in getattr(event, "waits", ()):
        yield {
            "kind": "wait", "for": wait.kind, "what": wait.what, "from": wait.opened_at.isoformat(),
            "to": wait.closed_at.isoformat(), "seconds": round((wait.closed_at - wait.opened_at).total_seconds(), 3),
        }  # fmt: skip
