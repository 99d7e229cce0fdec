"""What a node is asked for and what it answers: values that travel between the harness and its nodes. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from harness.core.declaration import Declaration
from harness.core.events import Slot, Value


class Tells(Declaration):
    """Where a running release says by which version of its configuration it runs.

    ``route`` answers GET with a JSON object; its ``field`` holds the first 8 to 64 hex digits of the SHA-256 of the
    first file that its manifest names as ``configuration``.
    """

    route: str = Field(pattern="^/")
    field: str = Field(min_length=1)


class NodeOrder(Value):
    """One idempotent request to a node. The same ``key`` gets the same answer without a second effect.

    ``token`` is the fencing token: a node refuses one that is lower than the highest it has seen.
    """

    verb: Literal["place", "swap", "remove"]
    key: str
    token: int
    slot: Slot = "stable"
    commit: str | None = None
    actor: str = "harness"


class NodeAnswer(Value):
    """What the node did. ``ok`` False is a result (the release did not start), not an error."""

    node: str
    ok: bool
    reason: str = ""
    commit: str | None = None
    before: str | None = None
    started_at: datetime
    ready_at: datetime | None = None
    drain_from: datetime | None = None
    drain_to: datetime | None = None
    ended_at: datetime


class RunningRelease(Value):
    """A release in a slot of a node, as the node sees it."""

    commit: str
    tree: str
    since: datetime
    healthy: bool
    actor: str
    altered: tuple[str, ...] | None = None
    """The first files of its folder that are not as its tree has them; None where nobody looked since its start."""
    told: str | None = None
    """The version of its configuration that it says it runs by, where it says so (``Tells``)."""


class Gpu(Value):
    """One GPU as NVML reports it; memory in bytes."""

    uuid: str
    model: str
    memory_bytes: int
    mig: bool | None


class NodeReport(Value):
    """A node's own account of itself. No GPU is a fact, not an error."""

    node: str
    at: datetime
    highest_token: int
    """The lowest token that an order still needs: the newest that the node or its routes have seen."""
    slots: dict[Slot, RunningRelease]
    cpu_percent: float
    memory_total_bytes: int
    memory_used_bytes: int
    gpus: tuple[Gpu, ...]
