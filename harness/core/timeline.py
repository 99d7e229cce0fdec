"""Where a ticket's time went: phases by state, and how much of each was waiting for evidence. Pure; touches nothing.

Waiting is the union of the spans that events name (a query window, a check, a start, a drain); all else is overhead,
polling past the moment at which the evidence existed included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.core import events as e
from harness.core.lifecycle import Life, State, evolve

PHASE_OF = {
    State.FILED: "admit",
    State.ADMITTED: "work",
    State.WORKING: "work",
    State.QUEUED: "test",
    State.TESTING: "test",
    State.CANARYING: "canary",
    State.DEPLOYING: "deploy",
    State.VERIFYING: "verify",
}
PHASES = ("detect", "admit", "work", "test", "canary", "deploy", "verify")

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Phase:
    """Seconds spent in a phase, over all attempts, and how many of them waited for evidence."""

    name: str
    seconds: float
    waiting_s: float


def phases(
    history: Sequence[tuple[datetime, e.Event]], *, began_at: datetime, signal_waits: Iterable[e.Wait]
) -> list[Phase]:
    """The phases of a ticket's events (in order, from TicketFiled on), detection counted from ``began_at``."""
    spans = _spans(history, began_at)
    waits = [wait for _, event in history for wait in getattr(event, "waits", ())]
    windows = _union([(wait.opened_at, wait.closed_at) for wait in [*waits, *signal_waits]])
    return [
        Phase(
            name=name,
            seconds=sum(_seconds(span) for span in spans[name]),
            waiting_s=sum(_overlap(span, window) for span in spans[name] for window in windows),
        )
        for name in PHASES
    ]


def overhead_s(phases: Iterable[Phase]) -> float:
    """Seconds in which nothing was waited for."""
    return sum(phase.seconds - phase.waiting_s for phase in phases)


def under_way(history: Sequence[tuple[datetime, e.Event]]) -> tuple[str, datetime] | None:
    """The phase that a ticket is in and since when; None when it waits for a person, or is at an end."""
    phase, since = None, None
    for at, _, after in _moves(history):
        phase, since = after, at
    return None if phase is None or since is None else (phase, since)


def _spans(history: Sequence[tuple[datetime, e.Event]], began_at: datetime) -> dict[str, list[Span]]:
    spans: dict[str, list[Span]] = {name: [] for name in PHASES}
    entered_at = began_at
    for at, before, _ in _moves(history):
        if before is not None:
            spans[before].append((entered_at, at))
        entered_at = at
    return spans


def _moves(history: Sequence[tuple[datetime, e.Event]]) -> Iterator[tuple[datetime, str | None, str | None]]:
    """(time, phase before, phase after) whenever the phase changes; filing ends detection."""
    life = Life()
    for at, event in history:
        if isinstance(event, e.TicketFiled):
            yield at, "detect", PHASE_OF[life.state]
            continue
        after = evolve(life, event)
        if _phase(after) != _phase(life):
            yield at, _phase(life), _phase(after)
        life = after


def _phase(life: Life) -> str | None:
    """A verification that was interrupted goes on with waiting for the lock."""
    return "verify" if life.state is State.QUEUED and life.interrupted else PHASE_OF.get(life.state)


def _union(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _overlap(one: Span, other: Span) -> float:
    return max(0.0, _seconds((max(one[0], other[0]), min(one[1], other[1]))))


def _seconds(span: Span) -> float:
    return (span[1] - span[0]).total_seconds()
