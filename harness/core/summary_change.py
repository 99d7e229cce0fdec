"""One attempt as a week's summary tells it: intent, evidence before and after, gates, time, how it ended. Pure."""

from __future__ import annotations

from typing import Any, Final

from harness.core import events as e
from harness.core.canonical import canonical_bytes
from harness.core.case import Body, Case, History, cut, find, title
from harness.core.lifecycle import LIVE
from harness.core.record import Recorded
from harness.core.spending import cost_of
from harness.core.timeline import phases
from harness.core.trajectory import AGENT_EVENTS

DIFF_CHARS: Final = 16_000

_STOPS: Final[dict[type[e.Event], str]] = {
    e.ChecksFailed: "test", e.CanaryFailed: "canary", e.DeployFailed: "deploy", e.CriteriaNotMet: "verify",
}  # fmt: skip
_GATES: Final[tuple[tuple[str, tuple[type[e.Event], ...]], ...]] = (
    ("admit", (e.TicketAdmitted,)),
    ("test", (e.ChecksPassed, e.ChecksFailed)),
    ("canary", (e.CanaryPassed, e.CanaryFailed)),
    ("deploy", (e.ReleaseDeployed, e.DeployFailed)),
    ("verify", (e.CriteriaMet, e.CriteriaNotMet)),
)


def change(case: Case, chapter: History, body: Body) -> dict[str, Any]:
    """One attempt: what it wanted, what it did, what every gate saw, and how it ended."""
    filed, _ = case.rows[0]
    row, started = chapter[0]
    assert isinstance(started, e.AttemptStarted)
    proposed = find(chapter, e.ChangeProposed)
    said = body(proposed[1].summary) if proposed else {}
    operation = proposed[1].operation if proposed else None
    outcome, stop = _ended(case, chapter, body)
    return {
        "ticket": case.ticket.id, "title": title(case, body), "type": case.ticket.filed.type,
        "priority": case.ticket.filed.priority, "service": case.ticket.filed.service,
        "state": str(case.ticket.state), "filed_position": filed.position, "signal": _signal(case, body),
        "attempt": started.attempt, "agent": started.agent, "runbook": started.runbook,
        "started_position": row.position,
        "commit": proposed[1].commit if proposed else None, "base": started.base,
        "kind": proposed[1].kind if proposed else None,
        "summary": cut(str(said["summary"])) if proposed else None,
        "predicted_effect": cut(str(said["predicted_effect"])) if proposed else None,
        "proposed_position": proposed[0].position if proposed else None,
        "diff": _diff(proposed[1].diff, body) if proposed else None,
        "reasoning_positions": [r.position for r, event in chapter if isinstance(event, AGENT_EVENTS)],
        "gates": _gates(case, chapter),
        "evidence": _evidence(case, chapter),
        "arms": _arms(case, chapter),
        "phases": _phases(case),
        "seconds": took_s(case),
        "cost": cost_of(case.ticket),
        "approved_by": [
            {"by": cut(event.by), "position": r.position}
            for r, event in chapter
            if isinstance(event, e.ApprovalGranted)
        ],
        "outcome": outcome, "stop": stop,
        # What an operation did is reversed by another action of the service's catalog.
        "revert": f"harness ticket revert {case.ticket.id}" if outcome == "stands" and not operation else None,
        "operation": operation.model_dump() if operation else None,
    }  # fmt: skip


def _ended(case: Case, chapter: History, body: Body) -> tuple[str, dict[str, Any] | None]:
    """(how the attempt ended, what stopped it): by the last event that decides."""
    decided = find(chapter, *_STOPS, e.RollbackFailed, e.CriteriaMet, e.ChangeReverted)
    if decided is None:
        if asked := find(chapter, e.HelpRequested):
            return "asked", _stop("work", str(body(asked[1].question)["question"]), asked[0])
        return ("under way" if case.ticket.state in LIVE else "left"), None
    row, event = decided
    match event:
        case e.ChangeReverted():
            return "reverted", _stop("later", f"taken back by ticket {event.by_ticket}", row)
        case e.CriteriaMet():
            return ("stands" if find(chapter, e.ChangeProposed) else "nothing to change"), None
        case e.RollbackFailed():
            return "stopped", _stop("rollback", f"the way back failed: {event.reason}", row)
    if isinstance(event, e.CriteriaNotMet) and event.kept:
        return "stopped", _stop("verify", f"better than before and kept, but not enough: {event.reason}", row)
    back = find(chapter, e.RolledBack)
    return "stopped", _stop(_STOPS[type(event)], str(getattr(event, "reason", "")), row, back[0] if back else None)


