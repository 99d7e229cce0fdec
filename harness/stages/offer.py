"""OFFER: looks for something that could be better though nothing is wrong. Measures; changes nothing.

What it finds is a signal, which FILE makes a ticket of. The ledger keeps to policy's number of offers a week: the offer
is written in the ticket's own transaction, by the expected version of the offers' stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from harness.ahead import Sources, look_ahead, slower_checks
from harness.core import events as e
from harness.core.criteria import check_seconds_of
from harness.core.errors import Forbidden, Refused, Retryable
from harness.core.ids import opportunities_stream, ticket_stream
from harness.core.lifecycle import ENDS, State
from harness.core.manifest import Manifest
from harness.core.opportunity import Past, Prospect, Standing, left_this_week, prospects, state_of
from harness.core.outlook import Outlook
from harness.core.policy import Opportunities
from harness.core.record import StreamWrite
from harness.core.signal import Offer, Signal
from harness.core.slower import PAIRS, Shift, outlook_of, why_not_slower
from harness.core.ticket import Ticket
from harness.core.tunable import value_in
from harness.core.units import Quantity
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
    sources: Sources


@dataclass(frozen=True, slots=True)
class Found:
    """An opportunity with what it was measured at, and the signal to be filed. ``value``: of a tunable, what it is."""

    sort: Literal["tunable", "trend", "margin", "slower"]
    measured: e.Measurement
    signal: Signal
    words: str
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that lies ahead or became slower, and whether it is offered: ``open``, ``under_way`` or ``known``, and
    why.

    ``shift``: of a check that became slower.
    """

    outlook: Outlook
    state: Literal["open", "under_way", "known"]
    why: str
    measured: e.Measurement
    shift: Shift | None = None


def look(stage: Stage) -> tuple[list[Prospect], int]:
    """Every tunable with what is known of it, and how many offers policy allows this week."""
    past, now = _offers(stage), stage.clock.now()
    return prospects(_standings(stage), past, stage.policy, now), left_this_week(past, stage.policy, now)


async def ahead(stage: Stage) -> list[Seen]:
    """Every trend that will break something, and capacity that nobody needs; empty where policy asks for neither.

    Raises Retryable while there are no metrics to be read.
    """
    if stage.policy.ahead is None:
        return []
    offers, now = _offers(stage), stage.clock.now()
    found = await look_ahead(stage.sources, stage.manifest, stage.policy.ahead, stage.ledger, now)
    return [Seen(one, *state_of(one.name, offers, stage.policy, now), measured) for one, measured in found]


def slower(stage: Stage) -> list[Seen]:
    """Every check that takes longer than it used to, by the ledger alone; empty where policy does not ask for it."""
    if stage.policy.slower is None:
        return []
    offers, now = _offers(stage), stage.clock.now()
    found = [(outlook_of(one), one, at) for one, at in slower_checks(stage.manifest, stage.policy.slower, stage.ledger)]
    return [
        Seen(told, *state_of(told.name, offers, stage.policy, now), measured, shift) for told, shift, measured in found
    ]


async def offer(stage: Stage, name: str | None = None) -> Found | None:
    """The opportunity of this name, or the first there is: what lies ahead, then a check that became slower, then a
    tunable; None where there is none.

    Raises Invalid for a tunable that is not declared, Refused where what was asked for by its name cannot be measured
    or is not so, Forbidden while an incident is worked on, or when policy allows no more this week, Retryable where
    what lies ahead was asked for by its name and there are no metrics.
    """
    of_tunable = name is not None and ":" not in name
    of_check = name is not None and name.startswith("slower:")
    if of_tunable:
        stage.manifest.tunable(str(name))
    try:
        seen = [] if of_tunable or of_check else await ahead(stage)
    except Retryable:
        if name is not None:
            raise
        seen = []  # a tunable can be tried all the same
    found, left = look(stage)
    for one in [*seen, *([] if of_tunable else slower(stage))]:
        if one.state == "open" and name in (None, one.outlook.name):
            _require_some(left, stage.policy)
            _require_peace(stage)
            if one.shift is None:
                return _found_ahead(stage, one)
            measured, why_not = await _side_by_side(stage, one.shift)
            if measured is not None:
                return _found_ahead(stage, replace(one, measured=measured))
            if name is not None:
                raise Refused(f"{name} is not filed: {why_not}")
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
            metric=tunable.metric, condition=f"at least {Quantity.of(tunable.margin, '%').text} better",
            priority=stage.policy.priority,
            objective=f"Make {tunable.metric} of {stage.manifest.name} better by {tunable.name}: {tunable.what}",
        ),
        evidence={
            "reason": f"{tunable.name} is {standing.value}: {prospect.reason}", "value": measured.value,
            "tunable": tunable.name, "stands_at": standing.value, "query": measured.query, "samples": measured.samples,
        },
    )  # fmt: skip
    stands = f"{standing.tunable} is {standing.value}"
    return Found("tunable", measured, signal, words=f"{stands}: {prospect.reason}", value=standing.value)


