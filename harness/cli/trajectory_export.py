"""Exports trajectories from the ledger, ticket by ticket, and checks what was exported. Writes only under --out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.adapters.exports import MANIFEST, Export, altered, format_faults, new_export, read_strictly
from harness.bootstrap import Record
from harness.cli.shown import Shown
from harness.cli.story import line
from harness.core import atif
from harness.core import events as e
from harness.core.canonical import canonical_bytes
from harness.core.errors import Broken, HarnessError, Invalid
from harness.core.ids import REDACTIONS_STREAM, ticket_stream
from harness.core.projections.tickets import TICKETS, state_of
from harness.core.projections.trajectories import TRAJECTORIES
from harness.core.record import Head, Recorded
from harness.core.redaction import Found, Secrets
from harness.core.splits import SPLITS, Kin, Split, lineage, splits
from harness.core.ticket import Ticket, fold
from harness.core.trajectory import reward, trajectory
from harness.core.units import seconds
from harness.journal import decode
from harness.projector import documents

VERSION = version("harness")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
History = list[tuple[Recorded, e.Event]]


@dataclass(frozen=True, slots=True)
class Filing:
    """What has to be known of every ticket before the first is written: it ties them together."""

    ticket: str
    fingerprint: str | None
    recurrence_of: str | None
    filed_at: datetime


@dataclass(frozen=True, slots=True)
class Shelf:
    """Every trajectory of a ledger up to its head, in the order of filing, with its split and what it comes from."""

    record: Record
    head: Head
    filings: tuple[Filing, ...]
    split: dict[str, Split]
    redacted: dict[str, int]
    """What was taken out of texts before they were recorded, by the name of a variable or of a pattern."""

    @classmethod
    def of(cls, record: Record) -> Shelf:
        head = record.ledger.head()
        filings = _filings(record, head)
        kin = [Kin(one.ticket, one.fingerprint, (one.recurrence_of,) if one.recurrence_of else ()) for one in filings]
        return cls(record, head, tuple(filings), splits(kin), _redacted(record, head))

    def history(self, filing: Filing) -> History:
        """The ticket's rows with their events, up to the head."""
        stream = self.record.ledger.read_stream(ticket_stream(filing.ticket))
        return [(row, decode(row)) for row in stream if row.position <= self.head.position]

    def extra(self, filing: Filing) -> dict[str, Any]:
        """Where the ticket stands among the others."""
        before = {one.ticket: one.recurrence_of for one in self.filings}
        return {
            "parent": filing.recurrence_of, "lineage": lineage(filing.ticket, before),
            "split": self.split[filing.ticket],
        }  # fmt: skip


def _filings(record: Record, head: Head) -> list[Filing]:
    (trajectories,) = documents(record.ledger, TRAJECTORIES)
    filed = sorted(trajectories.items(), key=lambda one: one[1]["first_position"])
    return [
        Filing(ticket, one["fingerprint"], one["recurrence_of"], datetime.fromisoformat(one["filed_at"]))
        for ticket, one in filed if one["first_position"] <= head.position
    ]  # fmt: skip


def _redacted(record: Record, head: Head) -> dict[str, int]:
    found = Found()
    for row in record.ledger.read_stream(REDACTIONS_STREAM):
        if row.position <= head.position:
            event = decode(row)
            assert isinstance(event, e.Redacted)
            found.update(event.found)
    return dict(sorted(found.items()))


def listed(shelf: Shelf) -> Iterator[dict[str, Any]]:
    """A row for every trajectory, in the order of filing."""
    trajectories, tickets = documents(shelf.record.ledger, TRAJECTORIES, TICKETS)
    for filing in shelf.filings:
        one, state = trajectories[filing.ticket], state_of(tickets[filing.ticket])
        yield {
            "trajectory": filing.ticket, "ticket": filing.ticket, "fingerprint": filing.fingerprint, "state": state,
            "reward": reward(state, one["seen_unmet"]), "attempts": one["attempts"], "steps": one["steps"],
            "filed_at": filing.filed_at.isoformat(), **shelf.extra(filing), "first_position": one["first_position"],
            "last_position": one["last_position"],
        }  # fmt: skip


