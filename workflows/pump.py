"""The pump: starts the workflow of every filed ticket, and wakes those that wait when what they wait for may be over:
main moved, and with it the service's hours, a signal ended, or a part of theirs. Has a ticket look again whose missing
data are back. Remembers only how far it has read.

Filing only appends, so it works while Temporal is down; a crash between any two lines here starts nothing twice,
because a workflow's id is its ticket's. While everything is stopped it begins nothing, and forgets nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from temporalio.client import Client

from harness.adapters.temporal import start_ticket, tell_ticket, wake_ticket
from harness.cause import data_came_back, standing
from harness.core import events as e
from harness.core.command import Command
from harness.core.errors import Refused, Retryable
from harness.core.ids import ticket_stream
from harness.core.lifecycle import STAGE, State
from harness.core.record import Recorded
from harness.journal import HARNESS, decode, read_ticket
from harness.ledger.store import Ledger
from harness.parts import parent_of
from harness.recover import live
from harness.stop import is_stopped
from workflows.follow import RETRY_S, follow

NAME = "pump"
ENDED = (e.CriteriaMet, e.TicketRejected, e.TicketMerged, e.TicketCancelled, e.ApprovalDenied)
"""By which a ticket comes, or may have come, to its end: its parent may wait for that."""
SEEN = frozenset(
    one.__name__ for one in (e.TicketFiled, e.MainMoved, e.ReleaseObserved, e.SignalEnded, e.HelpRequested, *ENDED)
)
log = structlog.get_logger()


async def pump(ledger: Ledger, client: Client) -> None:
    """Follow the ledger for ever."""

    begun_at: int | None = None
    over: set[str] = set()

    async def see(row: Recorded) -> None:
        nonlocal begun_at
        if begun_at is None:  # one look is enough for all that was moved until now: a wake only says «look again»
            begun_at = ledger.head().position
            await _wake(ledger, client, over)
        if row.type not in SEEN:
            return
        match decode(row):
            case e.TicketFiled(ticket_id=ticket_id):
                await _start(ledger, client, ticket_id)
            case event if isinstance(event, ENDED):
                if (parent := parent_of(ledger, row.stream.removeprefix(ticket_stream("")))) is not None:
                    await _surely(wake_ticket, client, parent)
            case e.MainMoved() if row.position > begun_at:
                await _wake(ledger, client, over)
            case e.ReleaseObserved(actor=actor) if (
                actor != HARNESS and row.position > begun_at
            ):  # main was moved by another hand, it may be
                await _wake(ledger, client, over)
            case e.SignalEnded(fingerprint=cause):
                if row.position > begun_at:  # a violation may have blocked them
                    await _wake(ledger, client, over)
                if (its := standing(ledger, cause).living) is not None:
                    await _tell_of_data(ledger, client, its)
            case e.HelpRequested():
                await _tell_of_data(ledger, client, row.stream.removeprefix(ticket_stream("")))

    await follow(ledger, NAME, see)


async def _wake(ledger: Ledger, client: Client, over: set[str]) -> None:
    """``over``: tickets that need not be read again (``harness.recover.live``)."""
    for ticket_id, state in await asyncio.to_thread(live, ledger, over):
        if state in (State.WAITING, State.QUEUED):
            await _surely(wake_ticket, client, ticket_id)


async def _tell_of_data(ledger: Ledger, client: Client, ticket_id: str) -> None:
    """Have a ticket that was filed for missing data look again, now that they are back: once each time they come."""
    if coming := data_came_back(ledger, ticket_id):
        told = Command(verb="answer", request=f"data-back/{coming}", by=HARNESS)
        try:
            await _surely(partial(tell_ticket, command=told), client, ticket_id)
        except Refused as error:  # a person was faster
            log.info("not told", ticket=ticket_id, reason=str(error))


async def _start(ledger: Ledger, client: Client, ticket_id: str) -> None:
    """Start the ticket's workflow, unless its stream says that nothing is left to do."""
    if read_ticket(ledger, ticket_id).state not in STAGE:
        return
    while is_stopped(ledger):
        await asyncio.sleep(RETRY_S)
    await _surely(start_ticket, client, ticket_id)


async def _surely(do: Callable[[Client, str], Awaitable[object]], client: Client, ticket_id: str) -> None:
    while True:
        try:
            await do(client, ticket_id)
            return
        except Retryable as error:
            log.warning("pump waits", ticket=ticket_id, reason=str(error))
            await asyncio.sleep(RETRY_S)
