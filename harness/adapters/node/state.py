"""What a node remembers over its own death: a file that is always whole. Knows neither processes nor routes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.adapters.stack.processes import ProcessId
from harness.adapters.stack.replace import replace_text
from harness.core.deployment import NodeAnswer, NodeOrder
from harness.core.errors import Broken
from harness.core.events import Slot, Value

_ANSWERS_KEPT = 500


class Occupant(Value):
    """A release that was started in a slot. ``socket`` is the path on the host; ``key`` of the order that asked."""

    commit: str
    tree: str
    socket: Path
    tag: str
    process: ProcessId
    since: datetime
    key: str
    actor: str


class Intent(Value):
    """An order that was taken and has no answer yet.

    ``start`` and ``tag`` name the start it makes, chosen before it is made, so that one that happened can be found.
    ``before`` held the slot when the order came; ``after`` takes it, and ``answered_at`` says that it serves.
    """

    order: NodeOrder
    started_at: datetime
    start: int = 0
    tag: str = ""
    before: Occupant | None = None
    after: Occupant | None = None
    answered_at: datetime | None = None


class NodeState(BaseModel):
    """``answers`` holds the last 500 by key; ``starts`` counts every start that was intended."""

    model_config = ConfigDict(extra="forbid")

    highest_token: int = 0
    starts: int = 0
    slots: dict[Slot, Occupant] = {}
    intents: dict[Slot, Intent] = {}
    answers: dict[str, NodeAnswer] = {}

    @classmethod
    def load(cls, path: Path) -> NodeState:
        """The state as last saved; a fresh one when there is none. Raises Broken when it is damaged."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except ValidationError as error:
            raise Broken(
                f"node state: {path} is damaged ({error.error_count()} errors); stop the node's releases, remove the "
                "file, and the node starts again from main"
            ) from error

    def save(self, path: Path) -> None:
        """Replace the file in one step."""
        while len(self.answers) > _ANSWERS_KEPT:
            del self.answers[next(iter(self.answers))]
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, self.model_dump_json(indent=1))
