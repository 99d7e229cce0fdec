"""What an agent does and sees: an action, its observation, a turn of both. Values only; touches nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from harness.core.events import Wait

Effect = Literal["read", "work", "end"]
"""``read`` looks, ``work`` changes only the ticket's own worktree, ``end`` ends the session."""


class Action(BaseModel):
    """The next tool to call, its arguments (JSON), and the agent's reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    arguments: dict[str, Any]
    why: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What the world answered: ``body`` is JSON; ``ok`` False means the call could not be done, and body says why."""

    ok: bool
    body: dict[str, Any]
    commit: str | None = None
    """The commit at which the work stands now, when the action changed it."""
    waits: tuple[Wait, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Turn:
    """An action with its observation."""

    action: Action
    observation: Observation
