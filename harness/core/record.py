"""What is given to the ledger and what comes back: immutable values, and the form they must have. Touches nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from harness.core.canonical import canonical_copy
from harness.core.errors import Invalid

GENESIS: Final = "0" * 64
"""The hash before the first event."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

EVENTS_PER_APPEND: Final = 1_000
DATA_BYTES_PER_EVENT: Final = 256 * 1024
LONGEST_NAME: Final = 200

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """Something that happened and is about to be recorded.

    ``id`` is a UUID in lower case and the idempotency key: the same id is recorded once. ``data`` holds JSON values
    only (see ``core.canonical``). ``occurred_at`` is aware; it is recorded in UTC to the microsecond.
    """

    id: str
    type: str
    data: dict[str, Any]
    actor: str
    occurred_at: datetime
    schema_version: int = 1
    causation_id: str | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class StreamWrite:
    """Events for one stream, which must be at ``expected_version`` (0: must not exist yet; None: wherever it is).

    Without events it only states what must hold for the rest of the append.
    """

    stream: str
    expected_version: int | None
    events: Sequence[NewEvent] = ()


class Recorded(NamedTuple):
    """An event in the ledger. A named tuple, because a replay makes millions: a sixth of a frozen dataclass's cost.

    ``version`` counts 1, 2, … in its stream, ``position`` 1, 2, … over all streams in commit order. ``hash`` is the
    SHA-256 (hex) of all the other columns, ``prev_hash`` that of the event at ``position - 1``.
    """

    id: str
    type: str
    schema_version: int
    data: dict[str, Any]
    actor: str
    causation_id: str | None
    correlation_id: str | None
    occurred_at: datetime
    stream: str
    version: int
    position: int
    recorded_at: datetime
    prev_hash: str
    hash: str


class Told(NamedTuple):
    """What projections need of an event, as it is stored: a third of what a ``Recorded`` costs, and replays read all.

    ``data`` is canonical JSON, ``occurred_at_us`` microseconds since 1970-01-01 UTC.
    """

    position: int
    stream: str
    type: str
    schema_version: int
    data: str
    occurred_at_us: int
    hash: str

    @property
    def occurred_at(self) -> datetime:
        """When it happened, in UTC."""
        return EPOCH + self.occurred_at_us * MICROSECOND


class Progress(NamedTuple):
    """How far a projection has come: the version of its rules, and position and hash of the last event it has seen."""

    version: int
    position: int
    hash: str


class Kept(NamedTuple):
    """A projection as it is stored: its documents, canonical JSON by key, and how far they have come."""

    progress: Progress
    documents: dict[str, str]


@dataclass(frozen=True, slots=True)
class Projected:
    """A step of a projection: documents that change (None: goes), and the progress from which it was computed.

    ``anew``: nothing of what was stored stays.
    """

    name: str
    before: Progress | None
    after: Progress
    documents: Mapping[str, str | None]
    anew: bool = False


class Head(NamedTuple):
    """The last event's position and hash; 0 and ``GENESIS`` while there is none."""

    position: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether every event is as it was recorded: ``events`` of them hold, up to the one whose hash is ``head``.

    When ``ok`` is false, ``reason`` says why and ``first_bad_position`` where; it is None for damage beside the events.
    """

    ok: bool
    events: int
    head: str
    first_bad_position: int | None
    reason: str | None


class Draft(NamedTuple):
    """An event of good form with its stream, its data as canonical JSON, and a copy of its data as that JSON says."""

    stream: str
    event: NewEvent
    data: str
    copy: Any = None


def drafted(writes: Sequence[StreamWrite]) -> list[Draft]:
    """The events of one append, in order. Raises ``Invalid`` naming the field that breaks a rule of form or a limit."""
    _check_writes(writes)
    names: set[tuple[object, ...]] = set()
    drafts = [_draft(write.stream, event, names) for write in writes for event in write.events]
    ids = {draft.event.id for draft in drafts}
    if len(ids) < len(drafts):
        raise Invalid("events: the same id stands twice in one append; give each event an id of its own")
    return drafts


def checked_limit(limit: int) -> int:
    """The number of events that a page may have. Raises ``Invalid`` below 1: such a page would never end."""
    if limit < 1:
        raise Invalid(f"limit: {limit} is not a number of events from 1 on")
    return limit


def _check_writes(writes: Sequence[StreamWrite]) -> None:
    times = Counter(write.stream for write in writes)
    for write in writes:
        _check_name("stream", write.stream)
        if times[write.stream] > 1:
            raise Invalid(f"stream: {write.stream!r} stands twice in one append; put its events into one StreamWrite")
        expected = write.expected_version
        if expected is not None and (type(expected) is not int or expected < 0):
            raise Invalid(f"expected_version: {expected!r} is neither a version (0, 1, …) nor None for any")
    count = sum(len(write.events) for write in writes)
    if count > EVENTS_PER_APPEND:
        raise Invalid(f"events: {count} in one append, at most {EVENTS_PER_APPEND} are allowed; append in parts")


def _draft(stream: str, event: NewEvent, names: set[tuple[object, ...]]) -> Draft:
    if type(event.id) is not str or not _UUID.fullmatch(event.id):
        raise Invalid(f"id: {event.id!r} is not a UUID in lower case; core.ids.event_id makes one from a key")
    _check_names(event, names)
    if type(event.schema_version) is not int or not 1 <= event.schema_version <= 1_000_000:
        raise Invalid(f"schema_version: {event.schema_version!r} of {event.type} is not a whole number from 1 on")
    offset = event.occurred_at.utcoffset() if isinstance(event.occurred_at, datetime) else None
    if offset is None:
        raise Invalid(f"occurred_at: {event.occurred_at!r} of {event.type} has no time zone; give an aware datetime")
    if offset:
        try:
            event.occurred_at.astimezone(UTC)
        except OverflowError as error:
            raise Invalid(
                f"occurred_at: {event.occurred_at} of {event.type} is outside the years 1 to 9999 in UTC"
            ) from error
    if type(event.data) is not dict:
        raise Invalid(f"data: {type(event.data).__name__} of {event.type} is not an object; give a dict")
    written, copy = canonical_copy(event.data, name="data")
    if len(written) > DATA_BYTES_PER_EVENT:
        raise Invalid(
            f"data: {len(written)} bytes in {event.type}, at most {DATA_BYTES_PER_EVENT} are allowed; "
            "put large bodies into blobs and record their reference"
        )
    return Draft(stream, event, written.decode(), copy)


def _check_names(event: NewEvent, good: set[tuple[object, ...]]) -> None:
    """Events of one append mostly have the same names: ``good`` are those that need no second look."""
    names = (event.type, event.actor, event.causation_id, event.correlation_id)
    try:
        if names in good:
            return
    except TypeError:
        pass  # one of them is no text at all, and is named below
    _check_name("type", event.type)
    _check_name("actor", event.actor)
    if event.causation_id is not None:
        _check_name("causation_id", event.causation_id)
    if event.correlation_id is not None:
        _check_name("correlation_id", event.correlation_id)
    good.add(names)


def _check_name(field: str, name: str) -> None:
    """Printable, so that no name carries a NUL (PostgreSQL takes none), a line end, or half a character."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise Invalid(f"{field}: {name!r} is not 1 to {LONGEST_NAME} printable characters")
