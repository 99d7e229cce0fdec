"""Tells of changes of state: of objectives and invariants, each in its own stream. Reads and writes the ledger only.

The caller remembers what was told, so that a tick in which nothing changes reads and writes nothing. Who remembers
nothing, or less than the ledger holds, finds it there: a tick that is done again tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from harness.core import events as e
from harness.core.case import cut
from harness.core.errors import VersionConflict
from harness.core.ids import WATCH_STREAM, fingerprint, state_stream
from harness.core.record import EVENTS_PER_APPEND, NewEvent, StreamWrite
from harness.core.state_change import Told, after_telling, look, recalled
from harness.journal import HARNESS, decode, encode
from harness.ports import Clock, Ledger

REASON_CHARS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An objective or an invariant as it was seen now. ``pending``: no longer well, and not yet in another state."""

    kind: Literal["slo", "invariant"]
    name: str
    service: str
    state: e.ToldState | Literal["pending"]
    reason: str

    @property
    def fingerprint(self) -> str:
        """The name of its cause, as its signal has it."""
        return fingerprint(self.kind, self.service, self.name)


def last_told(ledger: Ledger, kind: str, service: str, name: str) -> e.StateChanged | None:
    """The change that was told last: its state now, why, and since when; None where nobody ever looked."""
    rows = ledger.read_stream(state_stream(fingerprint(kind, service, name)))
    event = decode(rows[-1]) if rows else None
    return event if isinstance(event, e.StateChanged) else None


def settled_since(ledger: Ledger, told: e.StateChanged) -> tuple[str, datetime] | None:
    """The other state that it is in by now, though nobody told of it as it changed often, and when that was seen: it
    was in that one state all of the watch's last minute, after the change that was told last."""
    newest = ledger.read_stream(WATCH_STREAM, from_version=max(1, ledger.stream_version(WATCH_STREAM)))
    beat = decode(newest[-1]) if newest else None
    if not isinstance(beat, e.WatchBeat) or beat.since < told.at:
        return None
    states = beat.states.get(told.name, {})
    return (next(iter(states)), newest[-1].occurred_at) if len(states) == 1 and told.after not in states else None


def tell(
    seen: Sequence[Seen], remembered: Mapping[str, Told], now: datetime, *, ledger: Ledger, clock: Clock
) -> dict[str, Told]:
    """Record what changed, all of it in one transaction; what to remember of each, by fingerprint."""
    known = dict(remembered)
    while True:
        try:
            return _tell(seen, known, now, ledger, clock)
        except VersionConflict:  # this tick was done before, or another watch was faster: as the ledger has it
            known = {}


def _tell(
    seen: Sequence[Seen], known: Mapping[str, Told], now: datetime, ledger: Ledger, clock: Clock
) -> dict[str, Told]:
    writes, after = list[StreamWrite](), dict[str, Told]()
    for one in seen:
        before = known.get(one.fingerprint) or _recalled(ledger, one.fingerprint)
        told, tells = look(before, one.state, now.timestamp())
        if told is not None and tells:
            state = before.state if before else None
            writes.append(
                StreamWrite(state_stream(one.fingerprint), told.version, [_event(one, told, state, now, clock)])
            )
            told = after_telling(told, state, now.timestamp())
        if told is not None:
            after[one.fingerprint] = told
    for first in range(0, len(writes), EVENTS_PER_APPEND):
        ledger.append(writes[first : first + EVENTS_PER_APPEND])
    return after


def _recalled(ledger: Ledger, cause: str) -> Told | None:
    rows = [(row.occurred_at.timestamp(), decode(row)) for row in ledger.read_stream(state_stream(cause))]
    return recalled((at_s, event) for at_s, event in rows if isinstance(event, e.StateChanged))


def _event(one: Seen, told: Told, before: e.ToldState | None, now: datetime, clock: Clock) -> NewEvent:
    at = datetime.fromtimestamp(told.since_s, now.tzinfo)
    changed = e.StateChanged(
        kind=one.kind, name=one.name, service=one.service, before=before, after=told.seen,
        reason=cut(one.reason, REASON_CHARS), at=at, untold=max(0, told.untold - 1),
    )  # fmt: skip
    key = f"state/{one.fingerprint}/{told.version}/{told.seen}/{now.isoformat()}"
    return encode(key, changed, clock=clock, actor=HARNESS, correlation=one.fingerprint, cause=None)
