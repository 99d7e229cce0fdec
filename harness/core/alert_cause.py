"""What an alert of somebody else is about: its service, its cause, and the signal that asks for a ticket. Pure.

An alert that names an objective or an invariant of ours has that one's cause, so that it meets what the watch sees. Any
other is its service's and its name's: its instances are one cause.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from harness.core.admission import too_long
from harness.core.alert import CONDITION, INVARIANT, METRIC, NAME, OBJECTIVE, SERVICE, SEVERITY, Alert
from harness.core.errors import Invalid
from harness.core.ids import fingerprint
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.core.redaction import REDACTED, Secrets
from harness.core.signal import Signal, Wish
from harness.core.slo import Slo
from harness.core.ticket_spec import Criterion
from harness.core.units import choices

Priority = Literal["P0", "P1", "P2", "P3"]
PRIORITY: Final[dict[str, Priority]] = {
    "critical": "P1", "page": "P1", "warning": "P2", "ticket": "P2", "info": "P3", "none": "P3",
}  # fmt: skip
"""By the label ``severity``; any other is P2. P0 is for people."""
SLOTH = {OBJECTIVE: "sloth_slo", SERVICE: "sloth_service"}
"""The names under which rules that ``harness slo rules`` writes say the same."""
SHOWN: Final = 20
"""Alerts that a ticket's evidence shows; all of them are in the body that they came in."""
SUMMARY_CHARS: Final = 500
OLDEST: Final = timedelta(days=30)
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/ -]{0,99}")


@dataclass(frozen=True, slots=True)
class Declared:
    """What is declared of the registered services, as far as an alert may be about it."""

    manifest: Manifest
    slos: tuple[Slo, ...]
    invariants: tuple[Invariant, ...]


@dataclass(frozen=True, slots=True)
class Cause:
    """What alerts are about; those with one cause have one ticket."""

    kind: Literal["slo", "invariant", "alert"]
    service: str
    name: str

    @property
    def fingerprint(self) -> str:
        """As that of a signal of it."""
        return fingerprint(self.kind, self.service, self.name)

    @property
    def measured_here(self) -> bool:
        """Whether the watch says when it is over, and not who sent the alert."""
        return self.kind != "alert"


def cause_of(alert: Alert, declared: Declared) -> Cause:
    """What the alert is about. Raises Invalid, with the nearest name, where no such service is registered.

    An alert that names no service, or one out of whose name a secret was taken, is about the registered one, as long as
    there is only one.
    """
    service = alert.labels.get(SERVICE) or alert.labels.get(SLOTH[SERVICE])
    if service is not None and not _is_unreadable(alert) and service != declared.manifest.name:
        raise Invalid(f"service: {service!r} is not registered; {choices(service, [declared.manifest.name])}")
    service = declared.manifest.name
    objective = alert.labels.get(SLOTH[OBJECTIVE]) or alert.labels.get(OBJECTIVE)
    if objective in {slo.name for slo in declared.slos}:
        return Cause("slo", service, str(objective))
    if alert.labels.get(INVARIANT) in {one.name for one in declared.invariants}:
        return Cause("invariant", service, alert.labels[INVARIANT])
    if not alert.name:
        raise Invalid(f"labels.{NAME}: is missing, so that nothing says which alert it is")
    return Cause("alert", service, _name(alert.name))


def require_declared(alert: Alert, declared: Declared) -> None:
    """Raise Invalid where a signal names an objective, an invariant or a metric that is not declared, or a condition
    that cannot be asked of its metric."""
    for label, key, names in (
        (OBJECTIVE, "objective", [slo.name for slo in declared.slos]),
        (INVARIANT, "invariant", [one.name for one in declared.invariants]),
    ):
        if (given := alert.labels.get(label)) is not None and given not in names:
            raise Invalid(f"{key}: {given!r} is not declared of {declared.manifest.name}; {choices(given, names)}")
    if alert.criterion is not None:
        _require_fits(alert.criterion, declared.manifest)


