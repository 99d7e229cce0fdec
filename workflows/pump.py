"""The pump: starts the workflow of every filed ticket. Remembers only how far it has read (``workflows.follow``).

Filing only appends, so it works while Temporal is down; a crash between any two lines here starts nothing twice,
because a workflow's id is its ticket's. While everything is stopped it begins nothing, and forgets nothing.
"""

from __future__ import annotations

import asyncio

import structlog
from temporalio.client import Client

from harness.adapters.temporal import start_ticket
from harness.core import events as e
from harness.core.errors import Retryable
from harness.core.ids import ticket_stream
from harness.core.lifecycle import STAGE
from harness.core.record import Recorded
from harness.core.ticket import fold
from harness.journal import decode
from harness.ledger.store import Ledger
from harness.stop import is_stopped
from workflows.follow import RETRY_S, follow

NAME = "pump"
log = structlog.get_logger()


async def pump(ledger: Ledger, client: Client) -> None:
    """Follow the ledger for ever."""

    async def see(row: Recorded) -> None:
        if row.type == e.TicketFiled.__name__ and isinstance(filed := decode(row), e.TicketFiled):
            await _start(ledger, client, filed.ticket_id)

    await follow(ledger, NAME, see)


async def _start(ledger: Ledger, client: Client, ticket_id: str) -> None:
    """Start the ticket's workflow, unless its stream says that nothing is left to do."""
    ticket = fold((row.id, row.occurred_at, decode(row)) for row in ledger.read_stream(ticket_stream(ticket_id)))
    if ticket is None or ticket.state not in STAGE:
        return
    while is_stopped(ledger):
        await asyncio.sleep(RETRY_S)
    while True:
        try:
            await start_ticket(client, ticket_id)
            return
        except Retryable as error:
            log.warning("pump waits", ticket=ticket_id, reason=str(error))
            await asyncio.sleep(RETRY_S)
