"""How many signals become few tickets: what is grouped, what flaps, what has come back. Decides; touches nothing.

Grouping is a guess: that what begins together has one cause. It is only made where nothing is lost by it, for the
ticket asks for all that a second one would; and it is given up with the first attempt that fails (docs/adr/0029).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from harness.core.lifecycle import LIVE, State
from harness.core.policy import Causes, Flapping
from harness.core.signal import Signal
from harness.core.ticket import Ticket
from harness.core.ticket_spec import Objective, TicketSpec
from harness.core.units import Quantity

ALIKE: Final = frozenset({"slo", "invariant", "alert", "no_data"})
"""Kinds of which several may have one cause. What could be better is no trouble, and what is unusual none that is
declared: each has a criterion of its own."""


def why_together(
    signal: Signal, spec: TicketSpec, lead: Ticket, lead_spec: TicketSpec, together_s: float
) -> str | None:
    """Why the signal, which asks for this spec by itself, is grouped into the ticket of another; None: it is not.

    It has to be of the same kind, to have begun about when that ticket was filed, to be no more urgent, and to ask for
    nothing that the ticket does not ask for; and the ticket must not have touched the service yet.
    """
    kind, gap_s = (lead.filed.signal or "").partition(":")[0], (signal.sampled_at - lead.filed_at).total_seconds()
    if signal.kind not in ALIKE or kind != signal.kind or lead.filed.service != signal.service:
        return None
    if abs(gap_s) > together_s or lead.state not in LIVE or _has_touched(lead) or failed(lead):
        return None
    if lead.life.attempt == 0 and lead.state in (State.ESCALATED, State.AWAITING_APPROVAL):
        return None  # it was left to a person before anybody looked, which this one is not
    if spec.priority < lead.filed.priority or not _asks(spec) <= _asks(lead_spec):
        return None
    return (
        f"it began {max(0.0, gap_s):.0f}s after {lead.filed.signal} of the same service, and the criteria of {lead.id} "
        "hold all that a ticket of its own would ask"
    )


def failed(lead: Ticket) -> bool:
    """Whether the guess that all signals of this ticket have one cause is given up: an attempt at that one failed."""
    return any(attempt.failure is not None for attempt in lead.attempts)


def _has_touched(lead: Ticket) -> bool:
    """Whether what begins now may be the ticket's own doing."""
    return any(attempt.start is not None for attempt in lead.attempts)


def transitions(
    changed_at: Iterable[datetime], policy: Flapping, now: datetime, repaired_at: datetime | None = None
) -> int:
    """How often a signal began or ended of late.

    ``repaired_at``: when a ticket of its cause was last resolved by a change. What began and ended until then did so
    for that reason, and is told as recurrence.
    """
    since = now - timedelta(seconds=policy.within_s)
    return sum(at >= since and (repaired_at is None or at > repaired_at) for at in changed_at)


def is_repair(ticket: Ticket) -> bool:
    """Whether the ticket was resolved by a change of its own; not where all was well again by itself."""
    return ticket.state is State.RESOLVED and bool(ticket.attempts) and ticket.attempts[-1].change is not None


def flapping(spec: TicketSpec, changes: int, policy: Flapping) -> TicketSpec:
    """The ticket of a signal that flaps: it says so."""
    within = Quantity(policy.within_s, "s").text
    description = f"{spec.objective.description}, and keep it there: it flaps, {changes} changes within {within}"
    return spec.model_copy(update={"objective": Objective(description=description)})


def recurrence_of(last: str | None, closed_at: datetime | None, policy: Causes, now: datetime) -> str | None:
    """The ticket that the cause had before, where that ended within the quiet period."""
    if closed_at is None or now - closed_at > timedelta(seconds=policy.quiet_period_s):
        return None
    return last


def _asks(spec: TicketSpec) -> set[tuple[str, str]]:
    return {(one.metric, one.condition) for one in spec.acceptance_criteria}
