"""Alerts as an Alertmanager posts them, and a harness in memory that takes them in. Keeps nothing past its process."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.adapters.declarations import load_manifest
from harness.api.intake import Filer
from harness.api.metrics import Metrics
from harness.bootstrap import CHECKOUT, read_rules
from harness.core import events as e
from harness.core.alert import from_alertmanager
from harness.core.alert_cause import Declared
from harness.core.ids import cause_stream, ticket_stream
from harness.core.record import StreamWrite
from harness.core.redaction import Secrets
from harness.journal import HARNESS, decode, encode
from harness.simulation.ledger import GuardedMemoryBlobs, GuardedMemoryLedger
from harness.stages.file import file
from harness.stages.receive import Change, Stage, receive, taken

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = read_rules()
DECLARED = Declared(load_manifest(CHECKOUT / "services" / "ratelimiter" / "service.yaml"), RULES.slos, RULES.invariants)


def alert(number: int = 0, status: str = "firing", **labels: str) -> dict[str, Any]:
    """An alert as Alertmanager 0.25 writes it; ``number`` tells instances apart."""
    over = status == "resolved"
    return {
        "status": status,
        "labels": {"alertname": "TooSlow", "service": "ratelimiter", "instance": str(number), **labels},
        "annotations": {"summary": "it is slow"}, "startsAt": "2026-03-01T11:58:30.123456789Z",
        "endsAt": "2026-03-01T12:00:00Z" if over else "0001-01-01T00:00:00Z", "generatorURL": "http://p/graph",
        "fingerprint": f"{number:016x}",
    }  # fmt: skip


def message(*alerts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body of a webhook: the group says that it fires, whatever its alerts say."""
    return {
        "receiver": "harness", "status": "firing", "alerts": list(alerts), "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "http://a", "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0,
        **more,
    }  # fmt: skip


@dataclass
class SetClock:
    """The port ``Clock`` for what never waits: the time is what a test says."""

    at: datetime = NOON

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@dataclass
class InMemory:
    """The stages behind the interface, on a ledger in memory. A new ``filer()`` is a server that was started again."""

    clock: SetClock = field(default_factory=SetClock)
    requests: int = 0
    secrets: Secrets = field(default_factory=lambda: Secrets.of({}))

    def __post_init__(self) -> None:
        self.ledger = GuardedMemoryLedger(now=self.clock.now, secrets=self.secrets)
        self.blobs = GuardedMemoryBlobs(ledger=self.ledger, secrets=self.secrets, now=self.clock.now)
        self.stage = Stage(declared=DECLARED, ledger=self.ledger, blobs=self.blobs, clock=self.clock)

    def file(self, change: Change) -> None:
        if change.signal is not None:
            file(
                change.signal, slos=RULES.slos, invariants=RULES.invariants, sustained_s=10,
                policy=RULES.profile.causes, ledger=self.ledger,
                blobs=self.blobs, clock=self.clock, along=change.along,
            )  # fmt: skip
        change.note_end()
        change.end_signal()

    def filer(self) -> Filer:
        return Filer(ledger=self.ledger, stage=self.stage, file=self.file, metrics=Metrics())

    def post(self, *messages: dict[str, Any]) -> None:
        """Take these in, in one append, and file nothing."""
        self.requests += 1
        receive(
            [taken(from_alertmanager(one), DECLARED, self.secrets) for one in messages], str(self.requests), self.stage
        )

    def told(self, *alerts: dict[str, Any]) -> None:
        """Take one message in and file it."""
        self.post(message(*alerts))
        self.filer().page()

    def later(self, **by: float) -> None:
        self.clock.at += timedelta(**by)

    def tickets(self) -> list[e.TicketFiled]:
        rows = [self.ledger.read_stream(name)[0] for name in self.ledger.streams(ticket_stream(""))]
        return [event for row in rows if isinstance(event := decode(row), e.TicketFiled)]

    def signals(self) -> dict[str, str]:
        """Signal → its ticket: its own, or that of another with which it began."""
        own = {str(one.signal): one.ticket_id for one in self.tickets()}
        return own | {one.signal: one.ticket_id for one in self.all(e.SignalGrouped)}

    def close(self, ticket_id: str) -> None:
        """As a ticket's end does it."""
        cause = next(one.fingerprint for one in self.tickets() if one.ticket_id == ticket_id)
        assert cause is not None
        closed = e.CauseClosed(fingerprint=cause, ticket_id=ticket_id)
        new = encode(f"closed/{ticket_id}", closed, clock=self.clock, actor=HARNESS, correlation=ticket_id, cause=None)
        self.ledger.append([StreamWrite(cause_stream(cause), None, [new])])

    def all(self, kind: type[e.Event]) -> list[Any]:
        return [decode(row) for row in self.ledger.read_all(limit=10_000) if row.type == kind.__name__]

    def counts(self) -> Counter[str]:
        return Counter(row.type for row in self.ledger.read_all(limit=10_000))
