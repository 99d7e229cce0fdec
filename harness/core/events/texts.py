"""What became of a text before it was written (stream ``redactions``). Touches nothing."""

from __future__ import annotations

from harness.core.events.values import Event


class Redacted(Event):
    """Secrets were taken out of a text before it was written (stream ``redactions``)."""

    found: dict[str, int]
    """Name of the variable whose value it was, or of the pattern → how often."""
    body: str | None = None
    """The hash (hex) of the body that is stored without them; None where it was an event's own text. No reference: it
    keeps no body from being collected, or from being over."""
    event: str | None = None
    """The id of the event that is recorded without them; None where it was a body."""
