"""What the demo reads of an incident's file, checked before anything is started. Decides nothing, touches nothing.

The fault is the driver's alone: the demo only sees whether there is one.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.core.declaration import Declaration


class ExpectedTicket(Declaration):
    """The ticket that the fault has to raise; ``signal`` is kind and name, ``slo:latency``."""

    type: str
    signal: str


class Expected(Declaration):
    """How the incident has to end, and by which ticket; none is expected where nothing is wrong."""

    outcome: Literal["resolved", "escalated", "none"]
    ticket: ExpectedTicket | None = None

    def fits(self, outcome: str, type: str, signal: str | None) -> bool:
        """Whether a ticket ended so: another one that happened to end well is not what the file speaks of."""
        wanted = self.ticket
        return outcome == self.outcome and (wanted is None or (type, signal) == (wanted.type, wanted.signal))


class OracleOrder(Declaration):
    """How many requests the oracle sends, from when (ms) one is slow, and the shares that tell well from sick."""

    requests: int = Field(ge=1)
    slow_ms: float = Field(gt=0)
    healthy_slow_share_below: float = Field(gt=0, le=1)
    faulty_slow_share_above: float = Field(ge=0, le=1)


class Incident(Declaration):
    """An incident (``scenarios/README.md``)."""

    id: str
    class_: str = Field(alias="class")
    service: str
    profile: str
    story: str
    fault: dict[str, Any] | None
    expects: Expected
    oracle: OracleOrder
