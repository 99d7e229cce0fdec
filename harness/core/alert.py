"""Alerts and signals of others in the forms in which they come, and what they may hold at most. Decides; touches
nothing.

An alert is known by its labels alone: their fingerprint names it, whatever its annotations say and whenever it began.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from harness.core.canonical import canonical_bytes
from harness.core.declaration import Declaration, Form
from harness.core.errors import Invalid
from harness.core.ticket_spec import Criterion

ALERTS: Final = 20_000
"""Most alerts of one request: Alertmanager sends a whole group as one, and drops for good what is refused."""
LABELS: Final = 64
LABEL_NAME_CHARS: Final = 200
LABEL_CHARS: Final = 2_000
ANNOTATION_CHARS: Final = 16_000
EVIDENCE_BYTES: Final = 64 * 1024
FAULTS: Final = 3
"""That are told of an alert that is malformed."""

NAME, SERVICE, OBJECTIVE, INVARIANT, SEVERITY = "alertname", "service", "slo", "invariant", "severity"
"""Labels that say what an alert is about."""
SUMMARY, DESCRIPTION, CONDITION, METRIC = "summary", "description", "condition", "metric"
_RESERVED: Final = (NAME, SERVICE, OBJECTIVE, INVARIANT, SEVERITY)
_FINGERPRINT: Final = re.compile(r"[0-9A-Za-z_-]{1,32}")
_NEVER: Final = 1
"""The year of a time that is not known yet: Alertmanager's end of an alert that fires."""


class Alert(Declaration):
    """One alert, as it is kept. ``link``: where its sender shows what it was made from."""

    fingerprint: str
    firing: bool
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default={})
    began_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    link: str = ""
    criterion: Criterion | None = None
    evidence: Any = None

    @property
    def name(self) -> str:
        """What its sender calls it."""
        return self.labels.get(NAME, "")

    @property
    def summary(self) -> str:
        """What its sender says of it to people."""
        return self.annotations.get(SUMMARY) or self.annotations.get(DESCRIPTION) or ""


@dataclass(frozen=True, slots=True)
class Unusable:
    """An alert that is not taken: which of its message it is, from 0, and why. ``given``: as it came, where that can be
    kept; ``fingerprint`` is None where nothing legible names it."""

    index: int
    fingerprint: str | None
    reason: str
    given: Any = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """One request: its alerts, those that are malformed or too large, and how many its sender says it has left out."""

    source: Literal["alertmanager", "signal"]
    alerts: tuple[Alert, ...]
    unusable: tuple[Unusable, ...] = ()
    truncated: int = 0

    @property
    def indices(self) -> Iterator[int]:
        """Which of the message, from 0, each of ``alerts`` is."""
        return _but(self.unusable, len(self.alerts))


