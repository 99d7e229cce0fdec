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
from typing import Any, Final

from harness.core import events as e
from harness.core.case import Body, Case, cut, find, title
from harness.core.lifecycle import LIVE, State
from harness.core.record import Head, Recorded
from harness.core.redaction import Found
from harness.core.spending import cost_of
from harness.core.summary_change import change, took_s
from harness.core.ticket import fold, way_back_question
from harness.core.week import Week

QUESTION_CHARS: Final = 4_000


@dataclass(slots=True)
class _Gathered:
    """One reading of the ledger, up to the end of the week, sorted by what it is about."""

    tickets: dict[str, list[tuple[Recorded, e.Event]]] = field(default_factory=dict)
    signals: list[tuple[Recorded, e.Event]] = field(default_factory=list)
    beats: list[e.WatchBeat] = field(default_factory=list)
    observed: list[tuple[Recorded, e.ReleaseObserved]] = field(default_factory=list)
    redacted: Found = field(default_factory=Found)
    """What was taken out of texts in the week, before they were recorded."""
    positions: list[int] = field(default_factory=list)
    """Of the events of the week itself."""


def summary(
    history: Iterable[tuple[Recorded, e.Event]],
    *,
    week: Week,
    head: Head,
    body: Body,
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
        change(case, chapter, body)
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
        "redaction": dict(sorted(gathered.redacted.items())),
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
        elif isinstance(event, e.Redacted) and week.holds(row.occurred_at):
            gathered.redacted.update(event.found)
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


# --- what was refused, and what is asked for -----------------------------------------------------------------------


def _without_change(cases: Sequence[Case], body: Body) -> list[dict[str, Any]]:
    """Tickets whose criteria were found to hold, and verified, without a change."""
    found = []
    for case in cases:
        met, proposed = find(case.rows, e.CriteriaMet), find(case.rows, e.ChangeProposed)
        nothing = find(case.rows, e.NothingToChange)
        if met and nothing and (proposed is None or proposed[0].position < nothing[0].position):
            found.append(
                {"ticket": case.ticket.id, "title": title(case, body), "children": list(case.ticket.children),
                 "why": cut(str(body(nothing[1].why)["why"])),
                 "position": nothing[0].position, "verified_position": met[0].position}
            )  # fmt: skip
    return found


def _refused(cases: Sequence[Case], week: Week, body: Body) -> list[dict[str, Any]]:
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
                    reasons, by = [cut(str(body(event.why)["text"]))], cut(event.by)
            if reasons and week.holds(row.occurred_at):
                refused.append(
                    {"ticket": case.ticket.id, "title": title(case, body), "by": by, "reasons": reasons,
                     "event": row.type, "position": row.position}
                )  # fmt: skip
    return refused


def _ask(case: Case, body: Body) -> dict[str, Any]:
    """What a person is asked, and what was tried before."""
    found = find(case.rows, e.HelpRequested, e.RollbackFailed)
    assert found is not None
    row, event = found
    question, status = "", "broken"
    if isinstance(event, e.HelpRequested):
        question, status = str(body(event.question)["question"]), event.exit_status
    elif isinstance(event, e.RollbackFailed):
        question = way_back_question(event.reason)
    return {
        "ticket": case.ticket.id, "title": title(case, body), "priority": case.ticket.filed.priority,
        "exit_status": status, "question": cut(question, QUESTION_CHARS), "attempts": len(case.ticket.attempts),
        "since": row.occurred_at.isoformat(), "position": row.position,
        "answer": f"harness ticket answer {case.ticket.id} TEXT",
    }  # fmt: skip


def _open(case: Case, body: Body) -> dict[str, Any]:
    return {
        "ticket": case.ticket.id, "title": title(case, body), "state": str(case.ticket.state),
        "parent": case.ticket.parent, "children": list(case.ticket.children), "position": case.rows[-1][0].position,
    }  # fmt: skip


# --- the service as it was seen ------------------------------------------------------------------------------------


def _objectives(gathered: _Gathered, week: Week, body: Body) -> list[dict[str, Any]]:
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
        "recurrences": sum(case.ticket.filed.recurrence_of is not None for case in cases),
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
    took = [spent for case in closed if (spent := took_s(case)) is not None]
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
    again = counts["recurrences"]
    parts[0] += f", {again} of them for what had come back" if again else ""
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
