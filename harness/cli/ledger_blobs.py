"""`harness ledger gc`, `forget`: bodies beside the ledger that nothing needs, or nobody may see. The chain stays."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from harness.bootstrap import Record, read_record, read_rules
from harness.cli.render import AsJson, many, print_json, safe
from harness.cli.ticket import By, spoken, who
from harness.core.retention import Verdict
from harness.ledger.bodies import BodiesAudit, audit_bodies
from harness.ledger.collect import collect
from harness.ledger.collect import forget as forget_one
from harness.settings import Settings

FAULTS_SHOWN: Final = 100
SAID: Final[dict[Verdict, str]] = {
    "kept": "kept, as events refer to them",
    "young": "kept, as their events may be still to come",
    "unreferenced": "that no event refers to",
    "expired": "that policy keeps no longer",
    "finished": "whose drop was recorded before",
}


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False, as_json: AsJson = False
) -> None:
    """Remove bodies that no event refers to, and those that policies/retention.yaml keeps no longer.

    A body that an event refers to stays; what policy drops is recorded before it goes. Exit 1, and nothing goes, when a
    body is missing that must be there. Harmless at any time, also twice at once.
    """
    record = read_record(Settings.load())
    done = collect(record.ledger, record.blobs, record.clock, read_rules().retention, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "files": {what: done.files[what] for what in SAID},
                    "bytes": {what: done.size_bytes[what] for what in SAID}})  # fmt: skip
        return
    for what, said in SAID.items():
        verb = "" if what in ("kept", "young") else "would go, " if dry_run else "removed, "
        if done.files[what]:
            print(f"{many(done.files[what], 'file')}, {done.size_bytes[what]} bytes: {verb}{said}")
    if not done.files:
        print("no bodies")


def forget(
    blob: Annotated[str, typer.Argument(metavar="BLOB", help="The body's reference, sha256: and 64 hex digits.")],
    why: Annotated[str, typer.Option(help="Why; kept, so say it without what is to be forgotten.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Drop one body for good: who and why is recorded, its file is removed, and the ledger still verifies.

    The same body is not stored again, whoever says it. Other bodies that repeat it are bodies of their own, and so are
    copies elsewhere.
    """
    record = read_record(Settings.load())
    drop, now = forget_one(record.ledger, record.blobs, record.clock, blob, why=spoken(why, "--why"), by=who(by))
    said = record.blobs.told(drop)
    if as_json:
        print_json({"blob": blob, "position": drop.position, "at": drop.at.isoformat(), "actor": drop.actor,
                    "now": now})  # fmt: skip
    else:
        print(safe(f"{blob}: {'' if now else 'was before '}{said}"))


def checked_bodies(record: Record) -> tuple[str | None, dict[str, Any]]:
    """(what is wrong, None when nothing is; the bodies in the form of a document)."""
    found: BodiesAudit = audit_bodies(record.ledger, record.blobs)
    first = found.faults[0] if found.faults else None
    wrong = None
    if first is not None:
        others = f" (and {len(found.faults) - 1} more)" if len(found.faults) > 1 else ""
        wrong = f"{first.reason}; the event at position {first.position} refers to it{others}"
    return wrong, {
        "proven": found.proven, "dropped": found.dropped, "faulty": len(found.faults),
        "faults": [{"blob": one.blob, "position": one.position, "reason": one.reason}
                   for one in found.faults[:FAULTS_SHOWN]],
        "unfinished": list(found.unfinished),
    }  # fmt: skip