def _stop(stage: str, reason: str, row: Recorded, back: Recorded | None = None) -> dict[str, Any]:
    back_position = back.position if back else None
    return {"stage": stage, "reason": cut(reason), "position": row.position, "back_position": back_position}


def _signal(case: Case, body: Body) -> dict[str, Any] | None:
    if not case.signal:
        return None
    row, event = case.signal[0]
    assert isinstance(event, e.SignalStarted)
    evidence = body(event.evidence)
    return {
        "kind": event.kind, "name": event.name, "reason": cut(str(evidence.get("reason"))),
        "at": row.occurred_at.isoformat(), "position": row.position,
    }  # fmt: skip


def _diff(ref: str, body: Body) -> dict[str, Any]:
    """The diff with its size; a long one is cut at a line."""
    written = body(ref)
    # An operation has no text that changes: it is told as the units in which it will be done.
    text = str(written["text"]) if "text" in written else canonical_bytes(written).decode()
    lines = text.splitlines()
    shown = text if len(text) <= DIFF_CHARS else text[: text.rfind("\n", 0, DIFF_CHARS) + 1] or text[:DIFF_CHARS]
    return {
        "blob": ref, "text": shown, "left_out_chars": len(text) - len(shown),
        "added": sum(line.startswith("+") and not line.startswith("+++") for line in lines),
        "removed": sum(line.startswith("-") and not line.startswith("---") for line in lines),
    }  # fmt: skip


def _gates(case: Case, chapter: History) -> list[dict[str, Any]]:
    """What each gate said, None for one that was not reached."""
    gates = []
    for stage, kinds in _GATES:
        found = find(case.rows if stage == "admit" else chapter, *kinds)
        passed = isinstance(found[1], kinds[0]) if found else None
        gates.append({"stage": stage, "passed": passed, "position": found[0].position if found else None})
    return gates


def _evidence(case: Case, chapter: History) -> list[dict[str, Any]]:
    """Each criterion before the signal, at admission, and after the change; None where nothing was measured."""
    admitted, verified = find(case.rows, e.TicketAdmitted), find(chapter, e.CriteriaMet, e.CriteriaNotMet)
    if admitted is None:
        return []
    sick = {one.metric: one for one in admitted[1].sick}
    judged = verified[1] if verified else None
    after = {one.metric: one for one in judged.criteria} if isinstance(judged, e.CriteriaMet | e.CriteriaNotMet) else {}
    return [
        {
            "metric": one.metric, "condition": one.condition, "duration": one.duration,
            "before": _measured(one.baseline), "at_admission": _measured(sick.get(one.metric)),
            "after": _measured(after[one.metric].measured if one.metric in after else None),
            "met": after[one.metric].met if one.metric in after else None,
            "left_to": left.ticket_id if one.metric in after and (left := after[one.metric].left_to) else None,
            "admitted_position": admitted[0].position, "verified_position": verified[0].position if verified else None,
        }
        for one in admitted[1].criteria
    ]  # fmt: skip


def _measured(one: e.Measurement | None) -> dict[str, Any] | None:
    if one is None:
        return None
    window_s = round((one.window_to - one.window_from).total_seconds(), 3)
    return {"value": one.value, "samples": one.samples, "window_s": window_s, "query": one.query}


def _arms(case: Case, chapter: History) -> dict[str, Any] | None:
    """The canary's last counts of the ticket's own metric."""
    looked, admitted = find(chapter, e.CanaryLooked), case.ticket.admitted
    if looked is None or admitted is None:
        return None
    own = next((one for one in looked[1].counts if one.metric == admitted.criteria[0].metric), None)
    if own is None:
        return None
    return {
        "metric": own.metric, "position": looked[0].position, "look": looked[1].look,
        "canary": own.canary_bad / own.canary_total if own.canary_total else None, "canary_total": own.canary_total,
        "baseline": own.baseline_bad / own.baseline_total if own.baseline_total else None,
        "baseline_total": own.baseline_total,
    }  # fmt: skip


def _phases(case: Case) -> list[dict[str, Any]]:
    filed = case.ticket.filed
    waits = [wait for _, event in case.signal if isinstance(event, e.SignalStarted) for wait in event.waits]
    spent = phases(
        [(row.occurred_at, event) for row, event in case.rows],
        began_at=filed.signal_began_at or case.ticket.filed_at, signal_waits=waits,
    )  # fmt: skip
    return [{"name": one.name, "seconds": round(one.seconds, 3), "waiting_s": round(one.waiting_s, 3)} for one in spent]


def took_s(case: Case) -> float | None:
    """From the earliest moment of the cause to the end; None while the ticket lives."""
    if case.ticket.closed_at is None:
        return None
    return round(
        (case.ticket.closed_at - (case.ticket.filed.signal_began_at or case.ticket.filed_at)).total_seconds(), 3
    )