class AlertmanagerAlert(Form):
    """An alert as Alertmanager writes it. Its own status counts, not that of its group."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default={})
    began_at: datetime = Field(alias="startsAt")
    ended_at: datetime | None = Field(default=None, alias="endsAt")
    link: str = Field(default="", alias="generatorURL")
    fingerprint: str = ""


class AlertmanagerMessage(Form):
    """What Alertmanager posts to a webhook, version 4. Keys that are not known are left alone."""

    version: Literal["4"]
    alerts: tuple[AlertmanagerAlert, ...] = Field(max_length=ALERTS)
    truncated: int = Field(default=0, ge=0, alias="truncatedAlerts")


class SignalForm(Declaration):
    """A signal of any other sender: something is wrong with a service, or is no longer.

    ``objective`` and ``invariant`` name one of ours that it is about; ``criterion`` is its own condition, on a metric
    of the service's catalog. ``evidence`` is any JSON.
    """

    name: str = Field(min_length=1, max_length=LABEL_NAME_CHARS)
    service: Annotated[str, StringConstraints(max_length=LABEL_CHARS)] | None = None
    status: Literal["firing", "resolved"] = "firing"
    objective: Annotated[str, StringConstraints(max_length=LABEL_CHARS)] | None = None
    invariant: Annotated[str, StringConstraints(max_length=LABEL_CHARS)] | None = None
    criterion: Criterion | None = None
    severity: Annotated[str, StringConstraints(max_length=LABEL_CHARS)] | None = None
    summary: str = Field(default="", max_length=ANNOTATION_CHARS)
    labels: dict[str, str] = Field(default={})
    evidence: Any = None
    began_at: AwareDatetime | None = None


def from_alertmanager(document: Any) -> Incoming:
    """The alerts of a webhook's message. Raises Invalid for what is none, with every ``path: reason``.

    An annotation out of bounds is left out, and that is said in its place; an alert with such a label is not taken, nor
    is one that is malformed: it costs the others nothing.
    """
    malformed: list[Unusable] = []
    try:
        message = AlertmanagerMessage.parse(document, "message")
    except Invalid:
        well_formed, malformed = _sorted_out(document)
        message = AlertmanagerMessage.parse(well_formed, "message")
    alerts: list[Alert] = []
    too_large: list[Unusable] = []
    for index, given in zip(_but(malformed, len(message.alerts)), message.alerts, strict=True):
        known_as = given.fingerprint if _FINGERPRINT.fullmatch(given.fingerprint) else _own(given.labels)
        if fault := _fault(given.labels):
            too_large.append(Unusable(index, known_as, f"labels: {fault}"))
            continue
        ended = given.ended_at if given.status == "resolved" and given.ended_at else None
        alerts.append(
            Alert.model_construct(
                fingerprint=known_as, firing=given.status == "firing", labels=given.labels,
                annotations=_bounded(given.annotations), began_at=_known(given.began_at), ended_at=_known(ended),
                link=given.link if len(given.link) <= LABEL_CHARS else "", criterion=None, evidence=None,
            )
        )  # fmt: skip
    return Incoming("alertmanager", tuple(alerts), (*malformed, *too_large), message.truncated)


def _sorted_out(document: Any) -> tuple[Any, list[Unusable]]:
    """The message with its well-formed alerts alone, and the others; as it is where it has no list of alerts.

    Raises Invalid where the list is too long.
    """
    given = document.get("alerts") if isinstance(document, dict) else None
    if not isinstance(given, list):
        return document, []
    if len(given) > ALERTS:
        raise Invalid(f"message: alerts: are {len(given)}; at most {ALERTS} are taken: set `max_alerts`")
    kept: list[Any] = []
    malformed: list[Unusable] = []
    for index, one in enumerate(given):
        try:
            AlertmanagerAlert.parse(one, f"alerts[{index}]")
        except Invalid as error:
            malformed.append(_malformed(index, one, str(error).splitlines()))
        else:
            kept.append(one)
    return {**document, "alerts": kept}, malformed


def _but(unusable: Collection[Unusable], others: int) -> Iterator[int]:
    """The indices of so many others in a message that holds these."""
    aside = {one.index for one in unusable}
    return (index for index in range(others + len(aside)) if index not in aside)


def _malformed(index: int, given: Any, faults: list[str]) -> Unusable:
    more = [f"and {len(faults) - FAULTS} more"] if len(faults) > FAULTS else []
    named = given.get("fingerprint") if isinstance(given, dict) else None
    known_as = named if isinstance(named, str) and _FINGERPRINT.fullmatch(named) else None
    try:
        is_kept = _size_bytes(given, "alert") <= EVIDENCE_BYTES
    except Invalid:  # a number that would not come back the same, or too deep
        is_kept = False
    return Unusable(index, known_as, "; ".join([*faults[:FAULTS], *more]), given if is_kept else None)


def from_anyone(document: Any) -> Incoming:
    """The one alert of a signal. Raises Invalid with every ``path: reason``."""
    form = SignalForm.parse(document, "signal")
    if form.objective is not None and form.invariant is not None:
        raise Invalid("signal: invariant: a signal is about an objective or an invariant; leave one of them out")
    if fault := _fault(form.labels):
        raise Invalid(f"signal: labels: {fault}")
    if taken := next((name for name in _RESERVED if name in form.labels), None):
        key = {NAME: "name", OBJECTIVE: "objective"}.get(taken, taken)
        raise Invalid(f"signal: labels.{taken}: is said by the key `{key}` of the signal; leave the label out")
    if _size_bytes(form.evidence, "signal: evidence") > EVIDENCE_BYTES:
        raise Invalid(f"signal: evidence: is longer than {EVIDENCE_BYTES} bytes; give the part that says why")
    said = {
        NAME: form.name, SERVICE: form.service, OBJECTIVE: form.objective, INVARIANT: form.invariant,
        SEVERITY: form.severity,
    }  # fmt: skip
    labels = {**form.labels, **{name: text for name, text in said.items() if text is not None}}
    alert = Alert(
        fingerprint=_own(labels), firing=form.status == "firing", labels=labels, criterion=form.criterion,
        annotations={SUMMARY: form.summary} if form.summary else {}, began_at=form.began_at, evidence=form.evidence,
    )  # fmt: skip
    return Incoming("signal", (alert,))


def _size_bytes(value: Any, name: str) -> int:
    """Of a JSON value as it is recorded: with others, so that what is as deep as JSON may be is too deep here.

    Raises Invalid for what cannot be recorded.
    """
    written = canonical_bytes(value, name=name)
    try:
        canonical_bytes([[[[[[[[value]]]]]]]])
    except Invalid:
        raise Invalid(f"{name}: is nested too deep; give it with fewer levels") from None
    return len(written)


def _own(labels: Mapping[str, str]) -> str:
    """The fingerprint of labels whose sender gives none."""
    return sha256(canonical_bytes(dict(labels))).hexdigest()[:16]


def _fault(labels: Mapping[str, str]) -> str | None:
    if len(labels) > LABELS:
        return f"are {len(labels)}; at most {LABELS} name an alert"
    for name, text in labels.items():
        if len(name) > LABEL_NAME_CHARS:
            return f"one has a name of {len(name)} characters; at most {LABEL_NAME_CHARS}"
        if len(text) > LABEL_CHARS:
            return f"{name}: has {len(text)} characters; at most {LABEL_CHARS}"
    return None


def _bounded(annotations: Mapping[str, str]) -> dict[str, str]:
    kept = {}
    for name, text in list(annotations.items())[:LABELS]:
        if len(name) <= LABEL_NAME_CHARS:
            large = len(text) > ANNOTATION_CHARS
            kept[name] = f"[left out: {len(text)} characters, at most {ANNOTATION_CHARS} are kept]" if large else text
    return kept


def _known(moment: datetime | None) -> datetime | None:
    """None for a time that is not known, or says no zone."""
    return moment if moment is not None and moment.year > _NEVER and moment.tzinfo is not None else None
