"""The JSON documents of the contract, field by field and with their types. Values only: nothing is converted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text}: without a time zone")
    return moment


Moment = Annotated[datetime, BeforeValidator(_moment)]
Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
TicketId = Annotated[str, Field(pattern=r"^INF-\d+$")]
CommitId = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PHASES = ("detect", "admit", "work", "test", "canary", "deploy", "verify")


class Document(BaseModel):
    """Fields that the contract names must be there and of their type; others may be."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Phase(Document):
    name: Literal["detect", "admit", "work", "test", "canary", "deploy", "verify"]
    seconds: Seconds
    waiting_s: Seconds


class Criterion(Document):
    metric: str
    condition: str
    duration: str
    before: float | None
    after: float | None
    met: bool | None


class Verdict(Document):
    metric: str
    verdict: Literal["PASS", "HIGH", "LOW", "NODATA"]
    reason: str


class Canary(Document):
    per_arm: int
    looks: int
    alpha: float
    keys: int
    smallest_harm: dict[str, Share]
    verdicts: list[Verdict]


class Verify(Document):
    samples: int
    window_s: Seconds


class Change(Document):
    kind: Literal["code", "config", "operation"]
    commit: CommitId
    summary: str


class Demo(Document):
    """`harness demo --json` of an incident; ``Quiet`` is the same where nothing happened."""

    incident: str
    ticket: TicketId
    outcome: Literal["resolved", "escalated"]
    attempts: int
    fault_to_ticket_s: Seconds
    fault_to_deploy_s: Seconds
    fault_to_verified_s: Seconds
    overhead_s: Seconds
    phases: list[Phase]
    criteria: list[Criterion]
    profile: str
    canary: Canary
    verify: Verify
    change: Change
    trajectory: str


class Quiet(Document):
    incident: str
    ticket: None
    outcome: Literal["none"]
    attempts: Literal[0]
    fault_to_ticket_s: None
    fault_to_deploy_s: None
    fault_to_verified_s: None
    overhead_s: None
    phases: list[Phase]
    criteria: list[Criterion]
    profile: str
    canary: None
    verify: None
    change: None
    trajectory: None
    ticks: dict[str, dict[str, int]]
    requests: int


class TicketRow(Document):
    """One entry of `harness ticket list --json`."""

    id: TicketId
    state: str
    type: Literal["incident", "improvement", "maintenance", "investigation", "reflection"]
    service: str
    priority: Literal["P0", "P1", "P2", "P3"]
    title: str
    fingerprint: str | None
    opened_at: Moment
    closed_at: Moment | None


class TicketCriterion(Document):
    metric: str
    condition: str
    duration: str
    baseline: float | None
    value: float | None
    met: bool | None


class Attempt(Document):
    n: int
    agent: str
    exit_status: str | None
    change: CommitId | None
    checks: str | None
    canary: str | None
    deploy: str | None
    verification: str | None


class Signal(Document):
    fingerprint: str
    kind: str
    first_seen: Moment
    count: int


class Cost(Document):
    usd: float | None
    tokens_in: int | None
    tokens_out: int | None
    gpu_s: float | None


class Ticket(Document):
    """`harness ticket show ID --json`."""

    id: TicketId
    type: Literal["incident", "improvement", "maintenance", "investigation", "reflection"]
    service: str
    state: str
    source: str
    priority: Literal["P0", "P1", "P2", "P3"]
    objective: str
    acceptance_criteria: list[TicketCriterion]
    constraints: list[str]
    attempts: list[Attempt]
    signals: list[Signal]
    cost: Cost
    parent: TicketId | None
    children: list[TicketId]
    links: list[str]


class LedgerVerification(Document):
    """`harness ledger verify --json`."""

    ok: bool
    events: int
    head: Hash
    first_bad_position: int | None
    reason: str | None


class Component(Document):
    name: str
    state: Literal["up", "down", "degraded"]
    since: Moment | None
    pid: int | None
    url: str | None
    log: str


class Status(Document):
    """`harness status --json`."""

    home: str
    components: list[Component]
