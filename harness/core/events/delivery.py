"""A change on its way, from the lock to its verification (stream ``ticket-<id>``). Touches nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from harness.core.errors import Refused
from harness.core.events.values import (
    ArmCount,
    AttemptNumber,
    BudgetSpend,
    CheckOutcome,
    Event,
    Gated,
    JudgedCriterion,
    LeftTo,
    Measurement,
    MetricVerdict,
    Side,
    Token,
    Verb,
    Waits,
)


class DeliveryQueued(Event):
    """The delivery waits its turn: another one (``holder``) has the service's lock or comes first, or a constraint
    (``holder``) forbids it now."""

    holder: str
    """The ticket that is waited for, or the constraint's text."""
    until: datetime | None = None
    """When the constraint no longer forbids it; None where another delivery is waited for."""


class DeliveryBlocked(Event):
    """The delivery waits until an invariant holds again whose violation blocks deployments (``block_deploys``)."""

    invariant: str
    """Its name."""
    condition: str
    """What has to hold again."""
    since: datetime
    """Since when it is violated."""


class LockAcquired(Event):
    """The service's lock is held; ``token`` fences every effect of this delivery."""

    service: str
    """Whose lock it is."""
    token: Token


class LockReleased(Event):
    """The delivery gave the service's lock back."""

    service: str
    """Whose lock it was."""
    token: Token


class ChecksPassed(Event):
    """Every declared check passed on this tree: that of the change, merged onto main as it was at ``onto``."""

    schema_version = 2

    attempt: AttemptNumber
    onto: str | None
    """The commit of main that the change was merged onto; None in events from before it was recorded."""
    commit: str
    """The merge that was checked, and is delivered."""
    tree: str
    """Its tree in git."""
    outcomes: tuple[CheckOutcome, ...]
    """Every check, in the order of the manifest."""
    waits: Waits

    @property
    def base(self) -> str:
        """The commit of main to deliver onto; raises Refused when it was not recorded."""
        if self.onto is None:
            raise Refused(
                f"attempt {self.attempt}: its checks passed under a harness that did not record onto which main; "
                "answer the ticket, so that another attempt is checked, or cancel it"
            )
        return self.onto


class ChecksFailed(Event):
    """A declared check failed (or the change does not merge): back to work with the evidence."""

    attempt: AttemptNumber
    commit: str
    """The merge that was checked, or the change where it does not merge."""
    tree: str | None
    """Its tree in git; None where nothing speaks against the change itself, or it does not merge."""
    outcomes: tuple[CheckOutcome, ...]
    """The checks that ran, the failed one last."""
    reason: str
    """What failed, in words for people."""
    waits: Waits


class StartMeasured(Event):
    """What is declared of the service, at its worst in the last seconds before this attempt touched it, while nothing
    of the ticket was in place: whatever did not hold then is not its doing."""

    attempt: AttemptNumber
    measured: tuple[Measurement, ...]
    """Every declared metric, at its worst."""
    waits: Waits = ()


class GateJudged(Event):
    """Every invariant right before or after a stage that changes the service, or after a change was taken back. A stage
    does not begin while its gate is shut, and one that is shut after it takes its work back; a way back is asked
    afterwards, and nothing hangs on it."""

    schema_version = 2

    attempt: AttemptNumber
    stage: Gated
    """The stage, or the way back."""
    side: Side
    """Before it, or after."""
    invariants: tuple[JudgedCriterion, ...]
    """Every invariant as it was judged last; empty where nobody could tell. What was broken at the start, and is this
    or another ticket's to restore, is ``left_to`` that one."""
    reason: str
    """Why it is shut, in words for people; empty when everything passes."""
    waits: Waits


class BudgetSpendJudged(Event):
    """What the ticket's deliveries spent of the error budget of every objective, where a constraint limits that: right
    before one touches the service, once it is too much, and when nothing of it is under way any more."""

    attempt: AttemptNumber
    at: Literal["begun", "exceeded", "ended"]
    """Why it is told now."""
    at_most: float
    """The share of a budget (0..1) that may be spent."""
    objectives: tuple[BudgetSpend, ...]
    """Every objective, with what was counted."""
    reason: str
    """Which one is exceeded, in words for people; empty when none is."""


