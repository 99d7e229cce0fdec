"""The global stop: while it is on, no ticket is begun. A stream of the ledger, so that it outlives every process.

Tickets that were begun before are paused one by one, each by its workflow. Touches only the ledger.
"""

from __future__ import annotations

from harness.core import events as e
from harness.core.errors import VersionConflict
from harness.core.ids import PAUSE_STREAM
from harness.core.record import StreamWrite
from harness.journal import decode, encode
from harness.ports import Clock, Ledger


def is_stopped(ledger: Ledger) -> bool:
    """Whether the last word was to stop."""
    rows = ledger.read_stream(PAUSE_STREAM)
    return bool(rows) and isinstance(decode(rows[-1]), e.EverythingPaused)


def record_stop(ledger: Ledger, clock: Clock, *, stopped: bool, by: str) -> None:
    """Stop, or go on; what holds already is not said again."""
    while is_stopped(ledger) is not stopped:
        version = len(ledger.read_stream(PAUSE_STREAM))
        event = e.EverythingPaused(by=by) if stopped else e.EverythingResumed(by=by)
        new = encode(
            f"{PAUSE_STREAM}/{version}/{by}",
            event,
            clock=clock,
            actor=f"human:{by}",
            correlation=PAUSE_STREAM,
            cause=None,
        )
        try:
            ledger.append([StreamWrite(PAUSE_STREAM, version, [new])])
        except VersionConflict:  # somebody said something at the same moment: look again
            continue
