"""How long a stage tries what does not answer, before it ends with a verdict. Touches only the ledger.

The first time that a stage gets no further it says so, in the ticket's stream, where people see it. From then on its
time runs, in the ledger's own times: whoever retries it after a kill -9 goes on counting. What is recorded of progress
ends the stall.
"""

from __future__ import annotations

from harness.core import events as e
from harness.core.errors import Retryable
from harness.core.lifecycle import NOTES
from harness.journal import Journal


def give_up(journal: Journal, after_s: float, error: Retryable) -> str:
    """The reason of the verdict, in words, once ``error`` or its like were met for so long; before that, raises it.

    A ticket that a person has in hand is tried for as long as the person's own command is.
    """
    if journal.state not in NOTES[e.StageStalled]:
        raise error
    since, now = journal.ticket.stalled_at, journal.clock.now()
    if since is None:
        n = journal.ticket.attempt.n
        journal.record(f"{n}/stalled-{journal.ticket.version}", e.StageStalled(attempt=n, reason=str(error)))
    if since is None or (now - since).total_seconds() < after_s:
        raise error
    return f"no_data: nothing came of it for {(now - since).total_seconds():.0f} s: {error}"
