"""Takes bodies out of the folder of blobs that nothing needs, each drop recorded before its file goes.

Touches the ledger and the folder. What goes is decided in ``core/retention.py``. The guarantee: a body that an event
refers to stays, also when the event is appended while this runs, as long as it is appended within
``Retention.unreferenced_s`` of the last ``put`` of its body, by the clock of the file system that the folder is on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Final

from harness.core.blob import digest
from harness.core.dropping import Drop
from harness.core.errors import Broken, HarnessError, Invalid, Refused, VersionConflict
from harness.core.events import BlobDropped, BlobRef
from harness.core.ids import blob_stream, ticket_stream
from harness.core.record import StreamWrite
from harness.core.referring import Referred, mentioned
from harness.core.retention import Aging, Expired, Retention, Verdict, verdict
from harness.core.ticket import fold
from harness.journal import HARNESS, decode, encode
from harness.ledger.blobs import Blobs, Entry, Shelf
from harness.ledger.bodies import drop_of, references_of
from harness.ledger.paging import rows
from harness.ports import Clock, Ledger

DROPS_PER_APPEND: Final = 500


@dataclass(slots=True)
class Collected:
    """Files and their bytes, as they lie compressed on the disk, by what became of them."""

    files: Counter[Verdict] = field(default_factory=Counter)
    size_bytes: Counter[Verdict] = field(default_factory=Counter)

    def add(self, entry: Entry, found: Verdict) -> None:
        self.files[found] += 1
        self.size_bytes[found] += entry.size_bytes


def collect(ledger: Ledger, blobs: Blobs, clock: Clock, policy: Retention, *, dry_run: bool) -> Collected:
    """Take out what no event refers to, what policy keeps no longer, and what is recorded as dropped and yet there.

    May be killed at any moment, and run by several at once: the next one finishes. A dry run takes out nothing.
    Raises ``Broken`` and takes out nothing when a body is missing that must be there.
    """
    cutoff_ns = blobs.now_ns() - int(policy.unreferenced_s * 1e9)  # first: then whoever has to be seen is seen below
    referred, aging = Referred(), Aging(policy, clock.now())
    for row in rows(ledger):
        refs = references_of(row)
        referred.see(row.position, row.type, row.data, refs)
        aging.see(row.stream, row.occurred_at, row.type, row.data, refs)
    _require_its_own(ledger, blobs, referred)
    expired = dict(aging.over(cache(lambda stream: _closed_at(ledger, stream))))
    done = Collected()
    for name in blobs.shelves():
        with blobs.shelf(name) as shelf:
            found = [
                (entry, verdict(entry.ref, entry.put_at_ns, cutoff_ns=cutoff_ns, referred=referred, expired=expired))
                for entry in shelf.entries()
            ]
            for entry, what in found:
                done.add(entry, what)
            if not dry_run:
                _take(found, shelf, _Dropping(ledger, clock, referred, expired))
    return done


def forget(ledger: Ledger, blobs: Blobs, clock: Clock, ref: BlobRef, *, why: str, by: str) -> tuple[Drop, bool]:
    """Drop one body for good: recorded first, then its file goes. How it was dropped, and whether that was just now.

    Killed in between, the same again (or a collection) finishes it. Raises ``Invalid`` for what is no reference, for a
    body that nobody knows, and for a reason that is what is to be forgotten.
    """
    name = digest(ref)
    if (drop := drop_of(ledger, ref)) is None or not drop.forgotten:
        _require_known(ledger, blobs, ref, drop)
        _require_reason(blobs, ref, why)
    reason = None if drop is not None and drop.forgotten else blobs.put_json({"text": why})
    with blobs.shelf(name[:2]) as shelf:
        done = _forgotten(ledger, ref)  # anew: nobody else drops it while this shelf is held
        if now := done is None and reason is not None:
            stream = blob_stream(name)
            new = encode(
                f"blob/{ref}/forgotten", BlobDropped(blob=ref, cause="forgotten", why=reason, kind=None, kept_s=None),
                clock=clock, actor=f"human:{by}", correlation=stream, cause=None,
            )  # fmt: skip
            ledger.append([StreamWrite(stream, len(ledger.read_stream(stream)), [new])])
            done = _forgotten(ledger, ref)
        assert done is not None
        shelf.take(name[2:])
    return done, now


def _forgotten(ledger: Ledger, ref: BlobRef) -> Drop | None:
    drop = drop_of(ledger, ref)
    return drop if drop is not None and drop.forgotten else None


def _require_known(ledger: Ledger, blobs: Blobs, ref: BlobRef, drop: Drop | None) -> None:
    if drop is None and not blobs.has(ref) and not any(ref in mentioned(row.data) for row in rows(ledger)):
        raise Invalid(
            f"BLOB: no event refers to {ref}, and there is no such body; `harness ticket explain ID --json` and "
            "`harness trajectory show ID --json` name those of a ticket"
        )


def _require_reason(blobs: Blobs, ref: BlobRef, why: str) -> None:
    if not why.strip():
        raise Invalid("--why: is empty; say why it is dropped, for whoever misses it")
    try:
        body = blobs.get_json(ref)
    except HarnessError:  # missing, altered, or no JSON: then there is no text to compare with
        body = {"text": ""}
    if why in (body.values() if isinstance(body, dict) else (body,)):
        raise Invalid("--why: is what is to be forgotten; the reason is kept, so say it without that")


def _require_its_own(ledger: Ledger, blobs: Blobs, referred: Referred) -> None:
    """Against the folder of another ledger, or one that was lost in part: there, what looks like waste may be all."""
    if referred.is_empty() and blobs.shelves():
        raise Refused(
            "nothing is collected: the ledger refers to no body at all, and yet there are some; "
            "see that HARNESS_LEDGER_URL and HARNESS_HOME belong together"
        )
    for ref, position in referred.readable():
        if not blobs.has(ref) and ((drop := drop_of(ledger, ref)) is None or drop.position < position):
            raise Broken(
                f"nothing is collected: blob {ref} is missing, to which the event at position {position} refers; run "
                "`harness ledger verify`, restore it from a copy, or `harness ledger forget` it"
            )


def _closed_at(ledger: Ledger, stream: str) -> datetime | None:
    """When the ticket of a stream was closed; None while it lives, and for a stream of something else."""
    if not stream.startswith(ticket_stream("")):
        return None
    ticket = fold((row.id, row.occurred_at, decode(row)) for row in ledger.read_stream(stream))
    return None if ticket is None else ticket.closed_at


@dataclass(frozen=True, slots=True)
class _Dropping:
    """Records that bodies expire."""

    ledger: Ledger
    clock: Clock
    referred: Referred
    expired: Mapping[BlobRef, Expired]

    def record(self, refs: Sequence[BlobRef]) -> bool:
        """All of them, or none: False when somebody dropped one of them meanwhile, so that it has to be looked anew."""
        try:
            self.ledger.append([self._write(ref) for ref in refs])
        except VersionConflict:
            return False
        return True

    def _write(self, ref: BlobRef) -> StreamWrite:
        over, before = self.expired[ref], self.referred.drops_of(ref)
        event = BlobDropped(blob=ref, cause="expired", why=None, kind=over.kind, kept_s=over.kept_s)
        key = f"blob/{ref}/expired/{before + 1}/{over.kind}/{over.kept_s}"
        stream = blob_stream(digest(ref))
        new = encode(key, event, clock=self.clock, actor=HARNESS, correlation=stream, cause=None)
        return StreamWrite(stream, before, [new])


def _take(found: Sequence[tuple[Entry, Verdict]], shelf: Shelf, dropping: _Dropping) -> None:
    """Those files, and what expires only once that is recorded. All while nobody may put a body there."""
    for entry, what in found:
        if what in ("unreferenced", "finished"):
            shelf.take(entry.name)
    expiring = [entry for entry, what in found if what == "expired"]
    for start in range(0, len(expiring), DROPS_PER_APPEND):
        part = expiring[start : start + DROPS_PER_APPEND]
        if dropping.record([entry.ref for entry in part if entry.ref is not None]):
            for entry in part:
                shelf.take(entry.name)
