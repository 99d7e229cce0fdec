"""A ticket with its rows, cut into attempts: what summaries and charts are computed from. Pure; touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar

from harness.core import events as e
from harness.core.record import Recorded
from harness.core.ticket import Ticket

LINE_CHARS: Final = 600

Body = Callable[[str], Any]
"""Gives the JSON of a blob reference."""
History = Sequence[tuple[Recorded, e.Event]]
E = TypeVar("E", bound=e.Event)


@dataclass(frozen=True, slots=True)
class Case:
    """A ticket as of the end of the week: its rows, and those of the signal that raised it."""

    ticket: Ticket
    rows: History
    signal: History = ()

    def chapters(self) -> list[History]:
        """The rows of each attempt, AttemptStarted first."""
        starts = [number for number, (_, event) in enumerate(self.rows) if isinstance(event, e.AttemptStarted)]
        return [self.rows[start:end] for start, end in pairwise([*starts, len(self.rows)])]


def find(rows: History, *kinds: type[E]) -> tuple[Recorded, E] | None:
    """The last of these events."""
    return next(((row, event) for row, event in reversed(rows) if isinstance(event, kinds)), None)


def title(case: Case, body: Body) -> str:
    return cut(str(body(case.ticket.filed.spec)["ticket"]["objective"]["description"]))


def cut(text: str, limit: int = LINE_CHARS) -> str:
    """The text, or its beginning and how much was left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} characters left out)"
