"""`harness deployment list`: what was brought onto the nodes, and what became of it. Changes nothing."""

from __future__ import annotations

from typing import Any

import typer

from harness.bootstrap import Record, read_record
from harness.cli.render import AsJson, minute, print_json, say, short_hashes
from harness.core.projections.deployments import DEPLOYMENTS
from harness.projector import documents
from harness.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Deployments: what tickets brought onto the nodes.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List every deployment with what became of it, newest first."""
    rows = listed(read_record(Settings.load()))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        what = row["action"] or short_hashes(row["commit"])
        at = minute(row["at"])
        say(f"{row['ticket']:<8} attempt {row['attempt']} {row['kind']:<9} {what:<12} {at}: {row['outcome']}")
    if not rows:
        print("no deployments")


def listed(record: Record) -> list[dict[str, Any]]:
    """A row for each, newest first."""
    (tickets,) = documents(record.ledger, DEPLOYMENTS)
    rows = [
        {"ticket": ticket_id, "service": ticket["service"], **one}
        for ticket_id, ticket in tickets.items() for one in ticket["deployments"]
    ]  # fmt: skip
    return sorted(rows, key=lambda row: str(row["at"]), reverse=True)
