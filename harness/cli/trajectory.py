"""`harness trajectory …`: what was seen, done and reached on a ticket, from the ledger. Changes nothing."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.bootstrap import read_record
from harness.cli.render import AsJson, print_json
from harness.cli.story import line
from harness.core.ids import ticket_stream
from harness.core.trajectory import trajectory
from harness.journal import Journal, decode
from harness.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Trajectories: every ticket, as data to learn from.")


@app.callback()
def group() -> None:
    """Trajectories: every ticket, as data to learn from."""


@app.command()
def show(
    trajectory_id: Annotated[str, typer.Argument(metavar="ID", help="A ticket's id, such as INF-1.")],
    as_json: AsJson = False,
) -> None:
    """Show steps, observations and outcome of a ticket."""
    record = read_record(Settings.load())
    journal = Journal(trajectory_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock)
    history = [(row, decode(row)) for row in record.ledger.read_stream(ticket_stream(trajectory_id))]
    document = trajectory(journal.ticket, history, record.blobs.get_json)
    if as_json:
        print_json(document)
        return
    for _, event in history:
        if text := line(event, record.blobs):
            print(text)
    print(_summary(document))


def _summary(document: dict[str, Any]) -> str:
    outcome, provenance = document["outcome"], document["provenance"]
    return (
        f"outcome {outcome['state']}, reward {outcome['reward']}, {len(document['steps'])} steps in "
        f"{outcome['attempts']} attempts; events {provenance['first_position']} to {provenance['last_position']}, "
        f"hash {provenance['hash'][:12]}"
    )
