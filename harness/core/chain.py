"""Decides how events are linked into one chain of hashes, and whether a chain holds. Touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import product
from types import NoneType
from typing import Any, NamedTuple

import orjson

from harness.core.canonical import is_canonical
from harness.core.errors import Broken
from harness.core.record import EPOCH, GENESIS, MICROSECOND, Draft, Head, Recorded, Verification


class Row(NamedTuple):
    """A recorded event as it is stored and hashed: the order of the fields is the order of the columns and of the hash.

    ``data`` is canonical JSON; times are microseconds since 1970-01-01 UTC.
    """

    position: int
    id: str
    stream: str
    version: int
    type: str
    schema_version: int
    data: str
    actor: str
    causation_id: str | None
    correlation_id: str | None
    occurred_at_us: int
    recorded_at_us: int
    prev_hash: str
    hash: str


_DATA = Row._fields.index("data")
_NULLABLE = frozenset({"causation_id", "correlation_id"})
_TYPE_OF_COLUMN: dict[str, type] = {
    name: int if name in ("position", "version", "schema_version", "occurred_at_us", "recorded_at_us") else str
    for name in Row._fields
}
_TYPES_OF_ROWS = frozenset(
    product(*((kind, NoneType) if name in _NULLABLE else (kind,) for name, kind in _TYPE_OF_COLUMN.items()))
)


def seal(columns: Sequence[object]) -> str:
    """The hash of a row: SHA-256 (hex) of the JSON array of its columns but ``hash``, ``data`` as JSON within."""
    sealed = list(columns)
    sealed[_DATA] = orjson.Fragment(columns[_DATA])  # type: ignore[arg-type]  # the column is text
    return sha256(orjson.dumps(sealed)).hexdigest()


def linked(drafts: Iterable[Draft], *, head: Head, versions: Mapping[str, int], recorded_at: datetime) -> list[Row]:
    """The drafts as the rows that follow ``head``; ``versions`` are those of their streams so far (0 when absent)."""
    position, prev_hash = head
    latest = dict(versions)
    recorded_at_us = _microseconds(recorded_at)
    rows = []
    for stream, event, data, _ in drafts:
        position += 1
        latest[stream] = latest.get(stream, 0) + 1
        columns = (
            position,
            event.id,
            stream,
            latest[stream],
            event.type,
            event.schema_version,
            data,
            event.actor,
            event.causation_id,
            event.correlation_id,
            _microseconds(event.occurred_at),
            recorded_at_us,
            prev_hash,
        )
        prev_hash = seal(columns)
        rows.append(Row(*columns, prev_hash))
    return rows


def first_result(drafts: Sequence[Draft], recorded: Mapping[str, Row]) -> list[Row] | None:
    """The rows of an append that was done before, or None when none of its ids is in ``recorded`` (by id).

    Raises ``Broken`` when an id stands for other content, or when only some of the append is recorded: an append is
    recorded whole or not at all, so the ids are not from the same intent.
    """
    known = [draft for draft in drafts if draft.event.id in recorded]
    if not known:
        return None
    for draft in known:
        event, row = draft.event, recorded[draft.event.id]
        given = (draft.stream, event.type, event.schema_version, draft.data, event.actor)
        if given != (row.stream, row.type, row.schema_version, row.data, row.actor):
            raise Broken(
                f"event {event.id} ({event.type} in {draft.stream!r}) is recorded with other content at position "
                f"{row.position} ({row.type} in {row.stream!r}); the same id must always mean the same event"
            )
    if len(known) < len(drafts):
        missing = next(draft.event.id for draft in drafts if draft.event.id not in recorded)
        raise Broken(
            f"event {known[0].event.id} is recorded but {missing} of the same append is not; "
            "repeat an append with exactly the events it had the first time"
        )
    return [recorded[draft.event.id] for draft in drafts]


def opened(columns: Sequence[Any], copy: Any = None) -> Recorded:
    """The event of a row, with data of its own: ``copy``, where somebody has read it from the row's JSON before.

    Raises ``Broken`` naming the position when the row is damaged.
    """
    # Unpacked by hand: this is what a replay spends its time on.
    (position, id, stream, version, type, schema_version, data, actor, causation_id, correlation_id, *rest) = columns
    occurred_at_us, recorded_at_us, prev_hash, hash = rest
    try:
        return Recorded(
            id,
            type,
            schema_version,
            orjson.loads(data) if copy is None else copy,
            actor,
            causation_id,
            correlation_id,
            EPOCH + occurred_at_us * MICROSECOND,
            stream,
            version,
            position,
            EPOCH + recorded_at_us * MICROSECOND,
            prev_hash,
            hash,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise Broken(f"the event at position {position} is damaged: {error}; run `harness ledger verify`") from error


class Walk:
    """Follows a chain from its first row and stops at the first that does not hold."""

    def __init__(self) -> None:
        self._head = Head(0, GENESIS)
        self._versions: dict[str, int] = {}

    def step(self, columns: Sequence[object]) -> Verification | None:
        """None when the next row holds; else what is wrong. Takes whatever a damaged table yields and never raises."""
        wrong_type = _wrong_type(columns)
        if wrong_type is not None:
            return self.failed(wrong_type)
        row = Row._make(columns)
        after = self._head.position
        if row.position <= after:
            return self.failed(f"position {row.position} stands where {after + 1} belongs", position=row.position)
        if row.position > after + 1:
            return self.failed(f"position {after + 1} is missing; the next event is at {row.position}")
        if row.prev_hash != self._head.hash:
            return self.failed(f"prev_hash is not the hash of the event at position {after}")
        if not is_canonical(row.data):
            return self.failed("data is not canonical JSON")
        if row.hash != seal(row[:-1]):
            return self.failed("hash does not match the other columns: one of them was altered")
        version = self._versions.get(row.stream, 0) + 1
        if row.version != version:
            return self.failed(f"stream {row.stream!r} goes on with version {row.version} where {version} belongs")
        self._versions[row.stream] = version
        self._head = Head(row.position, row.hash)
        return None

    def failed(self, reason: str, *, position: int | None = None) -> Verification:
        """The chain does not hold at ``position``, by default the one after the last good event."""
        bad = self._head.position + 1 if position is None else position
        return Verification(False, self._head.position, self._head.hash, bad, f"position {bad}: {reason}")

    def held(self, *, damage: str | None = None) -> Verification:
        """Every event holds; ``damage`` is what is wrong beside them."""
        return Verification(damage is None, self._head.position, self._head.hash, None, damage)


def _wrong_type(columns: Sequence[object]) -> str | None:
    if tuple(map(type, columns)) in _TYPES_OF_ROWS:
        return None
    for (name, expected), value in zip(_TYPE_OF_COLUMN.items(), columns, strict=True):
        if type(value) is not expected and not (value is None and name in _NULLABLE):
            return f"{name} holds {type(value).__name__} where {expected.__name__} belongs"
    return None


def _microseconds(time: datetime) -> int:
    return (time - EPOCH) // MICROSECOND
