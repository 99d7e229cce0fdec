"""The parts of a ticket: files them with its split, sees whether they have ended, what they took, what they are told.

Touches only the ledger. Parts are filed in the transaction that records the split, so that each is filed exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from pydantic import Field

from harness import hours
from harness.core import events as e
from harness.core.command import EVENT_OF, Command
from harness.core.declaration import Declaration
from harness.core.errors import Broken, Forbidden, Invalid, VersionConflict
from harness.core.ids import event_id, ticket_stream
from harness.core.lifecycle import ENDS, TABLE, State
from harness.core.manifest import Manifest
from harness.core.parts import SUMMED, Above, Amounts, failing_children, parts_of, passed_on
from harness.core.policy import Splitting
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.spending import spent
from harness.core.ticket import Step
from harness.core.ticket_spec import Budget, Child, TicketSpec
from harness.journal import Journal, decode, encode
from harness.numbering import next_ids
from harness.ports import Ledger

PARTS: Final = "parts"
"""The agent of an attempt that only verifies what the parts of a ticket came to."""


class Children(Declaration):
    """``children``, as a file or an agent gives them."""

    children: tuple[Child, ...] = Field(min_length=1)


def split(
    journal: Journal, children: Sequence[Child], *, policy: Splitting, manifest: Manifest, key: str, actor: str,
    source: Literal["human", "agent"],
) -> e.TicketSplit:  # fmt: skip
    """File these parts and have the ticket wait for them, once per key.

    Raises Invalid with a line for every part that cannot be filed, Forbidden when the ticket's life has no split now.
    """
    if done := journal.recorded(key, e.TicketSplit):
        return done
    parts = require_fit(journal, children, policy=policy, manifest=manifest)
    documents = [journal.put(part.document()) for part in parts]
    while True:
        ids = next_ids(journal.ledger, len(parts))
        beside = [
            StreamWrite(ticket_stream(one), 0, _filed(journal, key, one, part, document, actor, source))
            for one, part, document in zip(ids, parts, documents, strict=True)
        ]
        try:
            return journal.record(key, e.TicketSplit(children=tuple(ids)), actor=actor, beside=beside)
        except VersionConflict as conflict:
            if conflict.stream == ticket_stream(journal.ticket_id):
                raise
            continue  # somebody else took a number: look again


def require_fit(
    journal: Journal, children: Sequence[Child], *, policy: Splitting, manifest: Manifest
) -> tuple[TicketSpec, ...]:
    """The ticket files of these parts, as they would be filed now. Raises as ``split`` does."""
    if not journal.ticket.life.admitted:
        raise Forbidden(f"split: {journal.ticket_id} was not let in yet, and its baseline is measured before its parts")
    spec, where, taken, left_s = journal.spec(), _above(journal), _taken(journal), _left_s(journal)
    now = journal.clock.now()
    faults = [*_there_already(journal, children)]
    faults += failing_children(spec, children, where, manifest, policy, now, taken=taken, left_s=left_s)
    if faults:
        raise Invalid("\n".join(faults))
    return parts_of(spec, children, where, policy, taken=taken, left_s=left_s)


def _there_already(journal: Journal, children: Sequence[Child]) -> Iterator[str]:
    """A reason for each part that a living one is there for: who says `split` twice wants it once."""
    living = {one.ticket_id: one.spec() for one in _children(journal) if one.state not in ENDS}
    for number, child in enumerate(children):
        for ticket_id, spec in living.items():
            if (child.objective, child.acceptance_criteria) == (spec.objective, spec.acceptance_criteria):
                yield f"children[{number}]: {ticket_id} is there for the same and lives; leave it out, or cancel that"


def _filed(
    journal: Journal, key: str, ticket_id: str, part: TicketSpec, document: str, actor: str,
    source: Literal["human", "agent"],
) -> list[NewEvent]:  # fmt: skip
    filed = e.TicketFiled(
        ticket_id=ticket_id, type=part.type, service=part.service, priority=part.priority, source=source, spec=document
    )
    named = e.ParentNamed(parent=journal.ticket_id, depth=journal.ticket.depth + 1)
    return [
        encode(
            f"{journal.key(key)}/{word}/{ticket_id}", event, clock=journal.clock, actor=actor, correlation=ticket_id,
            cause=event_id(journal.key(key)),
        )
        for word, event in (("filed", filed), ("parent", named))
    ]  # fmt: skip


def wait_again(journal: Journal) -> bool:
    """Wait for the parts that have not ended, where a person's word led away from them; whether there are any."""
    living = tuple(child.ticket_id for child in _children(journal) if child.state not in ENDS)
    if living:
        journal.record(f"wait-again/{journal.ticket.version}", e.TicketSplit(children=living))
    return bool(living)


def rest_s(journal: Journal) -> float | None:
    """Seconds until a ticket that waits for its parts has to be looked at; None: not by itself."""
    if _ends(journal) is not None:
        return 0.0
    return hours.deadline_s(journal)


def look_again(journal: Journal) -> None:
    """Go on with a ticket whose parts have all ended. Does nothing to one that waits for something else."""
    if awaits_parts(journal) and (ends := _ends(journal)) is not None:
        journal.record(f"children-ended/{journal.ticket.version}", e.ChildrenEnded(children=ends))


