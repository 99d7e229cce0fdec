"""The week in one document: what changed and why, what was stopped, what burnt, what is asked. Pure; touches nothing.

Every claim carries the position of the event that it rests on; ``events`` holds those events. What a ledger does not
say is None, never 0. Texts of any length come in; none that goes out is longer than its limit, and what was left out
is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, Final, TypeVar

from harness.core import events as e
from harness.core.lifecycle import LIVE, State
from harness.core.record import Head, Recorded
from harness.core.spending import cost_of
from harness.core.ticket import Ticket, fold
from harness.core.timeline import phases
from harness.core.week import Week

LINE_CHARS: Final = 600
QUESTION_CHARS: Final = 4_000
DIFF_CHARS: Final = 16_000

SESSION = (e.ActionTaken, e.ObservationRecorded)
History = Sequence[tuple[Recorded, e.Event]]
E = TypeVar("E", bound=e.Event)

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


@dataclass(frozen=True, slots=True)
class Case:
    """A ticket as of the end of the week: its rows, and those of the signal that raised it."""

    ticket: Ticket
    rows: History
    signal: History = ()

    def chapters(self) -> list[History]:
        """The rows of each attempt, AttemptStarted first."""
        starts = [number for number, (_, event) in enumerate(self.rows) if isinstance(event, e.AttemptStarted)]
        return [self.rows[start:end] for start, end in zip(starts, [*starts[1:], len(self.rows)], strict=True)]


@dataclass(slots=True)
class _Gathered:
    """One reading of the ledger, up to the end of the week, sorted by what it is about."""

    tickets: dict[str, list[tuple[Recorded, e.Event]]] = field(default_factory=dict)
    signals: list[tuple[Recorded, e.Event]] = field(default_factory=list)
    beats: list[e.WatchBeat] = field(default_factory=list)
    observed: list[tuple[Recorded, e.ReleaseObserved]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    """Of the events of the week itself."""


def summary(
    history: Iterable[tuple[Recorded, e.Event]],
    *,
    week: Week,
    head: Head,
    body: Callable[[str], Any],
    tell: Callable[[e.Event], str | None],
) -> dict[str, Any]:
    """The document of a week, from the whole ledger.

    Args:
        history: every row with its event, in order; those after the week are left out.
        head: the ledger's last event as it was read: the anchor.
        body: gives the JSON of a blob reference.
        tell: an event in a line for people; None for one that needs none.
    """
    gathered = _gather(history, week)
    cases = _cases(gathered)
    of_week = [case for case in cases if any(week.holds(row.occurred_at) for row, _ in case.rows)]
    tried = [
        _change(case, chapter, body)
        for case in of_week
        for chapter in case.chapters()
        if any(week.holds(row.occurred_at) for row, _ in chapter)
    ]
    document: dict[str, Any] = {
        "week": week.text, "from": week.start.isoformat(), "to": week.end.isoformat(),
        "services": sorted({case.ticket.filed.service for case in of_week}),
        "changes": [one for one in tried if one["outcome"] == "stands"],
        "stopped": [one for one in tried if one["outcome"] in ("stopped", "reverted")],
        "without_change": _without_change(of_week, body),
        "refused": _refused(of_week, week, body),
        "asks": [_ask(case, body) for case in of_week if case.ticket.state is State.ESCALATED],
        "open": [_open(case, body) for case in of_week if case.ticket.state in LIVE - {State.ESCALATED}],
        "objectives": _objectives(gathered, week, body),
        "other_hands": _other_hands(gathered, week),
        "watch": _watch(gathered),
        "counts": _counts(of_week, tried),
        "trend": {"this_week": _resolved(cases, week), "week_before": _resolved(cases, week.before)},
    }  # fmt: skip
    document["calm"] = not of_week and not any(one["signals"] for one in document["objectives"])
    document["headline"] = _headline(document)
    document["events"] = _cited(document, gathered, tell)
    document["ledger"] = {
        "head_position": head.position, "head_hash": head.hash, "events": len(gathered.positions),
        "first_position": min(gathered.positions, default=None), "last_position": max(gathered.positions, default=None),
    }  # fmt: skip
    return document


def cut(text: str, limit: int = LINE_CHARS) -> str:
    """The text, or its beginning and how much was left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} characters left out)"


# --- reading -------------------------------------------------------------------------------------------------------