class CanaryStarted(Event):
    """Canary and a fresh baseline stand, without traffic; ``counters`` are the raw counts they start from.

    ``no_limit``: metrics whose objective is no limit of this canary, for it is missed already and another living
    ticket's to restore; they are compared with the baseline like all others.
    """

    attempt: AttemptNumber
    canary: str
    """The commit of the change."""
    baseline: str
    """The commit of main beside it."""
    node: str
    """The node on which both stand."""
    planned_per_arm: int
    """Requests an arm that the plan asks for."""
    counters: tuple[ArmCount, ...]
    """What is taken off every later count."""
    waits: Waits
    no_limit: dict[str, str] = Field(default={})
    """Metric → the ticket that it is left to."""


class CanaryStepped(Event):
    """The arms got this share of the traffic each; ``version`` is Envoy's, read back from it."""

    attempt: AttemptNumber
    step: int
    """Which step of the plan it is, from 1."""
    share: float
    """Of the keys, for each arm (0..1)."""
    version: str
    """Envoy's version of the routes."""
    at: datetime
    """When the routes were in place."""


class CanaryLooked(Event):
    """One look of the judge, on cumulative counts since the start."""

    attempt: AttemptNumber
    look: int
    """Which look it is, from 1."""
    step: int
    """The step under way, from 1."""
    window_to: datetime
    """Time of the newest sample in it."""
    counts: tuple[ArmCount, ...]
    """Counts since the start, per metric."""
    decision: Literal["continue", "promote", "abort", "extend", "ask"]
    """What the judge says: look on, promote, abort, take longer, or ask a person."""


class OperationStepped(Event):
    """One unit of an operation was done to a node: the first in its canary, the others in its deployment.

    ``back``: it took an earlier one back. ``limits``: the bad shares (0..1) that its guards allow: each objective's
    budget, or what the start of the attempt allows where that was worse. ``counters``: the service's raw counts right
    after it, from which its guards count (as the canary's arm; there is no baseline).
    """

    attempt: AttemptNumber
    ordinal: int
    """Which unit it is, from 1."""
    verb: Verb
    """What was done to the node."""
    node: str
    """Which node."""
    ok: bool
    """Whether it came out well."""
    reason: str
    """Why not, in words for people; empty when it did."""
    at: datetime
    """When it was done."""
    back: bool = False
    """Whether it took an earlier unit back."""
    limits: dict[str, float] = Field(default={})
    """Metric → the bad share that its guard allows."""
    counters: tuple[ArmCount, ...] = ()
    """The service's raw counts right after it."""
    waits: Waits = ()


class CanaryPassed(Event):
    """The judge promotes; the arms are without traffic and gone.

    ``guards_only``: an operation's first unit was watched by absolute limits and compared with nothing.
    """

    attempt: AttemptNumber
    verdicts: tuple[MetricVerdict, ...]
    """What the judge says of each metric."""
    looks: int
    """How many looks were taken."""
    alpha: float
    """The share of false alarms that all looks may make together."""
    per_arm: int
    """Requests in the smaller arm."""
    keys: int
    """Different keys in each arm; 0 for an operation."""
    version: str
    """Envoy's version in which the arms have no traffic; empty for an operation."""
    waits: Waits
    guards_only: bool = False
    """Whether only absolute limits were watched, and nothing was compared."""
    left_to: tuple[LeftTo, ...] = ()
    """What does not hold and is other tickets' to restore."""


class CanaryFailed(Event):
    """The judge (or a start that failed) stopped the change; traffic is back on stable, verified from Envoy.

    ``stable_share``: of the requests counted between two samples after that, those that stable answered (0..1); null
    when there were no counts.
    """

    attempt: AttemptNumber
    verdicts: tuple[MetricVerdict, ...]
    """What the judge says of each metric."""
    looks: int
    """How many looks were taken."""
    alpha: float
    """The share of false alarms that all looks may make together."""
    per_arm: int
    """Requests in the smaller arm."""
    keys: int
    """Different keys in each arm; 0 for an operation, or where they could not be counted."""
    version: str
    """Envoy's version in which the arms have no traffic; empty for an operation."""
    reason: str
    """Why, in words for people."""
    waits: Waits
    guards_only: bool = False
    """Whether only absolute limits were watched, and nothing was compared."""
    stable_share: float | None = None
    """Share of the requests afterwards that stable answered; None: nothing was counted."""


