"""Every event, in the past tense, in one file. Values only; touches nothing.

Free text of people and of the world is never in an event: it is a blob, and the event holds its ``BlobRef``
(``sha256:…``). Times are UTC; shares are 0..1; an unknown number is None, never 0. Field names carry units.
"""

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


# --- the life of a ticket (stream ``ticket-<id>``) -----------------------------------------------------------------


class TicketFiled(Event):
    """A ticket entered the queue. ``spec`` is the ticket file; ``fingerprint`` names the cause of a signal."""

    ticket_id: str
    type: Literal["incident", "improvement", "maintenance", "investigation", "reflection"]
    service: str
    priority: Literal["P0", "P1", "P2", "P3"]
    source: Literal["human", "slo", "invariant", "anomaly", "opportunity", "reflection", "agent"]
    spec: BlobRef
    fingerprint: str | None = None
    signal: str | None = None
    """Kind and name of the signal, ``slo:latency``; None for tickets without one."""
    signal_began_at: datetime | None = None
    """The earliest moment at which the signal's cause can have begun; baselines end before it."""
    recurrence_of: str | None = None


class TicketAdmitted(Event):
    """Admission let the ticket in; criteria and their baselines are frozen, budgets are set."""

    policy: str
    criteria: tuple[FrozenCriterion, ...]
    sick: tuple[Measurement, ...]
    """Every declared metric as it is at admission, for people to compare with."""
    attempts_allowed: int


class TicketRejected(Event):
    """Admission refused the ticket, with every failing rule and how to pass it."""

    reasons: tuple[str, ...]


class TicketMerged(Event):
    """The ticket is a duplicate of another."""

    into: str


class WindowAwaited(Event):
    """A constraint forbids the change now; the ticket waits."""

    constraint: str
    until: datetime


class WindowOpened(Event):
    """The constraint no longer stands in the way (or the children are done)."""


class AttemptStarted(Event):
    """An agent began to work, from this commit of main."""

    attempt: int
    agent: str
    runbook: str | None
    base: str
    briefing: BlobRef | None = None
    """What a model was told first; None for an agent that is none."""


class ActionTaken(Event):
    """The agent chose a tool; ``call`` is the blob of its arguments and of why."""

    attempt: int
    step: int
    tool: str
    call: BlobRef
    waits: tuple[Wait, ...] = ()
    reply: BlobRef | None = None
    """The model's turn that this call is of; None for an agent that is no model."""
    reply_call: int = 0
    """Which of the turn's calls it is, from 0; 0 as well for a turn without any."""
    usage: ModelUsage | None = None
    """What the turn took, on its first call."""


class ObservationRecorded(Event):
    """What the tool answered. ``ref`` is the commit at which the work stood after the step, when it changed."""

    attempt: int
    step: int
    tool: str
    ok: bool
    body: BlobRef
    commit: str | None = None
    waits: tuple[Wait, ...] = ()
    seconds: float | None = None


class ChangeProposed(Event):
    """The agent submitted a change, with reasons and predicted effect: a commit on the ticket's branch, or an action.

    ``operation`` is the action of the catalog for a change of that kind; main stays at ``commit`` then, and ``diff``
    holds the units in which it will be done.
    """

    attempt: int
    kind: Literal["code", "config", "operation"]
    commit: str
    base: str
    branch: str
    diff: BlobRef
    summary: BlobRef
    operation: Operation | None = None


class NothingToChange(Event):
    """The agent found the criteria to hold already; they are verified without a change."""

    attempt: int
    why: BlobRef


class TicketSplit(Event):
    """The ticket waits for child tickets that can be verified by themselves."""

    children: tuple[str, ...]


class HelpRequested(Event):
    """A human is called: the agent asks, a limit ended its session, or a stage broke (``exit_status``)."""

    attempt: int
    exit_status: Literal["asked", "limits", "attempts_used_up", "broken"]
    question: BlobRef


class ApprovalRequested(Event):
    """A gated step waits for a person's word on this hash."""

    what: str
    hash: str
    why: BlobRef


class ApprovalGranted(Event):
    """A person approved exactly this hash."""

    hash: str
    by: str


