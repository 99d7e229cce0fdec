"""The door that every text passes before it is written: decides what is left of it, and what is told of that. Pure.

What a database refuses is put right (``core.plain_text``). What was taken out is an event of its own, so that the
ledger alone says how much was. Its id is made of what it tells: a text that comes again is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from harness.core.blob import digest
from harness.core.canonical import canonical_bytes
from harness.core.events import BlobRef, Redacted
from harness.core.ids import REDACTIONS_STREAM, event_id
from harness.core.plain_text import storable
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.redaction import Secrets

HARNESS: Final = "harness"


def appended(
    append: Callable[[Sequence[StreamWrite]], list[Recorded]], writes: Sequence[StreamWrite], secrets: Secrets
) -> list[Recorded]:
    """What ``append`` gives for the writes without their secrets; what was taken out is told in the same append."""
    told: list[NewEvent] = []
    clean = [replace(write, events=[_clean(event, secrets, told) for event in write.events]) for write in writes]
    if not told:
        return append(clean)
    return append([*clean, StreamWrite(REDACTIONS_STREAM, None, told)])[: -len(told)]


def passed(
    value: Any,
    secrets: Secrets,
    *,
    put: Callable[[Any], BlobRef],
    append: Callable[[Sequence[StreamWrite]], list[Recorded]],
    now: Callable[[], datetime],
) -> tuple[Any, BlobRef | None]:
    """A body's value without its secrets. One that held any is ``put``, what was taken out is told, and it comes with
    its reference."""
    clean, found = secrets.taken_from(storable(value))
    if not found:
        return clean, None
    ref = put(clean)
    event = _event(Redacted(found=dict(sorted(found.items())), body=digest(ref)), now())
    append([StreamWrite(REDACTIONS_STREAM, None, [event])])
    return clean, ref


def _clean(event: NewEvent, secrets: Secrets, told: list[NewEvent]) -> NewEvent:
    (data, actor), found = secrets.taken_from([storable(event.data), event.actor])
    if not found:
        return replace(event, data=data)
    told.append(_event(Redacted(found=dict(sorted(found.items())), event=event.id), event.occurred_at))
    return replace(event, data=data, actor=actor)


def _event(event: Redacted, at: datetime) -> NewEvent:
    data = event.model_dump(mode="json")
    return NewEvent(
        id=event_id(f"redacted/{canonical_bytes(data).decode()}"), type=Redacted.__name__, data=data, actor=HARNESS,
        schema_version=Redacted.schema_version, occurred_at=at,
    )  # fmt: skip
