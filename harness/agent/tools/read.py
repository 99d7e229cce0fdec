"""Tools that look: metrics, health, events, history, code. They change nothing."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from harness.agent.desk import Desk
from harness.core import events as e
from harness.core.action import Observation
from harness.core.errors import Invalid, Refused, Retryable
from harness.core.ids import fleet_stream, service_stream
from harness.core.operation import units
from harness.core.paths import confined
from harness.core.redaction import REDACTED
from harness.core.ticket import Ticket
from harness.core.tunable import value_in
from harness.journal import decode
from harness.measure import Window, measure
from harness.operation import dry_run
from harness.ports import Hit

T = TypeVar("T")

LINES_A_PAGE = 300
LINE_CHARS = 400
HITS_A_PAGE = 60


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QueryMetric(_Arguments):
    """A declared metric over the last seconds."""

    metric: str
    window_s: float = Field(gt=0, le=86_400)


async def query_metric(arguments: QueryMetric, desk: Desk) -> Observation:
    """The metric's value (null without data), its samples, window and query."""
    window = Window.before(desk.journal.clock.now(), arguments.window_s)
    measured = await measure(desk.metrics, desk.manifest, arguments.metric, window)
    return Observation(ok=True, body=measured.model_dump(mode="json"))


class ServiceHealth(_Arguments):
    """No arguments."""


async def service_health(arguments: ServiceHealth, desk: Desk) -> Observation:
    """Every node with the release it serves and whether that answers; ``unhealthy`` names those that don't any more,
    ``coming`` those that never did so far: somebody started them, and they are not up yet."""
    names = desk.nodes.names()
    seen = await asyncio.gather(*(_node_health(name, desk) for name in names))
    nodes = {name: health for name, (health, _) in zip(names, seen, strict=True)}
    silent = [name for name, (_, healthy) in zip(names, seen, strict=True) if not healthy]
    coming = [name for name in silent if name not in _served_once(desk)]
    unhealthy = [name for name in silent if name not in coming]
    body = {"nodes": nodes, "unhealthy": unhealthy, "unhealthy_count": len(unhealthy), "coming": coming}
    return Observation(ok=True, body=body)


def _served_once(desk: Desk) -> set[str]:
    """The nodes that were ever seen to serve a release."""
    rows = desk.journal.ledger.read_stream(service_stream(desk.manifest.name))
    return {event.node for row in rows if isinstance(event := decode(row), e.ReleaseObserved)}


async def _node_health(name: str, desk: Desk) -> tuple[dict[str, object], bool]:
    try:
        report = await desk.nodes.report(name)
    except Retryable as error:
        return {"reachable": False, "reason": str(error)}, False
    stable = report.slots.get("stable")
    health: dict[str, object] = {"reachable": True, "stable": stable.model_dump(mode="json") if stable else None}
    return health, stable is not None and stable.healthy


class ListEvents(_Arguments):
    """What was seen of the service, as far back as this: releases that it changed to, nodes that came and went."""

    kind: Literal["release_changes", "fleet_changes"]
    since_s: float = Field(gt=0)


async def list_events(arguments: ListEvents, desk: Desk) -> Observation:
    """The events of that kind, oldest first, and what they come to."""
    if arguments.kind == "fleet_changes":
        return _fleet_changes(desk, desk.journal.clock.now().timestamp() - arguments.since_s)
    return _release_changes(arguments, desk)


def _fleet_changes(desk: Desk, oldest: float) -> Observation:
    """Changes of the fleet; ``missing``: how many nodes there are fewer than before the first of them."""
    changes: list[dict[str, object]] = []
    before: int | None = None
    for row in desk.journal.ledger.read_stream(fleet_stream(desk.manifest.name)):
        event = decode(row)
        if isinstance(event, e.FleetChanged) and row.occurred_at.timestamp() >= oldest:
            known = len(event.nodes) - len(event.joined) + len(event.lost)
            if not changes and not known:  # the first look of all: nothing is known of before
                continue
            before = known if before is None else before
            changes.append({"nodes": list(event.nodes), "joined": list(event.joined), "lost": list(event.lost),
                            "at": row.occurred_at.isoformat()})  # fmt: skip
    now = list(desk.nodes.names())
    lost = sorted({str(node) for change in changes for node in change["lost"]} - set(now))  # type: ignore[attr-defined]
    missing = max(0, before - len(now)) if before is not None else 0
    body = {"changes": changes, "count": len(changes), "before": before, "now": len(now), "lost": lost,
            "lost_names": ", ".join(lost), "missing": missing}  # fmt: skip
    return Observation(ok=True, body=body)