class MainMoved(Event):
    """``main`` of the service's repository moved, under the lock."""

    before: str
    """The commit it was at."""
    after: str
    """The commit it is at."""


class NodeSwapped(Event):
    """One node serves another release; its gate was looked at before the next node."""

    attempt: AttemptNumber
    node: str
    """Which node."""
    before: str
    """The commit it served."""
    after: str
    """The commit it is to serve."""
    ok: bool
    """Whether it starts and its gate holds."""
    reason: str
    """Why not, in words for people; empty when it does."""
    waits: Waits
    left_to: tuple[LeftTo, ...] = ()
    """What does not hold and is other tickets' to restore."""


class ReleaseDeployed(Event):
    """Every node serves the release; for an operation: it is done, and every node serves what main is at."""

    attempt: AttemptNumber
    commit: str
    """The commit that is served."""
    tree: str
    """Its tree in git."""
    nodes: tuple[str, ...]
    """The nodes that serve it."""
    waits: Waits = ()
    left_to: tuple[LeftTo, ...] = ()
    """What does not hold and is other tickets' to restore."""


class DeployFailed(Event):
    """A gate failed while deploying; what was swapped has been rolled back."""

    attempt: AttemptNumber
    reason: str
    """What failed, in words for people."""


class VerificationInterrupted(Event):
    """The verification is inconclusive: a more urgent ticket (``by``) took the service's lock and delivers. Once the
    lock is free again it starts anew, over a window of its own."""

    attempt: AttemptNumber
    by: str
    """The more urgent ticket."""
    priority: Literal["P0", "P1"]
    """Of the ticket that took the lock."""
    token: int
    """What the interrupted delivery was fenced with until then."""


class WayBackBegun(Event):
    """A change that is served is taken back, from where main is now: nobody may interrupt that."""

    schema_version = 2

    attempt: AttemptNumber
    reason: str
    """Why the change is taken back, in words for people."""
    main: str | None
    """The commit that main was at; None in events from before it was recorded."""


class RolledBack(Event):
    """The nodes serve ``commit`` again, whose tree is that before the change."""

    attempt: AttemptNumber
    commit: str
    """The commit that is served again."""
    reason: str
    """Why, in words for people."""
    waits: Waits


class RollbackFailed(Event):
    """The way back failed: a human is called, the service stays locked."""

    attempt: AttemptNumber
    reason: str
    """What failed, in words for people."""


class CriteriaMet(Event):
    """Every criterion held over its duration on live traffic after the change, or was left to another ticket and got no
    worse."""

    schema_version = 2

    attempt: AttemptNumber
    criteria: tuple[JudgedCriterion, ...]
    """Every criterion of the ticket."""
    shown: tuple[Measurement, ...]
    """Other metrics, for people to compare with."""
    promises: tuple[JudgedCriterion, ...] = ()
    """What users were promised, whatever the ticket is about."""
    samples: int
    """Requests that the smallest of the measurements rests on."""
    window_s: float
    """How long it was watched."""
    waits: Waits


class CriteriaNotMet(Event):
    """At least one criterion or promise did not hold, or could not be measured.

    ``kept``: the change stays, for what the ticket is about is better than before and everything else holds.
    """

    schema_version = 2

    attempt: AttemptNumber
    criteria: tuple[JudgedCriterion, ...]
    """Every criterion of the ticket."""
    shown: tuple[Measurement, ...]
    """Other metrics, for people to compare with."""
    promises: tuple[JudgedCriterion, ...] = ()
    """What users were promised, whatever the ticket is about."""
    kept: bool = False
    """Whether the change stays."""
    samples: int
    """Requests that the smallest of the measurements rests on."""
    window_s: float
    """How long it was watched."""
    reason: str
    """What did not hold, in words for people."""
    waits: Waits
