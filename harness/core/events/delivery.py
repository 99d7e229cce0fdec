"""A change on its way, from the lock to its verification (stream ``ticket-<id>``). Touches nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from harness.core.events.values import (
    ArmCount,
    CheckOutcome,
    Event,
    JudgedCriterion,
    LeftTo,
    Measurement,
    MetricVerdict,
    Verb,
    Wait,
)


class DeliveryQueued(Event):
    """The delivery waits its turn: another one (``holder``) has the service's lock or comes first, or a constraint
    (``holder``) forbids it now."""

    holder: str
    until: datetime | None = None
    """When the constraint no longer forbids it; None where another delivery is waited for."""


class LockAcquired(Event):
    """The service's lock is held; ``token`` fences every effect of this delivery."""

    service: str
    token: int


class LockReleased(Event):
    """The delivery gave the service's lock back."""

    service: str
    token: int


class ChecksPassed(Event):
    """Every declared check passed on this tree: that of the change, merged onto main as it was at ``onto``."""

    attempt: int
    onto: str
    commit: str
    tree: str
    outcomes: tuple[CheckOutcome, ...]
    waits: tuple[Wait, ...]


class ChecksFailed(Event):
    """A declared check failed (or the change does not merge): back to work with the evidence."""

    attempt: int
    commit: str
    tree: str | None
    outcomes: tuple[CheckOutcome, ...]
    reason: str
    waits: tuple[Wait, ...]


class StartMeasured(Event):
    """What is declared of the service, at its worst in the last seconds before this attempt touched it, while nothing
    of the ticket was in place: whatever did not hold then is not its doing."""

    attempt: int
    measured: tuple[Measurement, ...]
    waits: tuple[Wait, ...] = ()


class CanaryStarted(Event):
    """Canary and a fresh baseline stand, without traffic; ``counters`` are the raw counts they start from.

    ``no_limit``: metrics whose objective is no limit of this canary, for it is missed already and another living
    ticket's to restore; they are compared with the baseline like all others.
    """

    attempt: int
    canary: str
    baseline: str
    node: str
    planned_per_arm: int
    counters: tuple[ArmCount, ...]
    waits: tuple[Wait, ...]
    no_limit: dict[str, str] = Field(default={})
    """Metric → the ticket that it is left to."""


class CanaryStepped(Event):
    """The arms got this share of the traffic each; ``version`` is Envoy's, read back from it."""

    attempt: int
    step: int
    share: float
    version: str
    at: datetime


class CanaryLooked(Event):
    """One look of the judge, on cumulative counts since the start."""

    attempt: int
    look: int
    step: int
    window_to: datetime
    counts: tuple[ArmCount, ...]
    decision: Literal["continue", "promote", "abort", "extend", "ask"]


class OperationStepped(Event):
    """One unit of an operation was done to a node: the first in its canary, the others in its deployment.

    ``back``: it took an earlier one back. ``limits``: the bad shares (0..1) that its guards allow: each objective's
    budget, or what the start of the attempt allows where that was worse. ``counters``: the service's raw counts right
    after it, from which its guards count (as the canary's arm; there is no baseline).
    """

    attempt: int
    ordinal: int
    verb: Verb
    node: str
    ok: bool
    reason: str
    at: datetime
    back: bool = False
    limits: dict[str, float] = Field(default={})
    counters: tuple[ArmCount, ...] = ()
    waits: tuple[Wait, ...] = ()


class CanaryPassed(Event):
    """The judge promotes; the arms are without traffic and gone.

    ``guards_only``: an operation's first unit was watched by absolute limits and compared with nothing.
    """

    attempt: int
    verdicts: tuple[MetricVerdict, ...]
    looks: int
    alpha: float
    per_arm: int
    keys: int
    version: str
    waits: tuple[Wait, ...]
    guards_only: bool = False
    left_to: tuple[LeftTo, ...] = ()


class CanaryFailed(Event):
    """The judge (or a start that failed) stopped the change; traffic is back on stable, verified from Envoy.

    ``stable_share``: of the requests counted between two samples after that, those that stable answered (0..1); null
    when there were no counts.
    """

    attempt: int
    verdicts: tuple[MetricVerdict, ...]
    looks: int
    alpha: float
    per_arm: int
    keys: int
    version: str
    reason: str
    waits: tuple[Wait, ...]
    guards_only: bool = False
    stable_share: float | None = None


class MainMoved(Event):
    """``main`` of the service's repository moved, under the lock."""

    before: str
    after: str


class NodeSwapped(Event):
    """One node serves another release; its gate was looked at before the next node."""

    attempt: int
    node: str
    before: str
    after: str
    ok: bool
    reason: str
    waits: tuple[Wait, ...]
    left_to: tuple[LeftTo, ...] = ()


class ReleaseDeployed(Event):
    """Every node serves the release; for an operation: it is done, and every node serves what main is at."""

    attempt: int
    commit: str
    tree: str
    nodes: tuple[str, ...]
    waits: tuple[Wait, ...] = ()
    left_to: tuple[LeftTo, ...] = ()


class DeployFailed(Event):
    """A gate failed while deploying; what was swapped has been rolled back."""

    attempt: int
    reason: str


class VerificationInterrupted(Event):
    """The verification is inconclusive: a more urgent ticket (``by``) took the service's lock and delivers. Once the
    lock is free again it starts anew, over a window of its own."""

    attempt: int
    by: str
    priority: Literal["P0", "P1"]
    """Of the ticket that took the lock."""
    token: int
    """What the interrupted delivery was fenced with until then."""


class WayBackBegun(Event):
    """A change that is served is taken back, from where main is now: nobody may interrupt that."""

    attempt: int
    reason: str
    main: str


class RolledBack(Event):
    """The nodes serve ``commit`` again, whose tree is that before the change."""

    attempt: int
    commit: str
    reason: str
    waits: tuple[Wait, ...]


class RollbackFailed(Event):
    """The way back failed: a human is called, the service stays locked."""

    attempt: int
    reason: str


class CriteriaMet(Event):
    """Every criterion held over its duration on live traffic after the change, or was left to another ticket and got no
    worse."""

    attempt: int
    criteria: tuple[JudgedCriterion, ...]
    shown: tuple[Measurement, ...]
    promises: tuple[JudgedCriterion, ...] = ()
    """What users were promised, whatever the ticket is about."""
    samples: int
    window_s: float
    waits: tuple[Wait, ...]


class CriteriaNotMet(Event):
    """At least one criterion or promise did not hold, or could not be measured.

    ``kept``: the change stays, for what the ticket is about is better than before and everything else holds.
    """

    attempt: int
    criteria: tuple[JudgedCriterion, ...]
    shown: tuple[Measurement, ...]
    promises: tuple[JudgedCriterion, ...] = ()
    kept: bool = False
    samples: int
    window_s: float
    reason: str
    waits: tuple[Wait, ...]
