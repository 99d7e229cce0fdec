"""FILE: one ticket per cause. Touches only the ledger: signal, cause and ticket are recorded in one transaction.

The cause's stream decides: its expected version lets exactly one of any number of concurrent filers open the ticket,
every other one attaches to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import events as e
from harness.core.errors import VersionConflict
from harness.core.ids import cause_stream, signal_stream, ticket_stream
from harness.core.invariant import Invariant
from harness.core.record import Recorded, StreamWrite
from harness.core.signal import Signal, ticket_for
from harness.core.slo import Slo
from harness.core.ticket import TicketSpec
from harness.journal import HARNESS, decode, encode
from harness.ports import Blobs, Clock, Ledger

FIRST_NUMBER = 1


def file(
    signal: Signal,
    *,
    slos: Sequence[Slo],
    invariants: Sequence[Invariant],
    sustained_s: float,
    ledger: Ledger,
    blobs: Blobs,
    clock: Clock,
) -> str:
    """Record the signal, with a ticket of its own or attached to the one that lives for its cause; the ticket's id."""
    spec = ticket_for(signal, slos, invariants, sustained_s)
    desk = _Desk(signal, spec, ledger=ledger, blobs=blobs, clock=clock)
    while True:
        causes = ledger.read_stream(cause_stream(signal.fingerprint))
        alive, last_ticket = _cause(causes)
        try:
            if alive and last_ticket:
                return desk.attach(last_ticket, len(causes))
            return desk.open(last_ticket, len(causes))
        except VersionConflict:  # somebody else filed or closed in between: look again
            continue


def _cause(rows: Sequence[Recorded]) -> tuple[bool, str | None]:
    """Whether a ticket lives for the cause, and the last ticket that did."""
    if not rows:
        return False, None
    last = decode(rows[-1])
    assert isinstance(last, e.CauseOpened | e.CauseClosed | e.SignalAttached)
    return not isinstance(last, e.CauseClosed), last.ticket_id


class _Desk:
    """The writes of one signal.

    Their keys name the sighting, not only the place in the stream: two filers at one place conflict and look again.
    """

    def __init__(self, signal: Signal, spec: TicketSpec, *, ledger: Ledger, blobs: Blobs, clock: Clock) -> None:
        self._signal, self._spec, self._ledger, self._clock = signal, spec, ledger, clock
        self._evidence = blobs.put_json(signal.evidence)
        self._sighting = f"{signal.sampled_at.isoformat()}/{self._evidence}"
        self._document = blobs.put_json({"ticket": spec.model_dump(mode="json")})

    def attach(self, ticket_id: str, version: int) -> str:
        """One more firing of a cause that is being worked on."""
        attached = e.SignalAttached(fingerprint=self._signal.fingerprint, ticket_id=ticket_id, evidence=self._evidence)
        self._ledger.append([self._started(ticket_id), self._cause_write(attached, version, ticket_id)])
        return ticket_id

    def open(self, recurrence_of: str | None, version: int) -> str:
        """A new ticket under the next free number."""
        signal = self._signal
        ticket_id = f"INF-{len(self._ledger.streams(ticket_stream('INF-'))) + FIRST_NUMBER}"
        filed = e.TicketFiled(
            ticket_id=ticket_id, type=self._spec.type, service=signal.service, priority=self._spec.priority,
            source=signal.kind, spec=self._document, fingerprint=signal.fingerprint,
            signal=f"{signal.kind}:{signal.name}",
            signal_began_at=signal.began_at, recurrence_of=recurrence_of,
        )  # fmt: skip
        opened = e.CauseOpened(fingerprint=signal.fingerprint, ticket_id=ticket_id)
        self._ledger.append(
            [
                self._started(ticket_id),
                self._cause_write(opened, version, ticket_id),
                self._write(
                    ticket_stream(ticket_id),
                    f"filed/{signal.fingerprint}/{version}/{self._sighting}",
                    filed,
                    0,
                    ticket_id,
                ),
            ]
        )
        return ticket_id

    def _started(self, ticket_id: str) -> StreamWrite:
        signal = self._signal
        stream = signal_stream(signal.fingerprint)
        version = len(self._ledger.read_stream(stream))
        wait = e.Wait(
            kind="query_window",
            what=f"{signal.kind} {signal.name}",
            opened_at=signal.began_at,
            closed_at=signal.sampled_at,
        )
        started = e.SignalStarted(
            kind=signal.kind, name=signal.name, service=signal.service, fingerprint=signal.fingerprint,
            evidence=self._evidence, waits=(wait,),
        )  # fmt: skip
        return self._write(
            stream, f"signal/{signal.fingerprint}/{version}/{self._sighting}", started, version, ticket_id
        )

    def _cause_write(self, event: e.Event, version: int, ticket_id: str) -> StreamWrite:
        cause = self._signal.fingerprint
        return self._write(cause_stream(cause), f"cause/{cause}/{version}/{self._sighting}", event, version, ticket_id)

    def _write(self, stream: str, key: str, event: e.Event, version: int, ticket_id: str) -> StreamWrite:
        new = encode(key, event, clock=self._clock, actor=HARNESS, correlation=ticket_id, cause=None)
        return StreamWrite(stream, version, [new])
