"""A trajectory: what was seen, done and reached on one ticket, as a projection of its events. Pure; touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.core import events as e
from harness.core.dropping import bare
from harness.core.lifecycle import State
from harness.core.record import Recorded
from harness.core.ticket import Ticket

AGENT_EVENTS = (e.ActionTaken, e.ObservationRecorded)


def trajectory(
    ticket: Ticket, history: Sequence[tuple[Recorded, e.Event]], body: Callable[[str], Any]
) -> dict[str, Any]:
    """Initial state → steps → outcome, with the events it rests on.

    Args:
        history: the ticket's rows with their events, in order.
        body: gives the JSON of a blob reference.
    """
    first, last = history[0][0], history[-1][0]
    return {
        "trajectory": ticket.id,
        "ticket": ticket.id,
        "fingerprint": ticket.filed.fingerprint,
        "initial": {
            "spec": body(ticket.filed.spec)["ticket"],
            "signal": ticket.filed.signal,
            "criteria": [one.model_dump(mode="json") for one in ticket.admitted.criteria] if ticket.admitted else [],
            "judged_by": ticket.admitted.policy if ticket.admitted else None,
        },
        "steps": _steps(history, body),
        "pipeline": [
            {"at": row.occurred_at.isoformat(), "event": row.type, "data": event.model_dump(mode="json")}
            for row, event in history
            if not isinstance(event, AGENT_EVENTS)
        ],
        "outcome": _outcome(ticket),
        "provenance": {
            "first_position": first.position, "last_position": last.position, "events": len(history), "hash": last.hash,
        },
    }  # fmt: skip


def _steps(history: Sequence[tuple[Recorded, e.Event]], body: Callable[[str], Any]) -> list[dict[str, Any]]:
    """One step per action, with its observation; None when the world never answered."""
    steps: dict[tuple[int, int], dict[str, Any]] = {}
    for row, event in history:
        if isinstance(event, e.ActionTaken):
            steps[event.attempt, event.step] = {
                "attempt": event.attempt, "step": event.step, "actor": row.actor, "at": row.occurred_at.isoformat(),
                "action": bare(body(event.call)), "observation": None,
            }  # fmt: skip
        elif isinstance(event, e.ObservationRecorded):
            steps[event.attempt, event.step]["observation"] = {
                "ok": event.ok, "body": bare(body(event.body)), "at": row.occurred_at.isoformat(), "blob": event.body,
            }  # fmt: skip
    return list(steps.values())


def _outcome(ticket: Ticket) -> Mapping[str, Any]:
    verification = next((a.verification for a in reversed(ticket.attempts) if a.verification), None)
    verdicts = [one.met for one in verification.criteria] if verification else []
    return {
        "state": str(ticket.state),
        "attempts": len(ticket.attempts),
        "reward": reward(ticket.state, False in verdicts),
        "criteria": [one.model_dump(mode="json") for one in verification.criteria] if verification else [],
    }


def reward(state: str, seen_unmet: bool) -> int | None:
    """1 when every criterion was verified, but for those that were left to another ticket; 0 when one was seen not to
    hold, None when not verified."""
    return 1 if state == State.RESOLVED else 0 if seen_unmet else None
