"""The demo's JSON document (contract.md), computed from a ticket's events. Reads the ledger; prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from harness.bootstrap import Rules
from harness.core import events as e
from harness.core.ids import signal_stream, ticket_stream
from harness.core.lifecycle import State
from harness.core.manifest import Manifest
from harness.core.policy import Profile
from harness.core.timeline import overhead_s, phases
from harness.journal import Journal, decode

OUTCOMES = {State.RESOLVED: "resolved", State.ESCALATED: "escalated", State.CANCELLED: "none"}
QUIET_TICKS = 50
QUIET_REQUESTS = 20_000


def incident_report(
    incident: str, journal: Journal, began_at: datetime, profile: Profile, manifest: Manifest
) -> dict[str, Any]:
    """What happened from the fault on; seconds count from ``began_at``."""
    ticket = journal.ticket
    rows = journal.ledger.read_stream(ticket_stream(ticket.id))
    history = [(row.occurred_at, decode(row)) for row in rows]
    signals = [decode(row) for row in journal.ledger.read_stream(signal_stream(ticket.filed.fingerprint or ""))]
    waits = [wait for signal in signals if isinstance(signal, e.SignalStarted) for wait in signal.waits]
    spent = phases(history, began_at=began_at, signal_waits=waits)
    last = ticket.attempts[-1] if ticket.attempts else None
    verification = last.verification if last else None
    sick = _sick(journal)
    verified_at = ticket.closed_at if ticket.state is State.RESOLVED else None
    return {
        "incident": incident, "ticket": ticket.id, "outcome": OUTCOMES.get(ticket.state, str(ticket.state)),
        "attempts": len(ticket.attempts), "type": ticket.filed.type, "signal": ticket.filed.signal,
        "fault_to_ticket_s": _since(began_at, ticket.filed_at),
        "fault_to_deploy_s": _since(began_at, last.deployed_at if last else None),
        "fault_to_verified_s": _since(began_at, verified_at),
        "overhead_s": round(overhead_s(spent), 3),
        "phases": [
            {"name": one.name, "seconds": round(one.seconds, 3), "waiting_s": round(one.waiting_s, 3)} for one in spent
        ],
        "criteria": [
            {"metric": one.metric, "condition": one.condition, "duration": one.duration,
             "before": _baseline(journal, one.metric), "sick": sick.get(one.metric), "after": one.measured.value,
             "met": one.met, "left_to": one.left_to.ticket_id if one.left_to else None}
            for one in (verification.criteria if verification else ())
        ],
        "shown": [
            {"metric": one.metric, "sick": sick.get(one.metric), "after": one.value,
             "unit": manifest.metrics[one.metric].unit}
            for one in (verification.shown if verification else ())
        ],
        "profile": profile.profile,
        "canary": _canary(last.canary if last else None),
        "verify": {
            "samples": verification.samples if verification else 0,
            "window_s": verification.window_s if verification else None,
        },
        "change": _change(journal, last.change if last else None),
        "trajectory": ticket.id,
        "tried": [
            f"attempt {one.n} of {one.agent}: {one.failure.stage} did not let it through: {one.failure.reason}"
            for one in ticket.attempts
            if one.failure
        ],
        "question": _question(journal) if ticket.state is State.ESCALATED else None,
    }  # fmt: skip


def joint_report(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of several tickets: the document of the one that was verified last, for then the incident was over, with all of
    them as ``tickets``. The outcome is that of all: resolved where every one of them is."""
    unresolved = [one for one in documents if one["outcome"] != "resolved"]
    told = unresolved[0] if unresolved else max(documents, key=lambda one: one["fault_to_verified_s"])
    return {**told, "tickets": list(documents)}


def quiet_report(incident: str, beat: e.WatchBeat, tickets: list[str], rules: Rules) -> dict[str, Any]:
    """What a minute without a fault looked like; ``enough``: it was watched and asked for often enough to tell."""
    ok_ticks = {slo.name: beat.states.get(slo.name, {}).get("ok", 0) for slo in rules.slos}
    enough = min(ok_ticks.values()) >= QUIET_TICKS and (beat.requests or 0) >= QUIET_REQUESTS
    return {
        "incident": incident, "ticket": tickets[0] if tickets else None, "outcome": "resolved" if tickets else "none",
        "attempts": 0, "fault_to_ticket_s": None, "fault_to_deploy_s": None, "fault_to_verified_s": None,
        "overhead_s": None, "phases": [], "criteria": [], "profile": rules.profile.profile, "canary": None,
        "verify": None, "change": None, "trajectory": None, "ticks": beat.states, "requests": beat.requests,
        "enough": enough,
    }  # fmt: skip


def _question(journal: Journal) -> str | None:
    """What the person who was called is asked."""
    asked = [event for event in journal.ticket.recorded.values() if isinstance(event, e.HelpRequested)]
    return str(journal.blobs.get_json(asked[-1].question)["question"]) if asked else None


def _since(start: datetime, end: datetime | None) -> float | None:
    return None if end is None else round((end - start).total_seconds(), 3)


def _baseline(journal: Journal, metric: str) -> float | None:
    admitted = journal.ticket.admitted
    frozen = next((one for one in admitted.criteria if one.metric == metric), None) if admitted else None
    return frozen.baseline.value if frozen and frozen.baseline else None


def _sick(journal: Journal) -> dict[str, float | None]:
    """What every metric was when the ticket was admitted: on the sick system."""
    admitted = journal.ticket.admitted
    return {one.metric: one.value for one in admitted.sick} if admitted else {}


def _canary(event: e.CanaryPassed | e.CanaryFailed | None) -> dict[str, Any] | None:
    if event is None:
        return None
    return {
        "per_arm": event.per_arm, "looks": event.looks, "alpha": event.alpha, "keys": event.keys,
        "smallest_harm": {one.metric: one.smallest_harm for one in event.verdicts if one.smallest_harm is not None},
        "verdicts": [one.model_dump(mode="json") for one in event.verdicts],
    }  # fmt: skip


def _change(journal: Journal, event: e.ChangeProposed | None) -> dict[str, Any] | None:
    if event is None:
        return None
    return {"kind": event.kind, "commit": event.commit, "summary": journal.blobs.get_json(event.summary)["summary"]}