def signal_for(cause: Cause, alerts: Sequence[Alert], received_at: datetime, declared: Declared) -> Signal:
    """The signal of alerts that began to fire, of one cause."""
    began = min((one.began_at for one in alerts if one.began_at), default=received_at)
    first = alerts[0]
    many = f"{len(alerts)} alerts {first.name}" if len(alerts) > 1 else f"the alert {first.name}"
    about = "" if cause.kind == "alert" else f", which says that the {cause.kind} {cause.name} does not hold"
    if any(map(_is_unreadable, alerts)):
        about += (
            f". A secret was taken out of its label `{SERVICE}`: it is taken for the only service that is registered"
        )
    reason = f"{many} of {cause.service}: {first.summary[:SUMMARY_CHARS] or 'its sender says no more'}{about}"
    return Signal(
        kind=cause.kind, name=cause.name, service=cause.service, sampled_at=received_at,
        began_at=max(min(began, received_at), received_at - OLDEST), evidence=evidence_of(reason, alerts),
        wish=None if cause.measured_here else _wish(cause, alerts, declared),
    )  # fmt: skip


def evidence_of(reason: str, alerts: Sequence[Alert]) -> dict[str, Any]:
    """What a ticket has of alerts: the first of them whole, and how many there are."""
    return {
        "reason": reason, "count": len(alerts),
        "alerts": [one.model_dump(mode="json", exclude_defaults=True) for one in alerts[:SHOWN]],
    }  # fmt: skip


def _wish(cause: Cause, alerts: Sequence[Alert], declared: Declared) -> Wish:
    first, own = alerts[0], next((one for one in (_criterion(alert, declared) for alert in alerts) if one), None)
    priorities = [PRIORITY.get(one.labels.get(SEVERITY, "").lower(), "P2") for one in alerts]
    measured = (
        f"Its condition is measured here as {own.metric} {own.condition}."
        if own
        else "Its own condition is not measured here: the ticket is judged by everything that is declared of "
        f"{cause.service}, and that the alert is over is recorded and decides nothing. Whoever sent it knows more."
    )
    told = first.summary[:SUMMARY_CHARS]
    return Wish(
        priority=min(priorities), objective=f"Clear the alert {cause.name} of {cause.service}",
        notes="\n".join(part for part in (told, measured, first.link) if part), criteria=(own,) if own else (),
    )  # fmt: skip


def _criterion(alert: Alert, declared: Declared) -> Criterion | None:
    """The alert's own condition, where its sender says it on a metric of the catalog: in a signal's ``criterion``, or
    by the label ``metric`` and the annotation ``condition``."""
    given = alert.criterion
    if given is None and METRIC in alert.labels and CONDITION in alert.annotations:
        given = Criterion(metric=alert.labels[METRIC], condition=alert.annotations[CONDITION])
    try:
        if given is not None:
            _require_fits(given, declared.manifest)
    except Invalid:
        return None
    return given


def _require_fits(criterion: Criterion, manifest: Manifest) -> None:
    metric = manifest.metrics.get(criterion.metric)
    if metric is None:
        raise Invalid(
            f"criterion.metric: {criterion.metric!r} is not declared by {manifest.name}; "
            f"{choices(criterion.metric, manifest.metrics)}"
        )
    try:
        understood = criterion.spec()
        understood.condition.check_fits(metric.unit, metric.direction)
    except Invalid as error:
        raise Invalid(f"criterion: {error}") from None
    if fault := too_long(understood):
        raise Invalid(f"criterion.{fault}")


def without_secrets(alert: Alert, secrets: Secrets) -> Alert:
    """The alert with the name of its service as it is kept; a signal of its labels is read from there."""
    named = {label: alert.labels[label] for label in (SERVICE, SLOTH[SERVICE]) if label in alert.labels}
    return alert.model_copy(update={"labels": alert.labels | secrets.taken_from(named)[0]})


def _is_unreadable(alert: Alert) -> bool:
    """Whether a secret was taken out of the name of its service."""
    return REDACTED in (alert.labels.get(SERVICE) or alert.labels.get(SLOTH[SERVICE]) or "")


def _name(given: str) -> str:
    """The alert's name where that is a plain one: it goes into events, and any other text of the world does not."""
    return given if _PLAIN.fullmatch(given) else f"alert-{fingerprint('name', '', given)}"
