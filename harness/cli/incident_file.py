"""What the demo needs to know of an incident. Decides whether it ended as expected; touches nothing.

The form of the file is known to ``scenarios/`` alone, whose own program reads and checks it; the fault is the driver's:
the demo only sees whether there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    tickets: tuple[ExpectedTicket, ...] = ()
    attempts: int | None = None

    @property
    def wanted(self) -> tuple[ExpectedTicket, ...]:
        """The tickets that the file speaks of; none where any will do."""
        return self.tickets or ((self.ticket,) if self.ticket else ())

    def fits(self, ended: Sequence[Ended]) -> bool:
        """Whether every ticket that the file speaks of ended so: another one that happened to end well is none of them.

        One that was raised again after its first ticket had ended has to end so again.
        """
        if not self.wanted:
            return bool(ended) and all(one.outcome == self.outcome for one in ended)
        of_each = [
            [one.outcome for one in ended if (one.type, one.signal) == (ticket.type, ticket.signal)]
            for ticket in self.wanted
        ]
        return all(outcomes and set(outcomes) == {self.outcome} for outcomes in of_each)

    @property
    def offered(self) -> str | None:
        """The tunable that is offered, as a timer would at night, where no alarm is expected; None else."""
        kind, _, name = (self.ticket.signal if self.ticket else "").partition(":")
        return name if kind == "opportunity" else None

    @property
    def words(self) -> str:
        """For people."""
        by = [f"a ticket of type {ticket.type} that {ticket.signal} raised" for ticket in self.wanted]
        return f"{self.outcome}{', by ' if by else ''}{' and '.join(by)}"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a ticket ended."""

    outcome: str
    type: str
    signal: str | None


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
