"""OFFER: looks for something that could be better though nothing is wrong. Measures one thing; changes nothing.

What it finds is a signal, which FILE makes a ticket of. The ledger keeps to policy's number of offers a week: the offer
is written in the ticket's own transaction, by the expected version of the offers' stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core import events as e
from harness.core.errors import Forbidden, Refused
from harness.core.ids import opportunities_stream, ticket_stream
from harness.core.lifecycle import ENDS, State
from harness.core.manifest import Manifest
from harness.core.opportunity import Past, Prospect, Standing, left_this_week, prospects
from harness.core.policy import Opportunities
from harness.core.record import StreamWrite
from harness.core.signal import Offer, Signal
from harness.core.ticket import Ticket
from harness.core.tunable import value_in
from harness.journal import HARNESS, Journal, decode, encode
from harness.measure import Bench, measure_by_probe
from harness.ports import Blobs, Checks, Clock, Ledger, Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What looking for an opportunity needs."""

    manifest: Manifest
    policy: Opportunities
    repository: Repository
    checks: Checks
    ledger: Ledger
    blobs: Blobs
    clock: Clock


@dataclass(frozen=True, slots=True)
class Found:
    """An opportunity with what it was measured at, and the signal to be filed."""

    prospect: Prospect
    measured: e.Measurement
    signal: Signal


def look(stage: Stage) -> tuple[list[Prospect], int]:
    """Every tunable with what is known of it, and how many offers policy allows this week."""
    past, now = _past(stage), stage.clock.now()
    return prospects(_standings(stage), past, stage.policy, now), left_this_week(past, stage.policy, now)


async def offer(stage: Stage, name: str | None = None) -> Found | None:
    """The opportunity of this tunable, or the first there is, measured on what is served; None where there is none.

    Raises Invalid for a tunable that is not declared, Refused where its metric cannot be measured, Forbidden while an
    incident is worked on, or when policy allows no more this week.
    """
    if name is not None:
        stage.manifest.tunable(name)
    found, left = look(stage)
    prospect = next((one for one in found if one.state == "open" and name in (None, one.standing.tunable)), None)
    if prospect is None:
        return None
    _require_some(left, stage.policy)
    _require_peace(stage)
    tunable, standing = stage.manifest.tunable(prospect.standing.tunable), prospect.standing
    bench = Bench(stage.checks, stage.repository.main())
    measured, _ = await measure_by_probe(stage.manifest, tunable.metric, bench)
    if measured.value is None:
        probe = stage.manifest.metrics[tunable.metric].probe
        raise Refused(
            f"{tunable.metric} of {bench.commit[:12]} cannot be measured, so that nothing could be told to be better; "
            f"run the probe `{probe}` of its service.yaml by hand, and file again"
        )
    signal = Signal(
        kind="opportunity", name=tunable.name, service=stage.manifest.name, sampled_at=measured.window_to,
        began_at=measured.window_from,
        offer=Offer(
            metric=tunable.metric, margin=tunable.margin, priority=stage.policy.priority,
            objective=f"Make {tunable.metric} of {stage.manifest.name} better by {tunable.name}: {tunable.what}",
        ),
        evidence={
            "reason": f"{tunable.name} is {standing.value}: {prospect.reason}", "value": measured.value,
            "tunable": tunable.name, "stands_at": standing.value, "query": measured.query, "samples": measured.samples,
        },
    )  # fmt: skip
    return Found(prospect, measured, signal)


def note(stage: Stage, found: Found, ticket_id: str) -> Sequence[StreamWrite]:
    """The write that counts the offer, beside those of its ticket. Raises Forbidden when others were faster."""
    past = _past(stage)
    _require_some(left_this_week(past, stage.policy, stage.clock.now()), stage.policy)
    event = e.OpportunityOffered(
        ticket_id=ticket_id, tunable=found.prospect.standing.tunable, value=found.prospect.standing.value,
        measured=found.measured,
    )  # fmt: skip
    key = f"opportunity/{stage.manifest.name}/{len(past)}/{found.signal.sampled_at.isoformat()}"
    new = encode(key, event, clock=stage.clock, actor=HARNESS, correlation=ticket_id, cause=None)
    return [StreamWrite(opportunities_stream(stage.manifest.name), len(past), [new])]


def _require_some(left: int, policy: Opportunities) -> None:
    if not left:
        raise Forbidden(
            f"policies/opportunities.yaml: per_week: {policy.per_week} were filed in the last seven days; "
            "wait until one of them is older; a person's own ticket needs no such leave: `harness ticket file`"
        )


def _require_peace(stage: Stage) -> None:
    for stream in stage.ledger.streams(ticket_stream("")):
        other = _ticket(stage, stream.removeprefix(ticket_stream("")))
        if other.filed.type == "incident" and other.state not in ENDS | {State.ESCALATED}:
            raise Forbidden(f"{other.id} is an incident and {other.state}; what is wrong comes first, try again then")


def _ticket(stage: Stage, ticket_id: str) -> Ticket:
    return Journal(ticket_id, ledger=stage.ledger, blobs=stage.blobs, clock=stage.clock).ticket


def _standings(stage: Stage) -> list[Standing]:
    main = stage.repository.main()
    return [_standing(stage, one.name, main) for one in stage.manifest.tunables]


def _standing(stage: Stage, name: str, commit: str) -> Standing:
    tunable = stage.manifest.tunable(name)
    return Standing(name, value_in(stage.repository.read(commit, tunable.file), tunable.file, tunable.key))


def _past(stage: Stage) -> list[Past]:
    rows = stage.ledger.read_stream(opportunities_stream(stage.manifest.name))
    offers = [(row, event) for row in rows if isinstance(event := decode(row), e.OpportunityOffered)]
    return [Past(event.tunable, row.occurred_at, event.ticket_id, _left_at(stage, event)) for row, event in offers]


def _left_at(stage: Stage, offered: e.OpportunityOffered) -> int | None:
    """The value that the offer's ticket left behind; None while it lives."""
    ticket = _ticket(stage, offered.ticket_id)
    if ticket.state not in ENDS:
        return None
    delivered = ticket.attempt.change if ticket.attempts and ticket.state is State.RESOLVED else None
    if delivered is None or offered.tunable not in {one.name for one in stage.manifest.tunables}:
        return offered.value
    return _standing(stage, offered.tunable, delivered.commit).value
