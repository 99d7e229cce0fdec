"""`harness ledger …`: is the source of truth whole; copies it, folds its projections anew. Adds no event."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import projector
from harness.bootstrap import Record, anchors_in_commits, open_record, read_record
from harness.cli.ledger_blobs import checked_bodies
from harness.cli.render import AsJson, many, print_json, say
from harness.core.anchor import Anchor, Cited, Custody, asked_for, held_against, ledger_name, read_anchors
from harness.core.backup import Manifest
from harness.core.errors import Invalid
from harness.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The event ledger: the source of truth.")


@app.command()
def verify(
    anchor: Annotated[
        str | None, typer.Option(metavar="FILE", help="Anchors that were kept, one a line; `-` for stdin.")
    ] = None,
    repository: Annotated[
        bool, typer.Option(help="Take the anchors in the commits of the service's repository, too.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Walk the hash chain and every stream, hold them against every anchor at hand, and read every body referred to.

    Exit 1 when an event was altered, is gone, or is another: what happened, and the first bad position; or when a body
    was: which, and the event that refers to it.
    """
    settings = Settings.load()
    given = _given(anchor) if anchor is not None else []
    # Before the ledger is walked: what an anchor names is then among the events that are walked.
    cited = given + (anchors_in_commits(settings) if repository else [])
    record = read_record(settings)
    custody = _custody(record, cited)
    found = custody.found
    wrong, bodies = checked_bodies(record) if found.ok else (None, None)
    if as_json:
        print_json(
            {"ok": found.ok and wrong is None, "events": found.events, "head": found.head,
             "first_bad_position": found.first_bad_position, "reason": found.reason or wrong,
             "anchors": custody.anchors, "bodies": bodies}
        )  # fmt: skip
    elif bodies is None:
        place = "" if found.first_bad_position is None else f"damaged at position {found.first_bad_position}: "
        say(f"{place}{found.reason}")
    else:
        say(f"{many(found.events, 'event')}, every one as it was recorded; head {found.head}")
        held = f"{many(custody.anchors, 'anchor')} {'holds' if custody.anchors == 1 else 'hold'}"
        print(held if cited else "no anchor is at hand: `harness ledger anchor` prints one, to be kept elsewhere")
        for one in bodies["faults"]:
            say(f"{one['reason']}; the event at position {one['position']} refers to it")
        say(f"{many(bodies['proven'], 'body', 'bodies')} as they were put, {bodies['dropped']} dropped")
        if bodies["unfinished"]:
            say(f"{len(bodies['unfinished'])} forgotten and still there: `harness ledger gc` removes them")
    raise typer.Exit(0 if found.ok and wrong is None else 1)


@app.command()
def head(as_json: AsJson = False) -> None:
    """Show the position and hash of the last event."""
    position, chain = read_record(Settings.load()).ledger.head()
    print_json({"position": position, "hash": chain}) if as_json else print(position, chain)


@app.command()
def rebuild(as_json: AsJson = False) -> None:
    """Fold every projection anew, from the first event. Never needed for a right answer: only where one is doubted."""
    ledger = read_record(Settings.load()).ledger
    projector.rebuild(ledger)
    kept = ledger.projected([one.name for one in projector.ALL])
    rows = [
        {"projection": name, "version": one.progress.version, "documents": len(one.documents),
         "position": one.progress.position}
        for name, one in sorted(kept.items())
    ]  # fmt: skip
    if as_json:
        print_json(rows)
        return
    for name, one in sorted(kept.items()):
        say(f"{name:<12} {many(len(one.documents), 'document')} as of position {one.progress.position}")


@app.command("anchor")
def anchor_(as_json: AsJson = False) -> None:
    """Show the head, of which ledger it is, and since when, in a line to be kept where nobody who writes here can.

    `harness ledger verify --anchor FILE` takes any number of these lines.
    """
    ledger = read_record(Settings.load()).ledger
    position, chain = ledger.head()
    last = ledger.read_all(after_position=position - 1, limit=1)[0] if position else None
    anchor = Anchor(
        position, chain, ledger_name(next(iter(ledger.read_all(limit=1)), None)), last.recorded_at if last else None
    )
    print_json(
        {**anchor._asdict(), "at": anchor.at.isoformat() if anchor.at else None}
    ) if as_json else print(anchor.line())  # fmt: skip


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The folder to make; it must not be there.")], as_json: AsJson = False
) -> None:
    """Back up all events and bodies into a new folder, while the harness runs. Whole or not at all.

    Every event and every body is checked on the way; exit 1 when one is damaged.
    """
    from harness.ledger.backup import export as backup

    record = read_record(Settings.load())
    _tell(backup(record.ledger, record.blobs, out, taken_at=record.clock.now()), out, as_json)


@app.command()
def restore(folder: Annotated[Path, typer.Argument(help="A folder of `harness ledger export`.")],
            as_json: AsJson = False) -> None:  # fmt: skip
    """Bring a backup back, into a ledger that has no event yet: the same chain, byte for byte.

    The backup is checked before anything is touched, and the ledger before anything is final. Killed in the middle, it
    leaves an empty ledger: type it again. Exit 3 when events are there.
    """
    from harness.ledger.backup import check
    from harness.ledger.backup import restore as bring_back

    settings, manifest = Settings.load(), check(folder)
    record = open_record(settings)  # made only now: an empty ledger that a mistake left behind would look healthy
    bring_back(folder, manifest, record.ledger, record.blobs)
    _tell(manifest, folder, as_json)


def _tell(manifest: Manifest, folder: Path, as_json: bool) -> None:
    if as_json:
        print_json({"out": str(folder), **manifest.model_dump(mode="json")})
        return
    say(f"{folder}: {many(manifest.events, 'event')}, {many(manifest.blobs, 'body', 'bodies')}; "
          f"head {manifest.head_hash}")  # fmt: skip


def _given(name: str) -> list[Cited]:
    """The anchors of a file, or of stdin. Raises Invalid with ``path: line: reason``."""
    try:
        written = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Invalid(f"{name}: {error.strerror}; name a file of anchors, or - for stdin") from None
    return read_anchors(written.decode(errors="replace"), "stdin" if name == "-" else name)


def _custody(record: Record, cited: list[Cited]) -> Custody:
    """What the ledger is, by its chain and by these anchors."""
    found = record.ledger.verify()
    first = next(iter(record.ledger.read_all(limit=1)), None) if found.events else None
    hashes = {
        position: record.ledger.read_all(after_position=position - 1, limit=1)[0].hash
        for position in asked_for(found, cited)
    }
    return held_against(found, cited, ledger=ledger_name(first), hashes=hashes)
