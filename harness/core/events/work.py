"""What an agent does with a ticket (stream ``ticket-<id>``). Touches nothing."""

from __future__ import annotations

from typing import Literal

from harness.core.events.values import AttemptNumber, BlobRef, Event, ModelUsage, Operation, Waits


class AttemptStarted(Event):
    """An agent began to work, from this commit of main."""

    attempt: AttemptNumber
    agent: str
    """Who works on it."""
    runbook: str | None
    """The runbook that is followed; None for an agent without one."""
    base: str
    """The commit of main that it began from."""
    briefing: BlobRef | None = None
    """What a model was told first; None for an agent that is none."""


class ActionTaken(Event):
    """The agent chose a tool; ``call`` is the blob of its arguments and of why."""

    attempt: AttemptNumber
    step: int
    """Which step of the session it is, from 1."""
    tool: str
    """The tool's name."""
    call: BlobRef
    """The tool's arguments and the agent's reason, as JSON."""
    waits: Waits = ()
    reply: BlobRef | None = None
    """The model's turn that this call is of; None for an agent that is no model."""
    reply_call: int = 0
    """Which of the turn's calls it is, from 0; 0 as well for a turn without any."""
    usage: ModelUsage | None = None
    """What the turn took, on its first call."""


class ObservationRecorded(Event):
    """What the tool answered. ``ref`` is the commit at which the work stood after the step, when it changed."""

    attempt: AttemptNumber
    step: int
    """The step that it answers."""
    tool: str
    """The tool's name."""
    ok: bool
    """Whether the tool did what it was asked."""
    body: BlobRef
    """Its answer, as JSON."""
    commit: str | None = None
    """Where the agent's branch stood then, when the step changed it."""
    waits: Waits = ()
    seconds: float | None = None
    """How long the tool took; None in events from before it was measured."""


class ChangeProposed(Event):
    """The agent submitted a change, with reasons and predicted effect: a commit on the ticket's branch, or an action.

    ``operation`` is the action of the catalog for a change of that kind; main stays at ``commit`` then, and ``diff``
    holds the units in which it will be done.
    """

    attempt: AttemptNumber
    kind: Literal["code", "config", "operation"]
    """Code, configuration, or an action of the catalog."""
    commit: str
    """The commit that was submitted."""
    base: str
    """The commit of main that it was made from."""
    branch: str
    """The ticket's branch."""
    diff: BlobRef
    """The difference to main, or the operation's units, as JSON."""
    summary: BlobRef
    """What the agent says of it and expects from it, as JSON."""
    operation: Operation | None = None
    """The action; None for commits."""


class NothingToChange(Event):
    """The agent found the criteria to hold already; they are verified without a change."""

    attempt: AttemptNumber
    why: BlobRef
    """The agent's reason, as JSON with `why`."""