def _release_changes(arguments: ListEvents, desk: Desk) -> Observation:
    """Changes of the served release, oldest first, and the newest: from what (``before``) to what (``after``).

    Only the newest: over several changes a history can go from good to bad more than once, and a bisection of that
    would find some bad commit, not the one that hurts now. What earlier attempts of this ticket brought and took back
    is left out: the signal was there before it.
    """
    own = _own_commits(desk.journal.ticket)
    oldest = desk.journal.clock.now().timestamp() - arguments.since_s
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


class ReadTunable(_Arguments):
    """A tunable that the service declares."""

    name: str


async def read_tunable(arguments: ReadTunable, desk: Desk) -> Observation:
    """Its value on the ticket's branch, the range, the factor of a step, and by what another value has to win."""
    tunable = desk.manifest.tunable(arguments.name)
    low, high = tunable.range
    body = {
        "name": tunable.name, "what": tunable.what, "file": tunable.file, "low": low, "high": high,
        "value": value_in(desk.repository.read(desk.at, tunable.file), tunable.file, tunable.key),
        "factor": tunable.factor, "metric": tunable.metric, "margin": tunable.margin,
        "lower_is_better": desk.manifest.metrics[tunable.metric].direction == "lower",
    }  # fmt: skip
    return Observation(ok=True, body=body)


class CheckAction(_Arguments):
    """An action of the catalog with its arguments, as it would be proposed."""

    name: str
    parameters: dict[str, int | str]


async def check_action(arguments: CheckAction, desk: Desk) -> Observation:
    """Risk, units and preconditions with what they are now; ``against`` says why it may not be done, else it is empty.

    Not ok when the catalog has no such action, or it does not take these arguments.
    """
    action = desk.catalog.action(arguments.name)
    operation = action.operation(arguments.parameters)
    dry = await dry_run(
        operation, catalog=desk.catalog, manifest=desk.manifest, metrics=desk.metrics, nodes=desk.nodes,
        now=desk.journal.clock.now(),
    )  # fmt: skip
    body = {
        "may_be_done": not dry.against, "against": dry.against, "risk": action.risk,
        "blast_radius": action.blast_radius, "units": [asdict(unit) for unit in units(operation)],
        "preconditions": [one.words for one in dry.preconditions], "facts": dry.facts,
    }  # fmt: skip
    return Observation(ok=True, body=body)


class GitLog(_Arguments):
    """The commits after ``since`` up to ``until``."""

    since: str
    until: str


async def git_log(arguments: GitLog, desk: Desk) -> Observation:
    """Commits, oldest first, with subject, author, time, files; ``configuration``: those that change nothing else."""
    listing = desk.repository.log(arguments.since, arguments.until)
    commits = [
        {"commit": entry.commit, "subject": entry.subject, "author": entry.author, "at": entry.at.isoformat(),
         "files": list(entry.files)}
        for entry in listing
    ]  # fmt: skip
    configuration = [entry.commit for entry in listing if desk.manifest.configures(entry.files)]
    body = {
        "commits": commits, "count": len(commits), "configuration": configuration,
        "configuration_count": len(configuration),
    }  # fmt: skip
    return Observation(ok=True, body=body)


class GitDiff(_Arguments):
    """What a commit changed, from this line of the diff on."""

    commit: str
    from_line: int = Field(default=1, ge=1)


async def git_diff(arguments: GitDiff, desk: Desk) -> Observation:
    """The unified diff of the commit against its parent; ``next_line`` is there when more follows."""
    diff = _without_secrets(desk.repository.diff(f"{arguments.commit}^", arguments.commit), desk)
    lines = diff.splitlines(keepends=True)
    shown, following = _page(lines, arguments.from_line, LINES_A_PAGE)
    return Observation(ok=True, body={"diff": "".join(shown)} | ({"next_line": following} if following else {}))