def export_atif(record: Record, out: Path, since: datetime | None) -> dict[str, Any]:
    """Write every trajectory that something happened to since then; gives the manifest. One is in memory at a time."""
    shelf, secrets, taken_out = Shelf.of(record), Secrets.of(os.environ), Found()
    files: list[dict[str, Any]] = []
    first, last = None, None
    with new_export(out, secrets) as export:
        for filing in shelf.filings:
            history = shelf.history(filing)
            if since is not None and history[-1][0].occurred_at < since:
                continue
            files.append(_write(export, shelf, filing, history, secrets, taken_out))
            begins, ends = history[0][0].position, history[-1][0].position
            first, last = min(first or begins, begins), max(last or ends, ends)
        manifest = {
            "format": "atif",
            "counts": {split: sum(one["split"] == split for one in files) for split in SPLITS},
            "files": files,
            "ledger_head": shelf.head.hash,
            "schema_versions": {
                "atif": atif.VERSION,
                "harness": VERSION,
                "events": {name: kind.schema_version for name, kind in sorted(e.EVENTS.items())},
            },
            "redaction": {
                "before_recording": shelf.redacted, "secrets_taken_out": taken_out.total(),
                "secrets_searched": len(secrets.values), "secrets_too_short_to_search": len(secrets.not_searched),
            },
            "created_from": {"first_position": first, "last_position": last},
        }  # fmt: skip
        export.write(MANIFEST, canonical_bytes(manifest) + b"\n")
    return manifest


def _write(
    export: Export, shelf: Shelf, filing: Filing, history: History, secrets: Secrets, taken_out: Found
) -> dict[str, Any]:  # fmt: skip
    blobs = CleanBlobs(Shown(shelf.record.blobs), secrets, taken_out)
    document, found = secrets.taken_from(
        atif.atif(
            history, trajectory=trajectory(_ticket(history), history, blobs.get_json), extra=shelf.extra(filing),
            body=blobs.get_json, tell=lambda event: line(event, blobs), version=VERSION,
        )
    )  # fmt: skip
    taken_out.update(found)
    if faults := atif.faults(document):
        raise Broken(f"{filing.ticket}: its document breaks a rule of the format, nothing was exported: {faults[0]}")
    split = shelf.split[filing.ticket]
    name = filing.ticket if PLAIN_NAME.fullmatch(filing.ticket) else sha256(filing.ticket.encode()).hexdigest()[:16]
    written = export.write(f"{split}/{name}.json", canonical_bytes(document, name=filing.ticket) + b"\n")
    return {**written, "rows": 1, "split": split}


@dataclass(frozen=True, slots=True)
class CleanBlobs:
    """Bodies without secrets: in a body that becomes text within a document they could not be told apart later."""

    shown: Shown
    secrets: Secrets
    taken_out: Found

    def get_json(self, ref: str) -> Any:
        clean, found = self.secrets.taken_from(self.shown.get_json(ref))
        self.taken_out.update(found)
        return clean


def _ticket(history: History) -> Ticket:
    ticket = fold((row.id, row.occurred_at, event) for row, event in history)
    assert ticket is not None
    return ticket


def moment(text: str, now: datetime) -> datetime:
    """`2026-11-26`, `2026-11-26T17:00:00+00:00`, or as long ago as `7d`. Raises Invalid; UTC where no offset is."""
    if re.fullmatch(r"[0-9.]+(s|m|h|d)", text):
        try:
            return now - timedelta(seconds=seconds(text))
        except OverflowError:
            raise Invalid(f"--since {text}: is longer ago than the calendar goes") from None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"--since {text[:40]}: write a date such as 2026-11-26, a time, or as long ago as 7d") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def check(path: Path) -> tuple[int, list[dict[str, str]]]:
    """(documents, faults) of a file or of a whole export. Raises Invalid when it cannot be read as JSON."""
    if not path.is_dir():
        return 1, [{"path": str(path), "reason": reason} for reason in _document_faults(path)]
    manifest = read_strictly(path / MANIFEST)
    try:
        found = [{"path": name, "reason": reason} for name, reason in altered(path, manifest)]
        names = [str(one["path"]) for one in manifest["files"] if (path / str(one["path"])).is_file()]
    except (AttributeError, KeyError, TypeError) as error:
        raise Invalid(f"{path / MANIFEST}: is no manifest of an export ({error!r})") from None
    for name in names:
        try:
            found += [{"path": name, "reason": reason} for reason in _document_faults(path / name)]
        except HarnessError as error:
            found.append({"path": name, "reason": str(error)})
    return len(names), found


def _document_faults(path: Path) -> list[str]:
    document = read_strictly(path)
    return [*format_faults(document), *atif.faults(document)]