def _gather(history: Iterable[tuple[Recorded, e.Event]], week: Week) -> _Gathered:
    gathered = _Gathered()
    for row, event in history:
        if row.occurred_at >= week.end:
            continue
        if week.holds(row.occurred_at):
            gathered.positions.append(row.position)
        if row.stream.startswith("ticket-"):
            gathered.tickets.setdefault(row.stream, []).append((row, event))
        elif isinstance(event, e.SignalStarted | e.SignalEnded):
            gathered.signals.append((row, event))
        elif isinstance(event, e.WatchBeat) and week.holds(row.occurred_at):
            gathered.beats.append(event)
        elif isinstance(event, e.ReleaseObserved):
            gathered.observed.append((row, event))
    return gathered


def _cases(gathered: _Gathered) -> list[Case]:
    cases = []
    for rows in gathered.tickets.values():
        ticket = fold((row.id, row.occurred_at, event) for row, event in rows)
        assert ticket is not None
        raised = [
            (row, event)
            for row, event in gathered.signals
            if isinstance(event, e.SignalStarted) and row.correlation_id == ticket.id
        ]
        cases.append(Case(ticket, rows, raised))
    return cases


def _find(rows: History, *kinds: type[E]) -> tuple[Recorded, E] | None:
    """The last of these events."""
    return next(((row, event) for row, event in reversed(rows) if isinstance(event, kinds)), None)


def _title(case: Case, body: Callable[[str], Any]) -> str:
    return cut(str(body(case.ticket.filed.spec)["ticket"]["objective"]["description"]))


# --- changes -------------------------------------------------------------------------------------------------------


def _change(case: Case, chapter: History, body: Callable[[str], Any]) -> dict[str, Any]:
    """One attempt: what it wanted, what it did, what every gate saw, and how it ended."""
    filed, _ = case.rows[0]
    row, started = chapter[0]
    assert isinstance(started, e.AttemptStarted)
    proposed = _find(chapter, e.ChangeProposed)
    said = body(proposed[1].summary) if proposed else {}
    outcome, stop = _ended(case, chapter, body)
    return {
        "ticket": case.ticket.id, "title": _title(case, body), "type": case.ticket.filed.type,
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
        "reasoning_positions": [r.position for r, event in chapter if isinstance(event, SESSION)],
        "gates": _gates(case, chapter),
        "evidence": _evidence(case, chapter),
        "arms": _arms(case, chapter),
        "phases": _phases(case),
        "seconds": _seconds(case),
        "cost": cost_of(case.ticket),
        "approved_by": [
            {"by": cut(event.by), "position": r.position}
            for r, event in chapter
            if isinstance(event, e.ApprovalGranted)
        ],
        "outcome": outcome, "stop": stop,
        "revert": f"harness ticket revert {case.ticket.id}" if outcome == "stands" else None,
    }  # fmt: skip


def _ended(case: Case, chapter: History, body: Callable[[str], Any]) -> tuple[str, dict[str, Any] | None]:
    """(how the attempt ended, what stopped it): by the last event that decides."""
    decided = _find(chapter, *_STOPS, e.RollbackFailed, e.CriteriaMet, e.ChangeReverted)
    if decided is None:
        if asked := _find(chapter, e.HelpRequested):
            return "asked", _stop("work", str(body(asked[1].question)["question"]), asked[0])
        return ("under way" if case.ticket.state in LIVE else "left"), None
    row, event = decided
    match event:
        case e.ChangeReverted():
            return "reverted", _stop("later", f"taken back by ticket {event.by_ticket}", row)
        case e.CriteriaMet():
            return ("stands" if _find(chapter, e.ChangeProposed, e.TakenOver) else "nothing to change"), None
        case e.RollbackFailed():
            return "stopped", _stop("rollback", f"the way back failed: {event.reason}", row)
    back = _find(chapter, e.RolledBack)
    return "stopped", _stop(_STOPS[type(event)], str(getattr(event, "reason", "")), row, back[0] if back else None)


def _stop(stage: str, reason: str, row: Recorded, back: Recorded | None = None) -> dict[str, Any]:
    back_position = back.position if back else None
    return {"stage": stage, "reason": cut(reason), "position": row.position, "back_position": back_position}


def _signal(case: Case, body: Callable[[str], Any]) -> dict[str, Any] | None:
    if not case.signal:
        return None
    row, event = case.signal[0]
    assert isinstance(event, e.SignalStarted)
    evidence = body(event.evidence)
    return {
        "kind": event.kind, "name": event.name, "reason": cut(str(evidence.get("reason"))),
        "at": row.occurred_at.isoformat(), "position": row.position,
    }  # fmt: skip


def _diff(ref: str, body: Callable[[str], Any]) -> dict[str, Any]:
    """The diff with its size; a long one is cut at a line."""
    text = str(body(ref)["text"])
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
        found = _find(case.rows if stage == "admit" else chapter, *kinds)
        passed = isinstance(found[1], kinds[0]) if found else None
        gates.append({"stage": stage, "passed": passed, "position": found[0].position if found else None})
    return gates