def _found_ahead(stage: Stage, seen: Seen) -> Found:
    one, measured = seen.outlook, seen.measured
    wants = Offer(
        metric=one.metric, condition=one.condition, priority=stage.policy.priority, objective=one.objective,
        # Whoever leaves tests out is faster, too, and no measurement tells that from what was asked for.
        constraints=("requires approval",) if seen.shift is not None else (),
    )  # fmt: skip
    signal = Signal(
        kind="opportunity", name=one.name, service=stage.manifest.name, sampled_at=measured.window_to,
        began_at=measured.window_to, offer=wants, evidence={"reason": one.reason, "value": one.level},
    )  # fmt: skip
    return Found(one.sort, measured, signal, words=one.reason)


async def _side_by_side(stage: Stage, shift: Shift) -> tuple[e.Measurement | None, str]:
    """The run of main in the middle of the pairs if they show that it takes longer, else None and why not.

    Which of a pair is first takes turns, so that what the first leaves in caches helps neither.
    """
    assert stage.policy.slower is not None
    before, now = shift.reference.commit, stage.repository.main()
    name = check_seconds_of(shift.check)
    pairs: list[tuple[float, e.Measurement, float]] = []
    for number in range(PAIRS):
        pair = dict[str, e.Measurement]()
        for commit in (before, now) if number % 2 else (now, before):
            try:
                pair[commit], _ = await measure_by_probe(stage.manifest, name, Bench(stage.checks, commit))
            except Refused as error:
                return None, f"{commit[:12]} cannot be measured: {error}"
        was, is_ = pair[before].value, pair[now].value
        if was is None or is_ is None:
            return None, f"{shift.check} does not pass on {(before if was is None else now)[:12]}"
        pairs.append((was, pair[now], is_))
    why_not = why_not_slower([(was, is_) for was, _, is_ in pairs], stage.policy.slower)
    ordered = sorted(pairs, key=lambda one: one[2] / one[0])
    return (None, why_not) if why_not is not None else (ordered[len(ordered) // 2][1], "")


def note(stage: Stage, found: Found, ticket_id: str) -> Sequence[StreamWrite]:
    """The write that counts the offer, beside those of its ticket. Raises Forbidden when others were faster."""
    past = _offers(stage)
    _require_some(left_this_week(past, stage.policy, stage.clock.now()), stage.policy)
    event = e.OpportunityOffered(
        ticket_id=ticket_id, sort=found.sort, name=found.signal.name, value=found.value, measured=found.measured
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


def _offers(stage: Stage) -> list[Past]:
    rows = stage.ledger.read_stream(opportunities_stream(stage.manifest.name))
    offers = [(row, event) for row in rows if isinstance(event := decode(row), e.OpportunityOffered)]
    return [_offered(stage, event, row.occurred_at) for row, event in offers]


def _offered(stage: Stage, event: e.OpportunityOffered, at: datetime) -> Past:
    """An earlier offer, with the value that its ticket left behind."""
    ticket = _ticket(stage, event.ticket_id)
    lives = ticket.state not in ENDS
    delivered = ticket.attempt.change if ticket.attempts and ticket.state is State.RESOLVED else None
    left_at = event.value
    if delivered is not None and event.name in {one.name for one in stage.manifest.tunables}:
        left_at = _standing(stage, event.name, delivered.commit).value
    return Past(event.name, at, event.ticket_id, None if lives else left_at, ended=not lives)
