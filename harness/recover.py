"""Begins anew, from the ledger, what Temporal has no more: the workflow of every live ticket, and the watch.

Touches only Temporal. The ledger says which tickets live, Temporal which workflows run; what runs is left as it is, so
that it may be done at any time, and by two at once. Where a ticket goes on, its stages read in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.core.ids import ticket_stream
from harness.core.lifecycle import LIVE, STAGE, State
from harness.core.ticket import fold
from harness.journal import decode
from harness.ports import Ledger, Workflows
from harness.stop import is_stopped

Workflow = Literal["begun", "runs", "stopped"]
"""``stopped``: everything is, by a person's word, so that a ticket with work to do is left as it is."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of every live ticket's workflow, and of the watch's."""

    tickets: tuple[tuple[str, State, Workflow], ...]
    watch: Workflow

    @property
    def begun(self) -> tuple[str, ...]:
        """The tickets that had no workflow and have one now."""
        return tuple(ticket_id for ticket_id, _, workflow in self.tickets if workflow == "begun")


async def recover(ledger: Ledger, workflows: Workflows) -> Recovered:
    """Begin what is missing. Raises Retryable when Temporal is away; what was begun until then is begun.

    The watch comes last: as long as it is not there, a recovery that was cut off can be told from one that was not.
    """
    stopped = is_stopped(ledger)
    tickets: list[tuple[str, State, Workflow]] = []
    for ticket_id, state in live(ledger):
        if stopped and state in STAGE:
            tickets.append((ticket_id, state, "stopped"))
        else:
            tickets.append((ticket_id, state, "begun" if await workflows.begin_ticket(ticket_id) else "runs"))
    return Recovered(tuple(tickets), "begun" if await workflows.begin_watch() else "runs")


def live(ledger: Ledger, over: set[str] | None = None) -> list[tuple[str, State]]:
    """Every ticket that has not ended, and where it is.

    ``over``: the streams of tickets that are known to have ended, for whoever asks again: those are not read, and what
    is found to have ended is added. No ticket comes back to life.
    """
    found = []
    for stream in ledger.streams(ticket_stream("")):
        if over is not None and stream in over:
            continue
        ticket = fold((row.id, row.occurred_at, decode(row)) for row in ledger.read_stream(stream))
        if ticket is not None and ticket.state in LIVE:
            found.append((ticket.id, ticket.state))
        elif ticket is not None and over is not None:
            over.add(stream)
    return found
