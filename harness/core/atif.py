"""A trajectory as an ATIF v1.7 document, and the rules that such a document of ours must keep. Pure; touches nothing.

The format is Harbor's RFC 0001. What the format has no field for stands in ``extra``. The rules are stricter than any
reader's: no model of the format sees a call without an answer, a time that goes back, or a sum that is none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from harness.core import events as e
from harness.core.canonical import canonical_bytes
from harness.core.dropping import bare
from harness.core.record import Recorded

VERSION: Final = "ATIF-v1.7"
NO_ANSWER: Final = "no answer was recorded"
_SUMS: Final[dict[str, str]] = {
    "total_prompt_tokens": "prompt_tokens",
    "total_completion_tokens": "completion_tokens",
    "total_cached_tokens": "cached_tokens",
    "total_cost_usd": "cost_usd",
}


def atif(
    history: Sequence[tuple[Recorded, e.Event]],
    *,
    trajectory: Mapping[str, Any],
    extra: Mapping[str, Any],
    body: Callable[[str], Any],
    tell: Callable[[e.Event], str | None],
    version: str,
) -> dict[str, Any]:
    """The document of one ticket: its text, then every event, calls with their answers.

    Args:
        history: the ticket's rows with their events, in order.
        trajectory: what ``core.trajectory`` says of the ticket.
        extra: what else the root's ``extra`` holds: lineage, split.
        body: gives the JSON of a blob reference.
        tell: an event in a line for people; None for one that needs none.
        version: that of the harness.
    """
    answers = {
        (event.attempt, event.step): (row, event) for row, event in history if isinstance(event, e.ObservationRecorded)
    }
    steps: list[dict[str, Any]] = []
    last = history[0][0].occurred_at
    for row, event in history:
        if isinstance(event, e.ObservationRecorded):
            continue
        last = max(last, row.occurred_at)
        step: dict[str, Any] = {"step_id": len(steps) + 1, "timestamp": last.isoformat()}
        if isinstance(event, e.ActionTaken):
            answer = answers.get((event.attempt, event.step))
            call, result = _call(trajectory["ticket"], row, event, answer, body)
            if (turn := _turn_of(event, steps)) is not None:
                turn["tool_calls"].append(call)
                turn["observation"]["results"].append(result)
                continue
            step |= _turn(row, event, str(body(event.call)["why"]), call, result)
        elif isinstance(event, e.TicketFiled):
            step |= {"source": "user", "message": _task(trajectory["initial"]["spec"]), "extra": _event(row, event)}
        else:
            step |= {"source": "system", "message": _told(event, body, tell), "extra": _event(row, event)}
        if last != row.occurred_at:
            step["extra"]["occurred_at"] = row.occurred_at.isoformat()
        steps.append(step)
    agents = [event.agent for _, event in history if isinstance(event, e.AttemptStarted)]
    models = [step["model_name"] for step in steps if "model_name" in step]
    return {
        "schema_version": VERSION,
        "session_id": trajectory["ticket"],
        "trajectory_id": trajectory["ticket"],
        "agent": {
            "name": agents[-1] if agents else "none", "version": version,
            **({"model_name": models[-1]} if models else {}),
        },
        "steps": steps,
        "final_metrics": {**_totals(steps), "total_steps": len(steps)},
        "extra": {
            "ticket_id": trajectory["ticket"], "fingerprint": trajectory["fingerprint"], **extra,
            "signal": trajectory["initial"]["signal"], "criteria": trajectory["initial"]["criteria"],
            "judged_by": trajectory["initial"]["judged_by"], "outcome": trajectory["outcome"],
            "provenance": trajectory["provenance"],
        },
    }  # fmt: skip


def _told(event: e.Event, body: Callable[[str], Any], tell: Callable[[e.Event], str | None]) -> str:
    """The event in a line; what a model was told first, whole: nobody learns from a conversation without it."""
    if isinstance(event, e.AttemptStarted) and event.briefing is not None:
        return "\n\n".join(str(part) for part in bare(body(event.briefing)).values())
    return (tell(event) or type(event).__name__).strip()


def _turn_of(event: e.ActionTaken, steps: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The step of the reply that this call is a further one of; None for the first call of a turn."""
    if event.reply is None or event.reply_call == 0:
        return None
    return next((step for step in reversed(steps) if step["extra"].get("reply") == event.reply), None)


