"""Parts of events: values that several of them hold, and what an event is. Touches nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

BlobRef = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Slot = Literal["stable", "canary", "baseline"]
Verb = Literal["start", "drain", "remove", "restore"]
Gated = Literal["canary", "deploy", "rollback"]
Side = Literal["before", "after"]
"""What is done to a node: it comes, is emptied, goes, or serves again."""


class Value(BaseModel):
    """A part of an event: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Wait(Value):
    """A span in which the harness waited for evidence and could not have gone on: what was open, and until when."""

    kind: Literal["query_window", "check", "model", "drain", "start"]
    """What was waited for: a window's samples, a check, a model's reply, a release's drain or its start."""
    what: str
    """Which one, in a word or two for people."""
    opened_at: datetime
    """When the waiting began."""
    closed_at: datetime
    """When it was over."""


class Measurement(Value):
    """A metric over a window: the value with the query, the span and the number of samples it rests on."""

    metric: str
    """Its name in the service's manifest."""
    query: str
    """What was asked, or run, as text."""
    window_from: datetime
    """Begin of the span."""
    window_to: datetime
    """End of the span."""
    value: float | None
    """In the metric's unit, shares 0..1; None: there was too little, or nothing, to measure."""
    samples: int | None
    """How many requests or runs it rests on; None where the metric counts none."""


class FrozenCriterion(Value):
    """An acceptance criterion as it was admitted: with its baseline measured, and fixed from then on."""

    metric: str
    """Its name in the service's manifest."""
    condition: str
    """What has to hold, as the ticket says it: `< 500ms`."""
    duration: str
    """For how long: `1h sustained`."""
    baseline: Measurement | None
    """How it was before the signal's cause began; without a value where that could not be measured. None: not even
    what was asked for is known."""


class LeftTo(Value):
    """A declared condition that did not hold ``before``, while nothing of this ticket was in place, and that is for
    another living ticket to restore: of this one it is asked only that it gets no worse (``no_worse``; None: not
    measured)."""

    ticket_id: str
    """The living ticket that is there to restore it."""
    metric: str
    """The metric of the condition."""
    condition: str
    """What does not hold."""
    before: Measurement
    """How it was right before this attempt touched the service."""
    now: Measurement
    """How it was when it was judged."""
    no_worse: bool | None
    """Whether it got no worse; None: not measured."""


class Comparison(Value):
    """Two counted shares beside each other: what `no regression` rests on. Shares and chances are 0..1."""

    before: Measurement
    """The baseline."""
    now: Measurement
    """What it was compared with."""
    margin: float
    """By how much of all requests it may be worse."""
    declared: bool
    """Whether the service declares that margin: then it has to be shown that it was kept."""
    design_effect: float
    """The variance of the share over that of independent requests: all counts were divided by it."""
    p_worse: float
    """The chance of looking so much worse though nothing changed."""
    p_within: float
    """The chance of looking so good though it got worse by the margin."""


class JudgedCriterion(Value):
    """A criterion with the measurement after the change; ``met`` is None when it could not be measured.

    ``left_to``: it is not met, and restoring it is another ticket's. It stands in this one's way only where it got
    worse. ``beside``: of a probe that was compared, the commit before the change, in the same minute. ``compared``: of
    a counted share that may not get worse, the test; ``met`` is None, too, when the samples could not tell.
    """

    metric: str
    """Its name in the service's manifest."""
    condition: str
    """What had to hold."""
    duration: str
    """For how long."""
    measured: Measurement
    """The measurement it was judged by."""
    met: bool | None
    """Whether it held; None: it could not be measured."""
    left_to: LeftTo | None = None
    """The other ticket that is to restore it, where it is not met."""
    beside: Measurement | None = None
    """Of a probe: the same measure of the commit before the change, in the same minute."""
    compared: Comparison | None = None
    """Of a counted share: the test of `no regression`."""

    @property
    def passes(self) -> bool:
        """Whether it lets the change through."""
        return self.met is True or (self.left_to is not None and self.left_to.no_worse is True)