def awaits_parts(journal: Journal) -> bool:
    """Whether it is its parts that the ticket waits for."""
    return journal.state is State.WAITING and journal.ticket.waits_until is None


def steps_below(journal: Journal) -> list[Step]:
    """Every step that an agent took on its parts, and on theirs: its budget is theirs as well."""
    return [step for part in _descendants(journal) for step in _steps(part)]


def parent_of(ledger: Ledger, ticket_id: str) -> str | None:
    """The ticket that this one is a part of."""
    rows = ledger.read_stream(ticket_stream(ticket_id))
    named = (event for row in rows[:2] if isinstance(event := decode(row), e.ParentNamed))
    return next((event.parent for event in named), None)


def told_to_parts(journal: Journal, row: Recorded) -> Iterator[tuple[str, Command]]:
    """What each living part is told of this event of its parent, by the person whose word it was.

    Told again it comes to the same: the event is what names the telling. Who was paused by somebody else stays so.
    """
    event = decode(row)
    verb = passed_on(event)
    if verb is None or not journal.ticket.children:
        return
    for part in _children(journal):
        ticket = part.ticket
        if (ticket.state, EVENT_OF[verb]) not in TABLE:
            continue
        paused = [identity for identity, one in ticket.recorded.items() if isinstance(one, e.TicketPaused)]
        if verb == "resume" and paused[-1:] != [_last_pause(journal, part, row)]:
            continue
        why = f"{journal.ticket_id}, of which this is a part, was ended."
        text = journal.put({"text": why}) if verb == "cancel" else None
        yield part.ticket_id, Command(verb=verb, request=row.id, by=_by(event), text=text)


def _last_pause(journal: Journal, part: Journal, resumed: Recorded) -> str | None:
    """The id that the part's pause has where it was the parent's last one, before this, that paused it."""
    rows = journal.ledger.read_stream(ticket_stream(journal.ticket_id))
    pauses = [row.id for row in rows if row.type == e.TicketPaused.__name__ and row.version < resumed.version]
    return event_id(part.key(f"command/{pauses[-1]}")) if pauses else None


def _by(event: e.Event) -> str:
    return str(getattr(event, "by"))  # noqa: B009  # every event that is passed on is a person's


def _above(journal: Journal) -> Above:
    top, seen = journal, {journal.ticket_id}
    while (parent := top.ticket.parent) is not None:
        if parent in seen:
            raise Broken(f"{parent} stands above itself; run `harness ledger verify`")
        seen.add(parent)
        top = _journal(journal, parent)
    total = sum(1 for _ in _descendants(top))
    return Above(journal.ticket.depth, len(journal.ticket.children), total)


def _taken(journal: Journal) -> Amounts:
    """What of the ticket's budget is spent, and what its living parts may still take."""
    taken = _amounts(_steps(journal))
    for part in _children(journal):
        used = _amounts([*_steps(part), *steps_below(part)])
        granted = part.spec().budget if part.state not in ENDS else Budget()
        for name in SUMMED:
            taken[name] += max(used[name], getattr(granted, name) or 0)
    return taken


def _amounts(steps: Sequence[Step]) -> Amounts:
    """By limit. What of a model's use is not known counts nothing here; a session that does not count is held apart."""
    total, calls = spent(steps), sum(isinstance(step, e.ActionTaken) for step in steps)
    tokens = (total.tokens_in or 0) + (total.tokens_out or 0)
    known = {"usd": total.usd or 0.0, "tokens": tokens, "steps": calls, "tool_calls": calls}
    return {name: known.get(name, 0) for name in SUMMED}


def _left_s(journal: Journal) -> float | None:
    wall_s = journal.spec().budget.wall_clock_s
    if wall_s is None or not journal.ticket.attempts:
        return wall_s
    return wall_s - (journal.clock.now() - journal.ticket.attempts[0].started_at).total_seconds()


def _ends(journal: Journal) -> tuple[e.ChildEnd, ...] | None:
    """How all parts ended; None while one has not."""
    parts = _children(journal)
    if not parts or any(part.state not in ENDS for part in parts):
        return None
    return tuple(e.ChildEnd.model_validate({"ticket_id": one.ticket_id, "state": one.state}) for one in parts)


def _steps(journal: Journal) -> list[Step]:
    return [step for attempt in journal.ticket.attempts for step in attempt.steps]


def _children(journal: Journal) -> list[Journal]:
    return [_journal(journal, child) for child in journal.ticket.children]


def _descendants(journal: Journal) -> Iterator[Journal]:
    ahead, seen = [*journal.ticket.children], {journal.ticket_id}
    while ahead:
        if (ticket_id := ahead.pop(0)) not in seen:
            seen.add(ticket_id)
            child = _journal(journal, ticket_id)
            ahead += child.ticket.children
            yield child


def _journal(journal: Journal, ticket_id: str) -> Journal:
    return Journal(ticket_id, ledger=journal.ledger, blobs=journal.blobs, clock=journal.clock)
