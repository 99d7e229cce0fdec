"""Parts of events: values that several of them hold, and what an event is. Touches nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

BlobRef = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Slot = Literal["stable", "canary", "baseline"]
Verb = Literal["start", "drain", "remove", "restore"]
"""What is done to a node: it comes, is emptied, goes, or serves again."""


class Value(BaseModel):
    """A part of an event: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Wait(Value):
    """A span in which the harness waited for evidence and could not have gone on: what was open, and until when."""

    kind: Literal["query_window", "check", "model", "drain", "start"]
    what: str
    opened_at: datetime
    closed_at: datetime


class Measurement(Value):
    """A metric over a window: the value with the query, the span and the number of samples it rests on."""

    metric: str
    query: str
    window_from: datetime
    window_to: datetime
    value: float | None
    samples: int | None


class FrozenCriterion(Value):
    """An acceptance criterion as it was admitted: with its baseline measured, and fixed from then on."""

    metric: str
    condition: str
    duration: str
    baseline: Measurement | None


class LeftTo(Value):
    """A declared condition that did not hold ``before``, while nothing of this ticket was in place, and that is for
    another living ticket to restore: of this one it is asked only that it gets no worse (``no_worse``; None: not
    measured)."""

    ticket_id: str
    metric: str
    condition: str
    before: Measurement
    now: Measurement
    no_worse: bool | None


class JudgedCriterion(Value):
    """A criterion with the measurement after the change; ``met`` is None when it could not be measured.

    ``left_to``: it is not met, and restoring it is another ticket's. It stands in this one's way only where it got
    worse. ``beside``: of a probe that was compared, the commit before the change, in the same minute.
    """

    metric: str
    condition: str
    duration: str
    measured: Measurement
    met: bool | None
    left_to: LeftTo | None = None
    beside: Measurement | None = None

    @property
    def passes(self) -> bool:
        """Whether it lets the change through."""
        return self.met is True or (self.left_to is not None and self.left_to.no_worse is True)


class CheckOutcome(Value):
    """One declared check, run in the sandbox on the tree under test."""

    name: str
    exit_code: int | None
    passed: bool
    seconds: float
    tests_passed: int | None
    output: BlobRef


class ArmCount(Value):
    """Cumulative counts of one metric since the canary began, per arm: bad events of all requests."""

    metric: str
    canary_bad: int
    canary_total: int
    baseline_bad: int
    baseline_total: int


class MetricVerdict(Value):
    """What the judge says of one metric, and what it could have seen."""

    metric: str
    role: Literal["superiority", "guard", "limit"]
    verdict: Literal["PASS", "HIGH", "LOW", "NODATA"]
    reason: str
    p_value: float | None
    effect: float | None
    smallest_harm: float | None
    decided_at_look: int | None


class ModelUsage(Value):
    """What one reply of a model took. ``model`` is who answered; tokens and USD are None where they are not known."""

    model: str
    tokens_in: int | None
    tokens_out: int | None
    usd: float | None
    requests: int
    """Requests on the wire until it came: those before the last one broke, and what they cost is not known."""


class Operation(Value):
    """An action of the catalog with its arguments."""

    action: str
    parameters: dict[str, int | str]


class Event(Value):
    """Something that happened. ``schema_version`` rises when the shape of the data changes."""

    schema_version: ClassVar[int] = 1
