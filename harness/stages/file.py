"""FILE: one ticket per cause, and those that people write. Touches only the ledger, in one transaction a ticket.

The streams decide: the expected version of a cause's lets exactly one of any number of concurrent filers open the
ticket, and every other one attaches to it; that of a ticket's own gives its number to one of them; and that of the
list of a service's causes has whoever begins together see each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from harness.cause import Standing, repaired_at, standing
from harness.core import events as e
from harness.core.cause import flapping, recurrence_of, transitions, why_together
from harness.core.errors import Broken, Forbidden, VersionConflict
from harness.core.ids import cause_stream, causes_stream, signal_stream, ticket_stream
from harness.core.invariant import Invariant
from harness.core.policy import Causes
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.signal import Signal, left_to_people, ticket_for
from harness.core.slo import Slo
from harness.core.ticket import Ticket
from harness.core.ticket_spec import TicketSpec
from harness.journal import HARNESS, Journal, decode, encode, read_ticket
from harness.numbering import next_id
from harness.ports import Blobs, Clock, Ledger

_RECENT = 50
"""So many of the causes that were listed last are looked at: of more, none began within seconds."""


def file(
    signal: Signal,
    *,
    slos: Sequence[Slo],
    invariants: Sequence[Invariant],
    sustained_s: float,
    policy: Causes,
    ledger: Ledger,
    blobs: Blobs,
    clock: Clock,
    beside: Callable[[str], Sequence[StreamWrite]] = lambda ticket_id: (),
    along: Callable[[str], Sequence[StreamWrite]] = lambda ticket_id: (),
) -> str:
    """Record the signal, with a ticket of its own, attached to the one that lives for its cause, or grouped into that
    of another with which it began; the ticket's id.

    ``beside``: what else is written with a new ticket, ``along``: with the signal, whether it gets a ticket of its own
    or not; both are asked again when somebody else wrote meanwhile.
    """
    while True:
        seen = ledger.read_stream(signal_stream(signal.fingerprint))
        changed_at = [row.occurred_at for n, row in enumerate(seen) if not n or row.type != seen[n - 1].type]
        repaired = repaired_at(ledger, signal.fingerprint)
        changes = transitions(changed_at, policy.flapping, signal.sampled_at, repaired)
        flaps = changes >= policy.flapping.transitions
        held_s = max(sustained_s, policy.flapping.within_s) if flaps else sustained_s
        spec = ticket_for(signal, slos, invariants, held_s)
        spec = flapping(spec, changes, policy.flapping) if flaps else spec
        to_people = left_to_people(signal, invariants)
        desk = _Desk(signal, spec, to_people, ledger=ledger, blobs=blobs, clock=clock)
        cause, listed = standing(ledger, signal.fingerprint), ledger.read_stream(causes_stream(signal.service))
        at = _Place(cause.version, len(seen), len(listed))
        try:
            if cause.living and not cause.lead:
                return desk.attach(cause.living, at, along)
            alone = ticket_for(replace(signal, beside=()), slos, invariants, held_s) if signal.beside else spec
            lead = None if flaps or to_people else _lead(signal, alone, cause, listed, policy, ledger, blobs, clock)
            if lead is not None:
                return desk.group(*lead, at, along)
            again = recurrence_of(cause.last, cause.closed_at, policy, signal.sampled_at)
            return desk.open(again, at, lambda ticket_id: [*beside(ticket_id), *along(ticket_id)])
        except VersionConflict:  # somebody else filed or closed in between: look again
            continue


def file_by_hand(spec: TicketSpec, *, by: str, request: str, ledger: Ledger, blobs: Blobs, clock: Clock) -> str:
    """Record the ticket that a person wrote, under the id that it asks for or the next free number; the id.

    Args:
        request: names this filing, in the id of its event.

    Raises:
        Forbidden: the id that the file asks for is taken.
    """
    document = blobs.put_json(spec.document())
    while True:
        ticket_id = spec.id or next_id(ledger)
        filed = e.TicketFiled(
            ticket_id=ticket_id, type=spec.type, service=spec.service, priority=spec.priority, source="human",
            spec=document,
        )  # fmt: skip
        new = encode(
            f"filed/{request}/{ticket_id}", filed, clock=clock, actor=f"human:{by}", correlation=ticket_id, cause=None
        )
        try:
            ledger.append([StreamWrite(ticket_stream(ticket_id), 0, [new])])
        except VersionConflict:
            if spec.id:
                raise Forbidden(f"id {spec.id} is taken; leave `id` out for the next free number") from None
            continue  # somebody else was faster: look again
        return ticket_id


def _lead(
    signal: Signal, spec: TicketSpec, cause: Standing, listed: Sequence[Recorded], policy: Causes, ledger: Ledger,
    blobs: Blobs, clock: Clock,
) -> tuple[Ticket, str] | None:  # fmt: skip
    """The ticket of another cause into which the signal is grouped, and why; None: into none."""
    if cause.living and cause.lead:
        return read_ticket(ledger, cause.living), "it fires again, and is grouped into that ticket already"
    if cause.lead and cause.closed_at is None:
        return None  # it was, and that ticket gave it up
    for row in reversed(listed[-_RECENT:]):
        other = decode(row)
        assert isinstance(other, e.CauseListed)
        if other.fingerprint == signal.fingerprint or standing(ledger, other.fingerprint).living != other.ticket_id:
            continue
        journal = Journal(other.ticket_id, ledger=ledger, blobs=blobs, clock=clock)
        try:
            why = why_together(signal, spec, journal.ticket, journal.spec(), policy.together_s)
        except Broken:  # a text that is lost hides no signal: it gets a ticket of its own
            continue
        if why is not None:
            return journal.ticket, why
    return None


class _Place(NamedTuple):
    """Where the streams of a cause stand: how many events its own has, its signal's, and the list of its service's."""

    cause: int
    signal: int
    listed: int


class _Desk:
    """The writes of one signal.

    Their keys name the sighting, the ticket and where both streams stand. So two filers conflict and look again, also
    of the very same sighting, unless they write the very same: then it is one append.
    """

    def __init__(
        self, signal: Signal, spec: TicketSpec, to_people: tuple[Literal["approve", "help"], str] | None, *,
        ledger: Ledger, blobs: Blobs, clock: Clock,
    ) -> None:  # fmt: skip
        self._signal, self._spec, self._ledger, self._clock = signal, spec, ledger, clock
        self._to_people = to_people
        self._evidence = blobs.put_json(signal.evidence)
        self._sighting = f"{signal.sampled_at.isoformat()}/{self._evidence}"
        self._document = blobs.put_json(spec.document())
        self._word = self._for_people(blobs)

    def attach(self, ticket_id: str, at: _Place, along: Callable[[str], Sequence[StreamWrite]]) -> str:
        """One more firing of a cause that is being worked on."""
        attached = e.SignalAttached(fingerprint=self._signal.fingerprint, ticket_id=ticket_id, evidence=self._evidence)
        self._ledger.append([*self._seen(attached, at, ticket_id), *along(ticket_id)])
        return ticket_id

    def group(self, lead: Ticket, why: str, at: _Place, along: Callable[[str], Sequence[StreamWrite]]) -> str:
        """One more signal of what another cause's ticket is there for: in both streams, so that it lives as it is
        written."""
        signal, cause = self._signal, lead.filed.fingerprint
        assert cause is not None, "only tickets of causes are listed"
        event = e.SignalGrouped(
            fingerprint=signal.fingerprint, signal=f"{signal.kind}:{signal.name}", ticket_id=lead.id, lead=cause,
            why=why, evidence=self._evidence,
        )  # fmt: skip
        of_lead = StreamWrite(cause_stream(cause), self._lead_version(cause, lead.id), [
            self._event("grouped", event, at, lead.id)
        ])  # fmt: skip
        self._ledger.append([*self._seen(event, at, lead.id), of_lead, *along(lead.id)])
        return lead.id

    def _lead_version(self, cause: str, ticket_id: str) -> int:
        now = standing(self._ledger, cause)
        if now.living != ticket_id:  # it was closed since it was looked at
            raise VersionConflict(stream=cause_stream(cause), expected=now.version, actual=now.version)
        return now.version

    def open(self, recurrence_of: str | None, at: _Place, beside: Callable[[str], Sequence[StreamWrite]]) -> str:
        """A new ticket under the next free number."""
        signal = self._signal
        ticket_id = next_id(self._ledger)
        filed = e.TicketFiled(
            ticket_id=ticket_id, type=self._spec.type, service=signal.service, priority=self._spec.priority,
            source=signal.kind, spec=self._document, fingerprint=signal.fingerprint,
            signal=f"{signal.kind}:{signal.name}",
            signal_began_at=signal.began_at, recurrence_of=recurrence_of,
        )  # fmt: skip
        opened = e.CauseOpened(fingerprint=signal.fingerprint, ticket_id=ticket_id)
        seen = self._seen(opened, at, ticket_id)
        events = [self._event("filed", filed, at, ticket_id)]
        if self._word is not None:
            events.append(self._event("word", self._word, at, ticket_id))
        ticket = StreamWrite(ticket_stream(ticket_id), 0, events)
        listed = e.CauseListed(fingerprint=signal.fingerprint, ticket_id=ticket_id)
        others = StreamWrite(causes_stream(signal.service), at.listed, [self._event("listed", listed, at, ticket_id)])
        self._ledger.append([*seen, ticket, others, *beside(ticket_id)])
        return ticket_id

    def _for_people(self, blobs: Blobs) -> e.ApprovalRequested | e.HelpRequested | None:
        """What hands a new ticket to a person before anything is done for it."""
        if self._to_people is None:
            return None
        way, text = self._to_people
        if way == "help":
            return e.HelpRequested(attempt=0, exit_status="asked", question=blobs.put_json({"question": text}))
        consequence = "approved, an agent works on it, and what it finds goes through test, canary, deploy and verify"
        why = blobs.put_json({"why": text, "consequence": consequence})
        return e.ApprovalRequested(what="work on this ticket", hash=self._document, why=why)

    def _seen(self, of_cause: e.Event, at: _Place, ticket_id: str) -> list[StreamWrite]:
        """That the signal started, and what that is to its cause."""
        signal = self._signal
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
        of_signal, cause = self._event("signal", started, at, ticket_id), self._event("cause", of_cause, at, ticket_id)
        return [
            StreamWrite(signal_stream(signal.fingerprint), at.signal, [of_signal]),
            StreamWrite(cause_stream(signal.fingerprint), at.cause, [cause]),
        ]

    def _event(self, what: str, event: e.Event, at: _Place, ticket_id: str) -> NewEvent:
        key = f"{what}/{self._signal.fingerprint}/{at.cause}/{at.signal}/{ticket_id}/{self._sighting}"
        return encode(key, event, clock=self._clock, actor=HARNESS, correlation=ticket_id, cause=None)