class CheckOutcome(Value):
    """One declared check, run in the sandbox on the tree under test."""

    name: str
    """The check's name in the service's manifest."""
    exit_code: int | None
    """Of its process; None when it was stopped at its time limit."""
    passed: bool
    """Whether it passed."""
    seconds: float
    """How long it ran."""
    tests_passed: int | None
    """How many tests it says passed; None when it says nothing of that."""
    output: BlobRef
    """The end of what it printed."""


class ArmCount(Value):
    """Cumulative counts of one metric since the canary began, per arm: bad events of all requests."""

    metric: str
    """Its name in the service's manifest."""
    canary_bad: int
    """Bad events in the canary."""
    canary_total: int
    """All events in the canary."""
    baseline_bad: int
    """Bad events in the baseline."""
    baseline_total: int
    """All events in the baseline."""


class BudgetSpend(Value):
    """Of one objective, what the ticket's deliveries spent of its error budget, from raw counters of the whole service.

    Spent are the bad events beyond those that the share of right before the ticket's first delivery makes of all.
    """

    objective: str
    """Its name."""
    query: str
    """The counters: bad of all events."""
    before_from: datetime
    """Where the window begins that tells how it was before."""
    before_to: datetime
    """Right before the ticket first touched the service."""
    before_bad: int
    """Bad events in that window."""
    before_total: int
    """All events in that window."""
    period_from: datetime
    """Since when there were data of the objective's period, which ends at ``before_to``."""
    period_total: int
    """All events of the period: the budget is the share that the objective allows of them."""
    since: datetime
    """Right before this attempt touched the service."""
    until: datetime
    """Up to when was counted."""
    bad: int
    """Bad events of this attempt, between the two."""
    total: int
    """All events of this attempt, between the two."""
    earlier: float
    """Bad events beyond the share of before that earlier attempts spent."""
    spent: float
    """The share of the budget that this and earlier attempts spent (0..1, or more)."""


class MetricVerdict(Value):
    """What the judge says of one metric, and what it could have seen."""

    metric: str
    """Its name in the service's manifest."""
    role: Literal["superiority", "guard", "limit"]
    """Why it was judged: the change had to better it, must not worsen it, or must keep it below a bound."""
    verdict: Literal["PASS", "HIGH", "LOW", "NODATA"]
    """PASS, significantly HIGH or LOW, or NODATA."""
    reason: str
    """In words for people."""
    p_value: float | None
    """Of the test that decided; None where no test was made."""
    effect: float | None
    """Bad share in the canary less that in the baseline, or less the limit (-1..1); None without requests."""
    smallest_harm: float | None
    """The least difference that would have been seen; None where none can be said."""
    decided_at_look: int | None
    """At which look it was decided, from 1; None: at none."""


class ModelUsage(Value):
    """What one reply of a model took. ``model`` is who answered; tokens and USD are None where they are not known."""

    model: str
    """Who answered, by the provider's name for it."""
    tokens_in: int | None
    """Tokens of the prompt, cached ones as well."""
    tokens_out: int | None
    """Tokens of the reply."""
    usd: float | None
    """What it cost by the price list."""
    requests: int
    """Requests on the wire until it came: those before the last one broke, and what they cost is not known."""


class Operation(Value):
    """An action of the catalog with its arguments."""

    action: str
    """Its name in the catalog."""
    parameters: dict[str, int | str]
    """Its arguments by name."""


AttemptNumber = Annotated[int, Field(description="Which attempt of the ticket it is, from 1.")]
Waits = Annotated[tuple[Wait, ...], Field(description="What was waited for meanwhile, span by span.")]
Person = Annotated[str, Field(description="Who did it.")]
Fingerprint = Annotated[str, Field(description="Names the cause: a hash of its kind, service and name.")]
Token = Annotated[int, Field(description="The fencing token of the delivery: it rises with every holder of the lock.")]


class Event(Value):
    """Something that happened. ``schema_version`` rises when the shape of the data changes."""

    schema_version: ClassVar[int] = 1
