"""What the demo needs to know of an incident. Decides whether it ended as expected; touches nothing.

The form of the file is known to ``scenarios/`` alone, whose own program reads and checks it; the fault is the driver's:
the demo only sees whether there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from harness.core.declaration import Declaration


class ExpectedTicket(Declaration):
    """The ticket that the fault has to raise; ``signal`` is kind and name, ``slo:latency``."""

    type: str
    signal: str


class Expected(Declaration):
    """How the incident has to end, and by which ticket; none is expected where nothing is wrong."""

    outcome: Literal["resolved", "escalated", "none"]
    ticket: ExpectedTicket | None = None
    attempts: int | None = None

    def fits(self, outcome: str, type: str, signal: str | None) -> bool:
        """Whether a ticket ended so: another one that happened to end well is not what the file speaks of."""
        wanted = self.ticket
        return outcome == self.outcome and (wanted is None or (type, signal) == (wanted.type, wanted.signal))

    @property
    def words(self) -> str:
        """For people."""
        ticket = f", by a ticket of type {self.ticket.type} that {self.ticket.signal} raised" if self.ticket else ""
        return f"{self.outcome}{ticket}"


class Incident(Declaration):
    """The part of an incident (``scenarios/README.md``) that whoever plays it acts by."""

    id: str
    service: str
    profile: str
    story: str
    fault: dict[str, Any] | None
    expects: Expected

    @classmethod
    def of(cls, document: Mapping[str, Any], where: str) -> Incident:
        """From the whole document; raises Invalid."""
        return cls.parse({name: document[name] for name in cls.model_fields}, where)
