"""What the ledger says of its bodies: which it needs, which were dropped, and whether those that must be there are.

Reads the ledger and the folder of blobs; changes neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.blob import digest
from harness.core.dropping import Drop, standing
from harness.core.errors import Broken, Dropped
from harness.core.events import EVENTS, BlobDropped, BlobRef
from harness.core.ids import blob_stream
from harness.core.record import Recorded
from harness.core.referring import References, Referred, declared
from harness.journal import decode
from harness.ledger.blobs import Blobs
from harness.ledger.paging import rows
from harness.ports import Ledger


def drop_of(ledger: Ledger, ref: BlobRef) -> Drop | None:
    """How a body was dropped; None when it was not."""
    events = [(row, decode(row)) for row in ledger.read_stream(blob_stream(digest(ref)))]
    return standing(
        [Drop(event, row.occurred_at, row.actor, row.position) for row, event in events
         if isinstance(event, BlobDropped)]
    )  # fmt: skip


def references_of(row: Recorded) -> References:
    """The declared references of an event; none of one that a newer harness wrote, whose fields nobody knows here."""
    kind = EVENTS.get(row.type)
    if kind is None or row.schema_version > kind.schema_version:
        return {}
    data = row.data if row.schema_version == kind.schema_version else decode(row).model_dump(mode="json")
    return declared(kind, data)


@dataclass(frozen=True, slots=True)
class Fault:
    """A body that an event refers to and that is not there as it was."""

    blob: BlobRef
    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class BodiesAudit:
    """What was found: bodies ``proven`` to be as they were, ``dropped`` ones, ``faults``, and those that are recorded
    as forgotten and yet there (``unfinished``)."""

    proven: int
    dropped: int
    faults: tuple[Fault, ...]
    unfinished: tuple[BlobRef, ...]


def audit_bodies(ledger: Ledger, blobs: Blobs) -> BodiesAudit:
    """Read every body that an event refers to and that was not dropped since, each once and one at a time.

    In memory are their references, not the bodies. What is put or dropped meanwhile is no fault.
    """
    referred = Referred()
    for row in rows(ledger):
        referred.see(row.position, row.type, row.data, references_of(row))
    proven, faults = 0, []
    dropped = referred.gone()
    for ref, position in referred.readable():
        try:
            blobs.get(ref)
            proven += 1
        except (Broken, Dropped) as error:
            if (drop := drop_of(ledger, ref)) is not None and (drop.forgotten or drop.position > position):
                dropped += 1
            else:
                reason = f"blob {ref} is missing" if isinstance(error, Dropped) else str(error)
                faults.append(Fault(ref, position, reason))
    unfinished = tuple(ref for ref in referred.forgotten() if blobs.has(ref))
    return BodiesAudit(proven, dropped, tuple(faults), unfinished)
