"""What becomes of bodies beside the ledger (stream ``blob-<hash>``). Touches nothing."""

from __future__ import annotations

from typing import Literal

from harness.core.events.values import BlobRef, Event


class BlobDropped(Event):
    """A body was dropped (stream ``blob-<hash>``); the events that refer to it stay as they are."""

    blob: BlobRef
    """The body that is gone; what an event refers to, this one does not."""
    cause: Literal["forgotten", "expired"]
    """Forgotten: at a person's word and for good, whoever says the same again. Expired: policy keeps its kind so long
    after the ticket was closed; what is recorded later may bring it back."""
    why: BlobRef | None
    """A person's reason; None for what expired."""
    kind: Literal["prompts", "outputs"] | None
    """By which rule of ``policies/retention.yaml``; None for what was forgotten."""
    kept_s: float | None
    """For how long such a body is kept after its ticket was closed; None for what was forgotten."""
