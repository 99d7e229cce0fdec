"""Reads and writes stored projections, in whatever transaction it is given. Folds nothing and knows no projection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from harness.core.record import Kept, Progress, Projected

_STORED: Final = (
    "SELECT p.name, p.version, p.position, p.hash, d.key, d.document FROM projections AS p "
    "LEFT JOIN documents AS d ON d.projection = p.name{of_keys} WHERE p.name IN ({names})"
)
_CLEAR: Final = "DELETE FROM documents WHERE projection = ?"
_DROP: Final = "DELETE FROM documents WHERE projection = ? AND key = ?"
_PUT: Final = (
    "INSERT INTO documents (projection, key, document) VALUES {rows} "
    "ON CONFLICT (projection, key) DO UPDATE SET document = excluded.document"
)
_STEP: Final = (
    "INSERT INTO projections (name, version, position, hash) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE "
    "SET version = excluded.version, position = excluded.position, hash = excluded.hash"
)
ROWS_PER_PUT: Final = 500


class Statement(Protocol):
    """Runs one statement with its parameters, which stand as ``?``, and gives the rows, if any."""

    def __call__(self, sql: str, *parameters: str | int) -> list[Any]: ...


def stored(run: Statement, names: Collection[str], keys: Collection[str] | None) -> dict[str, Kept]:
    """These projections, in one statement: so documents and progress are of one moment on every database."""
    of_keys = "" if keys is None else f" AND d.key IN ({_marks(keys)})" if keys else " AND 1 = 0"
    asked = _STORED.format(of_keys=of_keys, names=_marks(names))
    found: dict[str, Kept] = {}
    for name, version, position, hash, key, document in run(asked, *(keys or ()), *names):
        kept = found.setdefault(name, Kept(Progress(version, position, hash), {}))
        if key is not None:
            kept.documents[key] = document
    return found


def stepped(run: Statement, steps: Sequence[Projected]) -> bool:
    """Whether every step begins where its projection is stored; if so, they are stored."""
    before = stored(run, [step.name for step in steps], keys=())
    if any(step.before != (before[step.name].progress if step.name in before else None) for step in steps):
        return False
    for step in steps:
        if step.anew:
            run(_CLEAR, step.name)
        for key, document in step.documents.items():
            if document is None:
                run(_DROP, step.name, key)
        _put(run, step)
        run(_STEP, step.name, *step.after)
    return True


def _put(run: Statement, step: Projected) -> None:
    written = ((step.name, key, document) for key, document in step.documents.items() if document is not None)
    while rows := list(islice(written, ROWS_PER_PUT)):
        run(_PUT.format(rows=", ".join(["(?, ?, ?)"] * len(rows))), *(value for row in rows for value in row))


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))
