"""Keeps projections up with their ledger: reads on, folds, stores. Decides nothing; touches only the ledger's database.

Documents and progress are stored in one transaction, and only onto the progress from which they were computed. So it
may be killed at any point, and any number of it may be at work: what was not stored is folded again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from harness.core import events as e
from harness.core.canonical import canonical_bytes, canonical_value
from harness.core.errors import Refused, Retryable
from harness.core.projections.budgets import BUDGETS
from harness.core.projections.deployments import DEPLOYMENTS
from harness.core.projections.in_memory import InMemory
from harness.core.projections.projection import Document, Event, Projection
from harness.core.projections.queue import QUEUE
from harness.core.projections.tickets import TICKETS
from harness.core.projections.trajectories import TRAJECTORIES
from harness.core.record import GENESIS, Kept, Progress, Projected, Told
from harness.journal import decode
from harness.ports import Projections

ALL: Final = (TICKETS, QUEUE, BUDGETS, DEPLOYMENTS, TRAJECTORIES)
PAGE: Final = 5_000
"""Events in one transaction: a commit to a disk takes as long as folding hundreds, and a page is held in memory."""

_SCHEMA_VERSIONS: Final = {name: kind.schema_version for name, kind in e.EVENTS.items()}


def documents(
    store: Projections, *projections: Projection, keys: Collection[str] | None = None
) -> list[dict[str, Document]]:
    """The documents of each projection by key, sorted, with everything that was recorded before this was asked.

    ``keys``: read only theirs.

    Where nothing can be stored (a ledger that may only be read, a full disk, one that a newer harness projects), they
    are folded in memory: then it takes as long as the ledger is long.
    """
    try:
        follow(store, projections)
    except (Refused, Retryable):
        store = _Aside(store, projections)
        follow(store, projections)
    kept = store.projected([one.name for one in projections], keys=keys)
    return [_parsed(kept[one.name]) if one.name in kept else {} for one in projections]


def follow(store: Projections, projections: Sequence[Projection] = ALL) -> None:
    """Fold what was recorded since, up to where the ledger ends now.

    Raises Refused when a newer harness keeps one of these projections, Broken for an event that is not known here.
    """
    end = store.head().position
    while _go_on(store, projections, end):
        pass


def rebuild(store: Projections, projections: Sequence[Projection] = ALL) -> None:
    """Throw away what is stored and fold the whole ledger. A reader that comes in between goes on with it."""
    while True:
        kept = store.projected([one.name for one in projections], keys=())
        if store.project([_anew(one, kept) for one in projections]):
            return follow(store, projections)


def _go_on(store: Projections, projections: Sequence[Projection], end: int) -> bool:
    """One page; False when there is none. One that somebody else has stored meanwhile is begun again."""
    kept = store.projected([one.name for one in projections], keys=())
    stale = [one for one in projections if not _stands(store, one, kept.get(one.name))]
    if stale:
        store.project([_anew(one, kept) for one in stale])
        return True
    first = min(kept[one.name].progress.position for one in projections)
    if first >= end:
        return False
    page = store.replay(after_position=first, limit=min(PAGE, end - first))
    if steps := _steps(store, projections, kept, page):
        store.project(steps)
    return True


def _stands(store: Projections, projection: Projection, kept: Kept | None) -> bool:
    """Whether what is stored was folded by these rules, from this ledger: not from one that was restored since."""
    if kept is None or kept.progress.version < projection.version:
        return False
    if kept.progress.version > projection.version:
        raise Refused(
            f"projection {projection.name}: a newer harness keeps it (its version {kept.progress.version}, here "
            f"{projection.version}); use that one, or rebuild with it"
        )
    position = kept.progress.position
    last = store.replay(after_position=position - 1, limit=1) if position else []
    return (last[0].hash if last else GENESIS) == kept.progress.hash


def _anew(projection: Projection, kept: dict[str, Kept]) -> Projected:
    before = kept[projection.name].progress if projection.name in kept else None
    return Projected(projection.name, before, Progress(projection.version, 0, GENESIS), {}, anew=True)


def _steps(
    store: Projections, projections: Sequence[Projection], before: dict[str, Kept], page: Sequence[Told]
) -> list[Projected]:
    """What a page makes of the projections that have not seen all of it; nothing when somebody has stored meanwhile."""
    last = page[-1]
    behind = [one for one in projections if before[one.name].progress.position < last.position]
    wanted = frozenset().union(*(one.folds for one in behind))
    events = [_event(store, told) for told in page if told.type in wanted or told.type not in _SCHEMA_VERSIONS]
    keyed = {one.name: one.keyed(_unseen(events, before[one.name].progress)) for one in behind}
    kept = store.projected(list(keyed), keys={key for pairs in keyed.values() for key, _ in pairs})
    if any(one.name not in kept or kept[one.name].progress != before[one.name].progress for one in behind):
        return []
    return [_step(one, kept[one.name], keyed[one.name], last) for one in behind]


def _unseen(events: Sequence[Event], progress: Progress) -> Sequence[Event]:
    if events and events[0].told.position > progress.position:
        return events
    return [event for event in events if event.told.position > progress.position]


def _step(projection: Projection, kept: Kept, keyed: Sequence[tuple[str, Event]], last: Told) -> Projected:
    documents: dict[str, Document | None] = _parsed(kept)
    touched = projection.apply(documents, keyed)
    after = Progress(projection.version, last.position, last.hash)
    return Projected(projection.name, kept.progress, after, {key: _written(documents[key]) for key in touched})


def _event(store: Projections, told: Told) -> Event:
    """The event in the shape that folds know. Raises Broken for one that is not known here."""
    if _SCHEMA_VERSIONS.get(told.type) == told.schema_version:
        return Event(told)
    (recorded,) = store.read_all(after_position=told.position - 1, limit=1)
    return Event(told, decode(recorded).model_dump(mode="json"))


def _parsed(kept: Kept) -> dict[str, Any]:
    return {key: canonical_value(kept.documents[key]) for key in sorted(kept.documents)}


def _written(document: Document | None) -> str | None:
    return None if document is None else canonical_bytes(document).decode()


class _Aside:
    """What is stored by now, folded on in memory: its ledger is only read."""

    def __init__(self, store: Projections, projections: Sequence[Projection]) -> None:
        stored, versions = store.projected([one.name for one in projections]), {p.name: p.version for p in projections}
        aside = InMemory({name: kept for name, kept in stored.items() if kept.progress.version == versions[name]})
        self.head, self.read_all, self.replay = store.head, store.read_all, store.replay
        self.projected, self.project = aside.projected, aside.project
