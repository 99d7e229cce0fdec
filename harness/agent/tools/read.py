"""Tools that look: metrics, health, events, git. They change nothing."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.agent.desk import Desk
from harness.core import events as e
from harness.core.action import Observation
from harness.core.errors import Retryable
from harness.core.ids import service_stream
from harness.core.ticket import Ticket
from harness.journal import decode
from harness.measure import Window, measure


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QueryMetric(_Arguments):
    """A declared metric over the last seconds."""

    metric: str
    window_s: float = Field(gt=0, le=86_400)


async def query_metric(arguments: QueryMetric, desk: Desk) -> Observation:
    """The metric's value (null without data), its samples, window and query."""
    window = Window.before(desk.clock.now(), arguments.window_s)
    measured = await measure(desk.metrics, desk.manifest, arguments.metric, window)
    return Observation(ok=True, body=measured.model_dump(mode="json"))


class ServiceHealth(_Arguments):
    """No arguments."""


async def service_health(arguments: ServiceHealth, desk: Desk) -> Observation:
    """Every node with the release it serves and whether that answers; ``unhealthy`` names those that don't."""
    names = desk.nodes.names()
    seen = await asyncio.gather(*(_node_health(name, desk) for name in names))
    nodes = {name: health for name, (health, _) in zip(names, seen, strict=True)}
    unhealthy = [name for name, (_, healthy) in zip(names, seen, strict=True) if not healthy]
    return Observation(ok=True, body={"nodes": nodes, "unhealthy": unhealthy, "unhealthy_count": len(unhealthy)})


async def _node_health(name: str, desk: Desk) -> tuple[dict[str, object], bool]:
    try:
        report = await desk.nodes.report(name)
    except Retryable as error:
        return {"reachable": False, "reason": str(error)}, False
    stable = report.slots.get("stable")
    health: dict[str, object] = {"reachable": True, "stable": stable.model_dump(mode="json") if stable else None}
    return health, stable is not None and stable.healthy


class ListEvents(_Arguments):
    """Which releases the service was seen to change to, as far back as this."""

    kind: Literal["release_changes"]
    since_s: float = Field(gt=0)


async def list_events(arguments: ListEvents, desk: Desk) -> Observation:
    """Changes of the served release, oldest first, and the newest: from what (``before``) to what (``after``).

    Only the newest: over several changes a history can go from good to bad more than once, and a bisection of that
    would find some bad commit, not the one that hurts now. What earlier attempts of this ticket brought and took back
    is left out: the signal was there before it.
    """
    own = _own_commits(desk.journal.ticket)
    oldest = desk.clock.now().timestamp() - arguments.since_s
    changes = []
    for row in desk.journal.ledger.read_stream(service_stream(desk.manifest.name)):
        event = decode(row)
        if not isinstance(event, e.ReleaseObserved) or event.before is None or event.after in own:
            continue
        if event.since.timestamp() >= oldest:
            changes.append({"node": event.node, "before": event.before, "after": event.after, "actor": event.actor,
                            "since": event.since.isoformat()})  # fmt: skip
    body: dict[str, object] = {"changes": changes, "count": len(changes)}
    if changes:
        newest = [change for change in changes if change["after"] == changes[-1]["after"]]
        body |= {"before": newest[0]["before"], "after": newest[0]["after"]}
    return Observation(ok=True, body=body)


def _own_commits(ticket: Ticket) -> set[str]:
    moves = [event for event in ticket.recorded.values() if isinstance(event, e.MainMoved)]
    return {moved.after for moved in moves}


class GitLog(_Arguments):
    """The commits after ``since`` up to ``until``."""

    since: str
    until: str


async def git_log(arguments: GitLog, desk: Desk) -> Observation:
    """Commits, oldest first, with subject, author, time and files."""
    commits = [
        {"commit": entry.commit, "subject": entry.subject, "author": entry.author, "at": entry.at.isoformat(),
         "files": list(entry.files)}
        for entry in desk.repository.log(arguments.since, arguments.until)
    ]  # fmt: skip
    return Observation(ok=True, body={"commits": commits, "count": len(commits)})


class GitDiff(_Arguments):
    """What a commit changed."""

    commit: str


async def git_diff(arguments: GitDiff, desk: Desk) -> Observation:
    """The unified diff of the commit against its parent."""
    return Observation(ok=True, body={"diff": desk.repository.diff(f"{arguments.commit}^", arguments.commit)})
