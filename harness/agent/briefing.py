"""What a model is told first of a ticket: the harness's facts bare, words of people and of the world as data. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.agent.speech import framed
from harness.core import events as e
from harness.core.manifest import Manifest
from harness.core.operation import Catalog, CatalogAction
from harness.core.ticket import Attempt, Ticket

_NAME: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,120}")


def first_message(
    ticket: Ticket, spec: Mapping[str, Any], manifest: Manifest, catalog: Catalog, base: str,
    evidence: Mapping[str, Any],
) -> str:  # fmt: skip
    """The ticket, the service, and what earlier attempts came to.

    Args:
        spec: the ticket file.
        base: the commit of main that the work begins from.
        evidence: origin → JSON of the world: the signal, answers of people, reasons of failed attempts.
    """
    assert ticket.admitted is not None
    criteria = [f"- {one.metric} {one.condition} for {one.duration}{_before(one)}" for one in ticket.admitted.criteria]
    metrics = [
        f"- {name} ({metric.kind}, {metric.unit}, {metric.direction} is better)"
        for name, metric in manifest.metrics.items()
    ]
    parts = [
        f"Ticket {ticket.id}: {ticket.filed.type}, priority {ticket.filed.priority}, service {manifest.name}, "
        f"raised by {_raised_by(ticket)}. Attempt {len(ticket.attempts) + 1} of "
        f"{ticket.admitted.attempts_allowed}.",
        "Acceptance criteria, measured on live traffic after the change:\n" + "\n".join(criteria),
        "Metrics that can be queried:\n" + "\n".join(metrics),
        "Actions that can be proposed instead of a change:\n" + "\n".join(map(_offered, catalog.actions)),
        f"Your branch begins at main, commit {base}.",
        f"Checks: {_names(check.name for check in manifest.checks)}. "
        f"Probes for `measure`: {_names(probe.name for probe in manifest.probes)}. "
        f"Protected: {_names(manifest.protected_paths)}.",
        framed("ticket", json.dumps(spec, ensure_ascii=False)),
        *(framed(origin, json.dumps(value, ensure_ascii=False, default=str)) for origin, value in evidence.items()),
        *(_tried(attempt) for attempt in ticket.attempts),
    ]
    return "\n\n".join(parts)


def _raised_by(ticket: Ticket) -> str:
    """Bare only where it is a name: that of an alert is anybody's words."""
    raised = ticket.filed.signal or ticket.filed.source
    return raised if _NAME.fullmatch(raised) else framed("name of the signal", raised)


def _offered(action: CatalogAction) -> str:
    parameters = ", ".join(f"{name}: {parameter.what}" for name, parameter in action.parameters.items())
    return f"- {action.name}({parameters}): {action.effect}; risk {action.risk}, undone by {action.reversible_by}"


def _before(criterion: e.FrozenCriterion) -> str:
    baseline = criterion.baseline
    return "" if baseline is None or baseline.value is None else f" (before the trouble: {baseline.value:.4g})"


def _names(names: Any) -> str:
    return ", ".join(names) or "none"


def _tried(attempt: Attempt) -> str:
    """How far an earlier attempt came; the reasons are the world's words."""
    outcomes: Sequence[e.Event | None] = (attempt.checks, attempt.canary, attempt.deploy, attempt.verification)
    came = [type(event).__name__ for event in outcomes if event is not None] or ["no change was submitted"]
    reasons = [str(reason) for event in outcomes if (reason := getattr(event, "reason", None))]
    change = f" proposed {attempt.change.commit[:12]}" if attempt.change else ""
    told = f"\n{framed('pipeline', json.dumps(reasons, ensure_ascii=False))}" if reasons else ""
    return f"Attempt {attempt.n} by {attempt.agent}{change}: {', '.join(came)}.{told}"
