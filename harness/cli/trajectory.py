"""`harness trajectory …`: what was seen, done and reached on a ticket, from the ledger. Changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.bootstrap import read_record
from harness.cli.render import AsJson, many, print_json, safe, say
from harness.cli.shown import Shown
from harness.cli.story import line
from harness.cli.trajectory_export import Shelf, check, export_atif, listed, moment
from harness.core.ids import ticket_stream
from harness.core.trajectory import trajectory
from harness.journal import Journal, decode
from harness.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Trajectories: every ticket, as data to learn from.")


Format = Annotated[Literal["atif"], typer.Option("--format", help="Which form.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List every trajectory with its outcome and the split that it belongs to, in the order of filing."""
    found = list(listed(Shelf.of(read_record(Settings.load()))))
    if as_json:
        print_json(found)
        return
    for row in found:
        reward = "not verified" if row["reward"] is None else f"reward {row['reward']}"
        say(
            f"{safe(row['trajectory']):<8} {row['state']:<10} {reward:<12} {many(row['steps'], 'step')} in "
            f"{many(row['attempts'], 'attempt')}, {row['split']}"
        )
    if not found:
        print("no trajectories")


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The folder to make; MANIFEST.json in it names every file.")],
    format_: Format = "atif",
    since: Annotated[str | None, typer.Option(help="Only what something happened to since: 2026-11-26, or 7d.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write trajectories as files to learn from, whole or not at all.

    One ATIF document a ticket. Values of variables named *_API_KEY, *_TOKEN, *_SECRET or *_PASSWORD are taken out;
    exit 3 and no folder when one is found in a file nevertheless.
    """
    record = read_record(Settings.load())
    manifest = export_atif(record, out, None if since is None else moment(since, record.clock.now()))
    if as_json:
        print_json(manifest)
        return
    counts = ", ".join(f"{count} {split}" for split, count in manifest["counts"].items())
    say(f"{many(len(manifest['files']), 'trajectory', 'trajectories')} in {out}: {counts}")


@app.command()
def validate(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A document, or the folder of an export.")],
    format_: Format = "atif",
    as_json: AsJson = False,
) -> None:
    """Check documents by the format's published models and by our stricter rules. Exit 1 with every fault."""
    documents, faults = check(path)
    if as_json:
        print_json({"ok": not faults, "documents": documents, "faults": faults})
    else:
        for one in faults:
            print(safe(f"{one['path']}: {one['reason']}"))
        say(f"{many(documents, 'document')}, {many(len(faults), 'fault')}")
    raise typer.Exit(1 if faults else 0)


@app.command()
def show(
    trajectory_id: Annotated[str, typer.Argument(metavar="ID", help="A ticket's id, such as INF-1.")],
    as_json: AsJson = False,
) -> None:
    """Show steps, observations and outcome of a ticket."""
    record = read_record(Settings.load())
    journal = Journal(trajectory_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock)
    history = [(row, decode(row)) for row in record.ledger.read_stream(ticket_stream(trajectory_id))]
    shown = Shown(record.blobs)
    document = trajectory(journal.ticket, history, shown.get_json)
    if as_json:
        print_json(document)
        return
    for _, event in history:
        if text := line(event, shown):
            print(text)
    print(_summary(document))


def _summary(document: dict[str, Any]) -> str:
    outcome, provenance = document["outcome"], document["provenance"]
    return (
        f"outcome {outcome['state']}, reward {outcome['reward']}, {len(document['steps'])} steps in "
        f"{outcome['attempts']} attempts; events {provenance['first_position']} to {provenance['last_position']}, "
        f"hash {provenance['hash'][:12]}"
    )