def _evidence(case: Case, chapter: History) -> list[dict[str, Any]]:
    """Each criterion before the signal, at admission, and after the change; None where nothing was measured."""
    admitted, verified = _find(case.rows, e.TicketAdmitted), _find(chapter, e.CriteriaMet, e.CriteriaNotMet)
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
    looked, admitted = _find(chapter, e.CanaryLooked), case.ticket.admitted
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


def _seconds(case: Case) -> float | None:
    """From the earliest moment of the cause to the end; None while the ticket lives."""
    if case.ticket.closed_at is None:
        return None
    return round(
        (case.ticket.closed_at - (case.ticket.filed.signal_began_at or case.ticket.filed_at)).total_seconds(), 3
    )


# --- what was refused, and what is asked for -----------------------------------------------------------------------


def _without_change(cases: Sequence[Case], body: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Tickets whose criteria were found to hold, and verified, without a change."""
    found = []
    for case in cases:
        met, proposed = _find(case.rows, e.CriteriaMet), _find(case.rows, e.ChangeProposed, e.TakenOver)
        nothing = _find(case.rows, e.NothingToChange)
        if met and nothing and (proposed is None or proposed[0].position < nothing[0].position):
            found.append(
                {"ticket": case.ticket.id, "title": _title(case, body), "why": cut(str(body(nothing[1].why)["why"])),
                 "position": nothing[0].position, "verified_position": met[0].position}
            )  # fmt: skip
    return found


def _refused(cases: Sequence[Case], week: Week, body: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Tickets that admission rejected, changes that a person denied, tickets that a person ended."""
    refused = []
    for case in cases:
        for row, event in case.rows:
            reasons: list[str] = []
            by = "admission"
            match event:
                case e.TicketRejected():
                    reasons = [cut(reason) for reason in event.reasons]
                case e.ApprovalDenied() | e.TicketCancelled():
                    reasons, by = [cut(str(body(event.why)["why"]))], cut(event.by)
            if reasons and week.holds(row.occurred_at):
                refused.append(
                    {"ticket": case.ticket.id, "title": _title(case, body), "by": by, "reasons": reasons,
                     "event": row.type, "position": row.position}
                )  # fmt: skip
    return refused


def _ask(case: Case, body: Callable[[str], Any]) -> dict[str, Any]:
    """What a person is asked, and what was tried before."""
    found = _find(case.rows, e.HelpRequested, e.RollbackFailed)
    assert found is not None
    row, event = found
    question, status = "", "broken"
    if isinstance(event, e.HelpRequested):
        question, status = str(body(event.question)["question"]), event.exit_status
    elif isinstance(event, e.RollbackFailed):
        question = f"The way back failed and the service stays locked: {event.reason}"
    return {
        "ticket": case.ticket.id, "title": _title(case, body), "priority": case.ticket.filed.priority,
        "exit_status": status, "question": cut(question, QUESTION_CHARS), "attempts": len(case.ticket.attempts),
        "since": row.occurred_at.isoformat(), "position": row.position,
        "answer": f"harness ticket answer {case.ticket.id} TEXT",
    }  # fmt: skip


def _open(case: Case, body: Callable[[str], Any]) -> dict[str, Any]:
    return {
        "ticket": case.ticket.id, "title": _title(case, body), "state": str(case.ticket.state),
        "position": case.rows[-1][0].position,
    }  # fmt: skip


# --- the service as it was seen ------------------------------------------------------------------------------------


def _objectives(gathered: _Gathered, week: Week, body: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Each objective and invariant: how often each state was seen, and each time that it fired in the week."""
    found: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        # A ledger keeps how often a budget burnt, not how much of it is left.
        return found.setdefault(name, {"name": name, "ticks": {}, "signals": [], "budget_left": None})

    for beat in gathered.beats:
        for name, states in beat.states.items():
            ticks = of(name)["ticks"]
            for state, count in states.items():
                ticks[state] = ticks.get(state, 0) + count
    ends: dict[str, datetime] = {}
    for row, event in reversed(gathered.signals):
        if isinstance(event, e.SignalEnded):
            ends[event.fingerprint] = row.occurred_at
        elif isinstance(event, e.SignalStarted):
            ended_at = ends.pop(event.fingerprint, None)
            if week.holds(row.occurred_at):
                evidence: Mapping[str, Any] = body(event.evidence)
                of(event.name)["signals"].insert(
                    0,
                    {"position": row.position, "at": row.occurred_at.isoformat(),
                     "ended_at": ended_at.isoformat() if ended_at else None,
                     "reason": cut(str(evidence.get("reason"))), "burn": evidence.get("burn"),
                     "ticket": row.correlation_id},
                )  # fmt: skip
    return sorted(found.values(), key=lambda one: str(one["name"]))


def _other_hands(gathered: _Gathered, week: Week) -> list[dict[str, Any]]:
    """Releases that somebody other than the harness brought, per release and hand."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row, event in gathered.observed:
        if event.actor == "harness" or event.before is None or not week.holds(row.occurred_at):
            continue
        entry = found.setdefault(
            (event.before, event.after, event.actor),
            {"before": event.before, "after": event.after, "actor": cut(event.actor), "nodes": [],
             "at": event.since.isoformat(), "positions": []},
        )  # fmt: skip
        entry["nodes"].append(cut(event.node))
        entry["positions"].append(row.position)
    return list(found.values())


def _watch(gathered: _Gathered) -> dict[str, Any]:
    requests = [beat.requests for beat in gathered.beats]
    known = [count for count in requests if count is not None]
    return {
        "beats": len(gathered.beats), "ticks": sum(beat.ticks for beat in gathered.beats),
        "requests": sum(known) if known else None, "beats_without_requests": len(requests) - len(known),
    }  # fmt: skip


def _counts(cases: Sequence[Case], tried: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    states = [case.ticket.state for case in cases]
    return {
        "tickets": len(cases),
        "resolved": states.count(State.RESOLVED),
        "escalated": states.count(State.ESCALATED),
        "open": sum(state in LIVE - {State.ESCALATED} for state in states),
        "changes": sum(one["outcome"] == "stands" for one in tried),
        "stopped": sum(one["outcome"] in ("stopped", "reverted") for one in tried),
    }


def _resolved(cases: Sequence[Case], week: Week) -> dict[str, Any]:
    """Tickets resolved in a week, with their median time and cost."""
    closed = [
        case
        for case in cases
        if case.ticket.state is State.RESOLVED and case.ticket.closed_at and week.holds(case.ticket.closed_at)
    ]
    took = [seconds for case in closed if (seconds := _seconds(case)) is not None]
    usd = [cost_of(case.ticket)["usd"] for case in closed]
    return {
        "week": week.text, "resolved": len(closed), "median_s": round(median(took), 3) if took else None,
        "usd_per_ticket": None if None in usd or not usd else round(sum(usd) / len(usd), 4),
    }  # fmt: skip


# --- words and references ------------------------------------------------------------------------------------------


def _headline(document: Mapping[str, Any]) -> str:
    counts, watch = document["counts"], document["watch"]
    if document["calm"] and not watch["ticks"]:
        return "Nothing is on record for this week: no ticket, no signal, and no heartbeat of the watch."
    if document["calm"]:
        requests = "an unknown number of" if watch["requests"] is None else watch["requests"]
        return (
            f"A quiet week: {watch['ticks']} looks at {len(document['objectives'])} objectives over {requests} "
            f"requests; nothing fired, nothing was filed, nothing was changed.{_unseen(document)}"
        )
    parts = [f"{_many(counts['tickets'], 'ticket')}: {counts['resolved']} resolved, {counts['escalated']} escalated"]
    parts[0] += f", {counts['open']} under way" if counts["open"] else ""
    parts.append(f"{_many(counts['changes'], 'change')} made and verified, {counts['stopped']} stopped or taken back")
    asks = len(document["asks"])
    parts.append(
        f"{_many(asks, 'question')} {'waits' if asks == 1 else 'wait'} for you" if asks else "Nothing is asked of you"
    )
    return ". ".join(parts) + "."


def _unseen(document: Mapping[str, Any]) -> str:
    blind = sum(
        count for one in document["objectives"] for state, count in one["ticks"].items()
        if state in ("no_data", "query_failed")
    )  # fmt: skip
    return f" {blind} looks saw nothing: there was no data." if blind else ""


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _cited(
    document: Mapping[str, Any], gathered: _Gathered, tell: Callable[[e.Event], str | None]
) -> list[dict[str, Any]]:
    """Every event that a claim of the document names."""
    named = set(_positions(document))
    rows = [*gathered.signals, *gathered.observed, *(pair for rows in gathered.tickets.values() for pair in rows)]
    return [
        {"position": row.position, "at": row.occurred_at.isoformat(), "actor": cut(row.actor), "event": row.type,
         "stream": row.stream, "hash": row.hash, "told": cut((tell(event) or "").strip())}
        for row, event in sorted(rows, key=lambda pair: pair[0].position)
        if row.position in named
    ]  # fmt: skip


def _positions(value: Any, key: str = "") -> Iterable[int]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _positions(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _positions(inner, key)
    elif key.endswith(("position", "positions")) and isinstance(value, int):
        yield value
