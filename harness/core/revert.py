"""What of a ticket can be taken back: the move of main that it was resolved by. Decides; touches nothing."""

from __future__ import annotations

from harness.core import events as e
from harness.core.errors import Forbidden
from harness.core.lifecycle import State
from harness.core.ticket import Ticket


def delivered_by(ticket: Ticket) -> e.MainMoved:
    """What the ticket brought to main. Raises Forbidden for one that did not change the service, or does no more."""
    if ticket.state is not State.RESOLVED:
        raise Forbidden(f"{ticket.id} is {ticket.state}: only what a resolved ticket changed can be taken back")
    attempt = ticket.attempt
    if attempt.main_moved is None or attempt.change is None:
        raise Forbidden(f"{ticket.id} was resolved without a change: there is nothing to take back")
    if attempt.change.kind == "operation":
        raise Forbidden(f"{ticket.id} was an operation, no commit: the service's catalog says how to reverse it")
    return attempt.main_moved
