"""``policies/anomalies.yaml``: what is compared with how it used to be, and which anomaly is worth a ticket. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Literal, Self

from pydantic import Field, model_validator

from harness.core.anomaly import LEVELS, Detection
from harness.core.declaration import Declaration, Seconds
from harness.core.errors import Invalid
from harness.core.manifest import Manifest
from harness.core.units import choices

SETTLES_S = 2.0
"""A window is looked at so long after its end: by then its last sample is there."""
FEWEST = round(1 / min(LEVELS))
DAY = timedelta(days=1)


class Anomalies(Declaration):
    """How metrics are compared with how they are used to be.

    Each value of ``window`` is ranked among those of ``reference``, which ends ``guard`` before it; nothing is judged
    before ``warm_up`` of them is there. ``false_alarm_every``: how long it takes on average, at least, until a service
    on which nothing changed raises one. ``left_open``: an incident that has been left to people for so long silences no
    more. ``leave_out``: metric → why it is not compared.
    """

    enabled: bool
    window_s: Seconds = Field(alias="window")
    reference_s: Seconds = Field(alias="reference")
    guard_s: Seconds = Field(alias="guard")
    warm_up_s: Seconds = Field(alias="warm_up")
    false_alarm_every_s: Seconds = Field(alias="false_alarm_every")
    per_day: int = Field(ge=0)
    priority: Literal["P0", "P1", "P2", "P3"]
    left_open_s: Seconds = Field(alias="left_open")
    leave_out: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _spans_fit(self) -> Self:
        if self.window_s < 1 or self.window_s % 1:
            raise ValueError(f"window: {self.window_s:g}s is no whole number of seconds; counters are read each second")
        for name in ("reference", "guard", "warm_up"):
            if getattr(self, f"{name}_s") % self.window_s:
                raise ValueError(f"{name}: is no whole number of windows of {self.window_s:g}s")
        if self.warm_up_s < FEWEST * self.window_s:
            raise ValueError(f"warm_up: fewer than {FEWEST} windows tell nothing; allowed from {FEWEST} of them")
        if self.reference_s < self.warm_up_s:
            raise ValueError("warm_up: is longer than the reference, which would never be enough; allowed up to it")
        return self

    def compared(self, manifest: Manifest) -> tuple[str, ...]:
        """The metrics that are: those that are read live and have a better direction. Demand has none, and what an
        objective counts for itself has a limit of its own, and a burn rate.

        Raises Invalid for one to leave out that the service does not declare.
        """
        for name in self.leave_out:
            if name not in manifest.metrics:
                near = choices(name, manifest.metrics)
                raise Invalid(
                    f"policies/anomalies.yaml: leave_out: `{name}` is not declared by {manifest.name}; {near}"
                )
        return tuple(
            name
            for name, metric in manifest.metrics.items()
            if not (metric.of_tree or metric.kind == "objective" or metric.direction == "either")
            and name not in self.leave_out
        )

    def detection(self, metrics: int) -> Detection:
        """For each of so many metrics, which share the service's rate of false alarms."""
        return Detection(
            reference=round(self.reference_s / self.window_s), guard=round(self.guard_s / self.window_s),
            warm_up=round(self.warm_up_s / self.window_s),
            windows_per_false_alarm=metrics * self.false_alarm_every_s / self.window_s,
        )  # fmt: skip

    def last_end(self, now: datetime) -> datetime:
        """The end of the last window that is over: windows lie on one grid, whoever looks, and since whenever."""
        seconds = floor((now.timestamp() - SETTLES_S) / self.window_s) * self.window_s
        return datetime.fromtimestamp(seconds, UTC)

    def begin(self, end: datetime) -> datetime:
        """How far back one looks from there: what a value is compared with, and as long again as a shift may need."""
        return end - timedelta(seconds=self.reference_s + 2 * self.guard_s + self.warm_up_s)


@dataclass(frozen=True, slots=True)
class Strange:
    """A metric that is worse than usual since ``began_at``, with how much evidence."""

    metric: str
    began_at: datetime
    evidence: float


@dataclass(frozen=True, slots=True)
class Life:
    """When a ticket was opened for a cause, and closed; None while it lives. ``left_open``: it lives, and counts as
    closed from ``closed_at`` on, for people have had it for so long."""

    ticket: str
    opened_at: datetime
    closed_at: datetime | None = None
    left_open: bool = False


@dataclass(frozen=True, slots=True)
class Past:
    """The tickets of anomalies by metric, and of what is declared and did not hold."""

    anomalies: Mapping[str, Sequence[Life]] = field(default_factory=dict)
    incidents: Sequence[Life] = ()

    def since(self) -> datetime | None:
        """When the last ticket of an anomaly was closed, or an incident was last left open for too long: what is so
        since then is what is usual."""
        closed = [life.closed_at for lives in self.anomalies.values() for life in lives if life.closed_at]
        closed += [life.closed_at for life in self.incidents if life.closed_at and life.left_open]
        return max(closed, default=None)

    def incident(self) -> str | None:
        """The ticket of an incident that lives."""
        return next((life.ticket for life in self.incidents if life.closed_at is None), None)

    def sick(self, start: datetime, end: datetime, lead: timedelta) -> bool:
        """Whether an incident lived in that time, or began at most ``lead`` after it, or ended so shortly before."""
        return any(
            life.opened_at - lead < end and (life.closed_at is None or start < life.closed_at + (end - start))
            for life in self.incidents
        )


def worth_a_ticket(
    strange: Collection[Strange], past: Past, policy: Anomalies, now: datetime
) -> tuple[Strange | None, tuple[Strange, ...]]:
    """The anomaly that gets a ticket now, if any, and those that began with it and get none of their own.

    What began before the ticket of a living anomaly was opened is another sight of the same shift.
    """
    lives = [life for each in past.anomalies.values() for life in each]
    living = [life.opened_at for life in lives if life.closed_at is None]
    having = {metric for metric, each in past.anomalies.items() if any(life.closed_at is None for life in each)}
    new = [one for one in strange if one.metric not in having and not any(one.began_at <= opened for opened in living)]
    today = sum(now - life.opened_at < DAY for life in lives)
    if not new or today >= policy.per_day or past.incident() is not None:
        return None, ()
    first = max(new, key=lambda one: (one.evidence, one.metric))
    return first, tuple(one for one in new if one is not first)
