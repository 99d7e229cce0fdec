"""What an agent does with a ticket (stream ``ticket-<id>``). Touches nothing."""

from __future__ import annotations

from typing import Literal

from harness.core.events.values import BlobRef, Event, ModelUsage, Operation, Wait


class AttemptStarted(Event):
    """An agent began to work, from this commit of main."""

    attempt: int
    agent: str
    runbook: str | None
    base: str
    briefing: BlobRef | None = None
    """What a model was told first; None for an agent that is none."""


class ActionTaken(Event):
    """The agent chose a tool; ``call`` is the blob of its arguments and of why."""

    attempt: int
    step: int
    tool: str
    call: BlobRef
    waits: tuple[Wait, ...] = ()
    reply: BlobRef | None = None
    """The model's turn that this call is of; None for an agent that is no model."""
    reply_call: int = 0
    """Which of the turn's calls it is, from 0; 0 as well for a turn without any."""
    usage: ModelUsage | None = None
    """What the turn took, on its first call."""


class ObservationRecorded(Event):
    """What the tool answered. ``ref`` is the commit at which the work stood after the step, when it changed."""

    attempt: int
    step: int
    tool: str
    ok: bool
    body: BlobRef
    commit: str | None = None
    waits: tuple[Wait, ...] = ()
    seconds: float | None = None


class ChangeProposed(Event):
    """The agent submitted a change, with reasons and predicted effect: a commit on the ticket's branch, or an action.

    ``operation`` is the action of the catalog for a change of that kind; main stays at ``commit`` then, and ``diff``
    holds the units in which it will be done.
    """

    attempt: int
    kind: Literal["code", "config", "operation"]
    commit: str
    base: str
    branch: str
    diff: BlobRef
    summary: BlobRef
    operation: Operation | None = None


class NothingToChange(Event):
    """The agent found the criteria to hold already; they are verified without a change."""

    attempt: int
    why: BlobRef