class ApprovalDenied(Event):
    """A person denied it: back to work with the reason, or the end of the ticket."""

    hash: str
    by: str
    why: BlobRef
    final: bool


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
    no_limit: dict[str, str] = {}
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
    limits: dict[str, float] = {}
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


class StageStalled(Event):
    """A stage gets no further: what it needs does not answer. It tries on, for as long as policy says, then it ends."""

    attempt: int
    reason: str


class AnswerGiven(Event):
    """A human answered; the ticket goes back to work."""

    by: str
    answer: BlobRef


class TakenOver(Event):
    """A human's commit goes on through the stages, in an attempt of its own."""

    by: str
    commit: str


class TicketPaused(Event):
    """A human stopped the ticket where it was."""

    by: str


class TicketResumed(Event):
    """A human let it go on from where it was."""

    by: str


class TicketCancelled(Event):
    """A human ended the ticket at a safe point, or the harness one of its own that turned out to be no opportunity."""

    by: str
    why: BlobRef


class ChangeReverted(Event):
    """A later ticket took this ticket's change back."""

    by_ticket: str


# --- what is seen and held outside of tickets ----------------------------------------------------------------------


class SignalStarted(Event):
    """An SLO began to burn, an invariant to break, or something could be better (stream ``signal-<fingerprint>``)."""

    kind: Literal["slo", "invariant", "anomaly", "opportunity"]
    name: str
    service: str
    fingerprint: str
    evidence: BlobRef
    waits: tuple[Wait, ...]


class SignalEnded(Event):
    """The signal's state is ``ok`` again."""

    fingerprint: str


class CauseOpened(Event):
    """A ticket lives for this cause (stream ``cause-<fingerprint>``): further firings attach to it."""

    fingerprint: str
    ticket_id: str


class SignalAttached(Event):
    """The cause fired again while its ticket lives (stream ``cause-<fingerprint>``): evidence, no second ticket."""

    fingerprint: str
    ticket_id: str
    evidence: BlobRef


class CauseClosed(Event):
    """The cause's ticket ended; the next firing opens a new one, linked as recurrence."""

    fingerprint: str
    ticket_id: str


class OpportunityOffered(Event):
    """Nothing is wrong, yet something may be better: a tunable of which it is not known that its value is the best
    (stream ``opportunities-<service>``, from which policy counts how many there were)."""

    ticket_id: str
    tunable: str
    value: int
    measured: Measurement


class ReleaseObserved(Event):
    """A node was seen to serve another release than before (stream ``service-<name>``), and by whose hand."""

    node: str
    before: str | None
    after: str
    actor: str
    since: datetime


class FleetChanged(Event):
    """The fleet was seen to have other nodes than before (stream ``fleet-<name>``): which came, which are gone."""

    nodes: tuple[str, ...]
    joined: tuple[str, ...]
    lost: tuple[str, ...]


class WatchBeat(Event):
    """The watch's heartbeat, once a minute and at its end: how often each state was seen since the last one."""

    ticks: int
    states: dict[str, dict[str, int]]
    """Name of the SLO or invariant → state → ticks."""
    requests: int | None
    since: datetime


class DeliveryWaits(Event):
    """A delivery waits for the lock of a service (stream ``queue-<name>``), with what decides whose turn it is."""

    ticket_id: str
    attempt: int
    priority: Literal["P0", "P1", "P2", "P3"]
    filed_at: datetime


class LockTaken(Event):
    """The lock of a service was taken (stream ``lock-<service>``); the stream's version is then the fencing token."""

    ticket_id: str
    attempt: int


class LockFreed(Event):
    """The lock of a service was given back."""

    ticket_id: str
    attempt: int


class EverythingPaused(Event):
    """A human stopped all tickets (stream ``pause``): no ticket is begun until ``EverythingResumed``."""

    by: str


class EverythingResumed(Event):
    """A human let tickets go on again."""

    by: str


def _leaves(cls: type[Event]) -> list[type[Event]]:
    return [leaf for sub in cls.__subclasses__() for leaf in (_leaves(sub) or [sub])]


EVENTS: dict[str, type[Event]] = {cls.__name__: cls for cls in _leaves(Event)}
"""Every event type by its name, which is how the ledger stores it."""