class ReadFile(_Arguments):
    """A file or a folder (``.`` is the root) as it is on the ticket's branch, from this line or entry on."""

    path: str
    from_line: int = Field(default=1, ge=1)


async def read_file(arguments: ReadFile, desk: Desk) -> Observation:
    """The lines of a file, or the entries of a folder; ``next_line`` is there when more follows."""
    folder = arguments.path.removesuffix("/")
    path = folder if folder in ("", ".") else confined(folder)
    files = desk.repository.files(desk.at)
    kind = "text"
    if path in files:
        text = _without_secrets(desk.repository.read(desk.at, path), desk)
        lines = [_cut(line) for line in text.splitlines(keepends=True)]
    else:
        kind, lines = "entries", _entries(files, "" if path in ("", ".") else f"{path}/")
    if not lines and kind == "entries":
        raise Invalid(f"{path}: no plain file and no folder here; `search_code` finds files by what they hold")
    shown, following = _page(lines, arguments.from_line, LINES_A_PAGE)
    body: dict[str, object] = {"path": path, "lines": len(lines), kind: "".join(shown) if kind == "text" else shown}
    return Observation(ok=True, body=body | ({"next_line": following} if following else {}))


class SearchCode(_Arguments):
    """Exact text within one line, in all files or those below a path; from this hit on."""

    text: str = Field(min_length=1, max_length=200)
    below: str = ""
    from_hit: int = Field(default=1, ge=1)


async def search_code(arguments: SearchCode, desk: Desk) -> Observation:
    """Lines with file and number; ``next_hit`` is there when more follow."""
    folder = arguments.below.removesuffix("/")
    below = "" if folder in ("", ".") else confined(folder)
    hits = [
        hit
        for hit in desk.repository.search(desk.at, arguments.text)
        if not below or hit.path == below or hit.path.startswith(f"{below}/")
    ]
    page, following = _page(hits, arguments.from_hit, HITS_A_PAGE)
    shown = _shown(page, desk)
    return Observation(
        ok=True, body={"hits": shown, "count": len(hits)} | ({"next_hit": following} if following else {})
    )


def _shown(hits: list[Hit], desk: Desk) -> list[dict[str, object]]:
    """The lines; one that is not in its file any more when the secrets are taken out of that is a part of one."""
    left = {path: _lines_left(path, desk) for path in {hit.path for hit in hits}}
    return [
        {"path": hit.path, "line": hit.line,
         "text": _cut(hit.text) if (lines := left[hit.path]) is None or hit.text in lines else REDACTED}
        for hit in hits
    ]  # fmt: skip


def _lines_left(path: str, desk: Desk) -> set[str] | None:
    """The lines of a file that holds secrets, without them; None for one that holds none, or is no text as a whole."""
    try:
        text = desk.repository.read(desk.at, path)
    except Refused:
        return None
    clean = _without_secrets(text, desk)
    return None if clean == text else set(clean.split("\n"))


def _without_secrets(text: str, desk: Desk) -> str:
    """Before a part of it is shown: half a secret could not be told from other text."""
    clean: str = desk.journal.blobs.cleaned(text)
    return clean


def _page(items: list[T], first: int, most: int) -> tuple[list[T], int | None]:
    """The items from the first (counted from 1), and where the next page begins."""
    end = first - 1 + most
    return items[first - 1 : end], end + 1 if end < len(items) else None


def _cut(line: str) -> str:
    if len(line) <= LINE_CHARS:
        return line
    return f"{line[:LINE_CHARS]}[cut: {LINE_CHARS} of {len(line)} characters]" + ("\n" if line.endswith("\n") else "")


def _entries(files: list[str], folder: str) -> list[str]:
    inside = [file.removeprefix(folder) for file in files if file.startswith(folder)]
    return sorted({f"{first}/" if rest else first for first, rest, _ in (name.partition("/") for name in inside)})
