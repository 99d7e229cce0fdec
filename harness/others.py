"""What other living tickets are there to restore, and what this one is. Reads the ledger; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.cause import signals, standing
from harness.core import events as e
from harness.core import others as core
from harness.core.ids import fingerprint
from harness.core.invariant import Invariant
from harness.core.signal import criteria_of, declared_criteria
from harness.core.slo import Slo
from harness.journal import Journal

Left = Mapping[tuple[str, str], tuple[str, e.Measurement]]
"""(metric, condition) → the ticket that it is left to, and what it was at the start."""


def left_to_others(journal: Journal, slos: Sequence[Slo], invariants: Sequence[Invariant]) -> Left:
    """What is left to other tickets as of now: those that live, and have been filed for it."""
    start = journal.ticket.attempt.start
    if start is None:
        return {}
    return core.left_to_others(_claims(journal, slos, invariants), _own(journal, slos, invariants), start.measured)


def no_worse_only(journal: Journal, invariants: Sequence[Invariant]) -> Left:
    """What a gate only asks to get no worse than it was: what is left to others, and what this ticket is there for."""
    start = journal.ticket.attempt.start
    before = {one.metric: one for one in start.measured} if start else {}
    own = {pair: (journal.ticket_id, before[pair[0]]) for pair in _own(journal, (), invariants) if pair[0] in before}
    return {**left_to_others(journal, (), invariants), **own}


def restored_by(journal: Journal, invariants: Sequence[Invariant]) -> tuple[Invariant, ...]:
    """Those that this ticket is there to restore."""
    own = _own(journal, (), invariants)
    return tuple(one for one in invariants if (one.metric, one.condition.condition.text) in own)


def _own(journal: Journal, slos: Sequence[Slo], invariants: Sequence[Invariant]) -> set[tuple[str, str]]:
    """What the ticket is there to reach: what its signals are about, or everything that a person wrote."""
    if journal.ticket.filed.signal is None:
        return {(one.metric, one.condition) for one in journal.spec().acceptance_criteria}
    there_for = signals(journal.ledger, journal.ticket)
    return {pair for name, pairs in _declared(slos, invariants) if name in there_for for pair in pairs}


def _claims(journal: Journal, slos: Sequence[Slo], invariants: Sequence[Invariant]) -> Iterator[core.Claim]:
    for name, pairs in _declared(slos, invariants):
        kind, _, called = name.partition(":")
        ticket_id = standing(journal.ledger, fingerprint(kind, journal.ticket.filed.service, called)).living
        if ticket_id is not None and ticket_id != journal.ticket_id:
            yield from (core.Claim(ticket_id, metric, condition) for metric, condition in pairs)


def _declared(slos: Sequence[Slo], invariants: Sequence[Invariant]) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    """Signal → the conditions of whose breaking it tells, as criteria write them."""
    for slo in slos:
        yield f"slo:{slo.name}", {(one.metric, one.condition) for one in criteria_of(slo, 1.0)}
    for invariant in invariants:
        criteria = declared_criteria((), [invariant], 1.0)
        yield f"invariant:{invariant.name}", {(one.metric, one.condition) for one in criteria}
