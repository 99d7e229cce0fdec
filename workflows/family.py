"""What happens to a ticket is passed on to its parts: who cancels, pauses or resumes it means them as well.

Follows the ledger (``workflows.follow``): a word that was recorded reaches the parts, whoever dies in between. Each
part is told as a person tells it, by an update of its own workflow, which does it at its next safe point.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from temporalio.client import Client

from harness.adapters.temporal import tell_ticket
from harness.core import events as e
from harness.core.command import Command
from harness.core.errors import Refused, Retryable
from harness.core.ids import event_id, ticket_stream
from harness.core.record import Recorded
from harness.journal import Journal
from harness.parts import told_to_parts
from harness.ports import Blobs, Clock, Ledger
from workflows.follow import RETRY_S

NAME: Final = "family"
SEEN: Final = frozenset(
    kind.__name__ for kind in (e.TicketCancelled, e.ApprovalDenied, e.TicketPaused, e.TicketResumed)
)
log = structlog.get_logger()


class Family:
    """Passes on; ``see`` is given every event, in order."""

    def __init__(self, client: Client, *, ledger: Ledger, blobs: Blobs, clock: Clock) -> None:
        self._client = client
        self._ledger = ledger
        self._blobs = blobs
        self._clock = clock

    async def see(self, row: Recorded) -> None:
        """Tell every part of what happened to its parent, until each has done it, refused it, or is no more."""
        if row.type in SEEN:
            told = await asyncio.to_thread(lambda: list(told_to_parts(self._journal(_ticket(row)), row)))
            await asyncio.gather(*(self._tell(part, command) for part, command in told))

    async def _tell(self, part: str, command: Command) -> None:
        """An update that was not done in time has that as its answer for ever, so it is another one that is tried then;
        it may be done yet, and what the ledger says decides."""
        tries = 0
        while True:
            request = command.request if not tries else f"{command.request}/{tries}"
            try:
                await tell_ticket(self._client, part, command.model_copy(update={"request": request}))
                return
            except Refused as refusal:  # it came to its end, or was told the same, a moment ago
                log.info("a part stays as it is", part=part, told=command.verb, reason=str(refusal))
                return
            except Retryable as error:
                log.warning("a part is told again", part=part, told=command.verb, reason=str(error))
            await asyncio.sleep(RETRY_S)
            if await asyncio.to_thread(self._was_done, part, command.request, tries):
                return
            tries += 1

    def _was_done(self, part: str, request: str, tries: int) -> bool:
        journal = self._journal(part)
        requests = (request, *(f"{request}/{number}" for number in range(1, tries + 1)))
        return any(event_id(journal.key(f"command/{one}")) in journal.ticket.recorded for one in requests)

    def _journal(self, ticket_id: str) -> Journal:
        return Journal(ticket_id, ledger=self._ledger, blobs=self._blobs, clock=self._clock)


def _ticket(row: Recorded) -> str:
    return row.stream.removeprefix(ticket_stream(""))