def _turn(
    row: Recorded, event: e.ActionTaken, why: str, call: dict[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    """An agent's step with its first call. A runbook is no model: the format marks such a step by no calls of one."""
    step: dict[str, Any] = {
        "source": "agent", "message": why, "tool_calls": [call], "observation": {"results": [result]},
        "extra": {"attempt": event.attempt, "actor": row.actor, "position": row.position},
    }  # fmt: skip
    if event.reply is None:
        return {**step, "llm_call_count": 0}
    step["extra"]["reply"] = event.reply
    if (usage := event.usage) is not None:
        known = {"prompt_tokens": usage.tokens_in, "completion_tokens": usage.tokens_out, "cost_usd": usage.usd}
        metrics = {name: value for name, value in known.items() if value is not None}
        step |= {"model_name": usage.model, "metrics": {**metrics, "extra": {"requests": usage.requests}}}
    return {**step, "llm_call_count": 1}


def _totals(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Sums over the steps; one of which a step does not know its part is not known, and left out."""
    metrics = [step["metrics"] for step in steps if "metrics" in step]
    return {
        total: sum(one[part] for one in metrics)
        for total, part in _SUMS.items()
        if all(part in one for one in metrics) and total != "total_cached_tokens"
    }


def _task(spec: Mapping[str, Any]) -> str:
    criteria = "\n".join(
        ", ".join(filter(None, (f"- {one['metric']} {one['condition']}", one.get("duration"))))
        for one in spec["acceptance_criteria"]
    )
    notes = spec.get("context", {}).get("notes", "")
    return f"{spec['objective']['description']}\n\nAcceptance criteria:\n{criteria}" + (f"\n\n{notes}" if notes else "")


def _event(row: Recorded, event: e.Event) -> dict[str, Any]:
    data = event.model_dump(mode="json")
    return {"event": row.type, "actor": row.actor, "position": row.position, "data": data}


def _call(
    ticket_id: str,
    row: Recorded,
    event: e.ActionTaken,
    answer: tuple[Recorded, e.ObservationRecorded] | None,
    body: Callable[[str], Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A call and exactly one answer to it; where the world gave none, the answer says so."""
    call_id = f"{ticket_id}-{event.attempt}-{event.step}"
    call = {
        "tool_call_id": call_id, "function_name": event.tool, "arguments": body(event.call)["arguments"],
        "extra": {"step": event.step, "position": row.position},
    }  # fmt: skip
    if answer is None:
        return call, {"source_call_id": call_id, "content": NO_ANSWER, "extra": {"answered": False}}
    at, seen = answer
    told = {"answered": True, "ok": seen.ok, "at": at.occurred_at.isoformat(), "position": at.position,
            "commit": seen.commit}  # fmt: skip
    return call, {"source_call_id": call_id, "content": canonical_bytes(bare(body(seen.body))).decode(), "extra": told}


# --- rules ---------------------------------------------------------------------------------------------------------


def faults(document: Any) -> list[str]:
    """``path: reason`` for every rule of ours that the document breaks; none for a good one. Takes any JSON."""
    try:
        return list(_faults(document))
    except (AttributeError, KeyError, TypeError) as error:
        return [f"$: not of the format's shape ({type(error).__name__}: {error})"]


def _faults(document: Any) -> Iterator[str]:
    if not isinstance(document, dict):
        yield f"$: {type(document).__name__} is no object"
        return
    if document.get("schema_version") != VERSION:
        yield f"schema_version: {document.get('schema_version')!r} is not {VERSION!r}"
    yield from _not_finite(document, "$")
    steps = document.get("steps") or []
    if not steps:
        yield "steps: none; a trajectory has the task at least"
    yield from _ids_and_times(steps)
    yield from _calls(steps)
    yield from _sums(document.get("final_metrics") or {}, steps)
    for key in ("ticket_id", "fingerprint", "parent", "lineage", "split"):
        if key not in (document.get("extra") or {}):
            yield f"extra.{key}: is missing"


def _not_finite(value: Any, path: str) -> Iterator[str]:
    ahead = [(path, value)]
    while ahead:
        where, inner = ahead.pop()
        if isinstance(inner, float) and not math.isfinite(inner):
            yield f"{where}: {inner} is no number of JSON"
        elif isinstance(inner, dict):
            ahead += [(f"{where}.{key}", each) for key, each in inner.items()]
        elif isinstance(inner, list):
            ahead += [(f"{where}[{number}]", each) for number, each in enumerate(inner)]


def _ids_and_times(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    last: datetime | None = None
    for number, step in enumerate(steps):
        if type(step.get("step_id")) is not int or step["step_id"] != number + 1:
            yield f"steps[{number}].step_id: {step.get('step_id')!r} is not {number + 1}"
        try:
            at = datetime.fromisoformat(str(step.get("timestamp")))
        except ValueError:
            yield f"steps[{number}].timestamp: {step.get('timestamp')!r} is no time"
            continue
        if at.utcoffset() is None:
            yield f"steps[{number}].timestamp: {step['timestamp']!r} has no offset"
            continue
        if last is not None and at < last:
            yield f"steps[{number}].timestamp: {step['timestamp']} is before the step above"
        last = at


def _calls(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for number, step in enumerate(steps):
        calls = [call["tool_call_id"] for call in step.get("tool_calls") or []]
        seen.update(calls)
        results = (step.get("observation") or {}).get("results") or []
        answered = Counter(result.get("source_call_id") for result in results)
        for call in calls:
            if answered[call] != 1:
                yield f"steps[{number}].observation: {answered[call]} answers to call {call!r}, exactly 1 is needed"
        for foreign in sorted(str(one) for one in answered if one not in calls):
            yield f"steps[{number}].observation: an answer to {foreign!r}, which this step did not call"
    for call, count in seen.items():
        if count > 1:
            yield f"steps: tool_call_id {call!r} stands {count} times"


def _sums(totals: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    metrics = [step.get("metrics") or {} for step in steps]
    for total, part in _SUMS.items():
        parts = [one[part] for one in metrics if one.get(part) is not None]
        told = totals.get(total)
        if told is None and parts and len(parts) == sum(bool(one) for one in metrics):
            yield f"final_metrics.{total}: is missing, the steps have {math.fsum(parts):g}"
        elif told is not None and not math.isclose(told, math.fsum(parts), rel_tol=1e-9, abs_tol=1e-12):
            yield f"final_metrics.{total}: {told} is not the sum of the steps, {math.fsum(parts):g}"
    if totals.get("total_steps", len(steps)) != len(steps):
        yield f"final_metrics.total_steps: {totals['total_steps']} is not {len(steps)}"
