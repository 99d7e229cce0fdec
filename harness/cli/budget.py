"""`harness budget show`: what models took, by whom it was for. Changes nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from harness.bootstrap import Record, read_record
from harness.cli.render import AsJson, many, print_json, safe, say
from harness.core.errors import Broken, Dropped
from harness.core.projections.budgets import BUDGETS, NOTHING, more
from harness.core.projections.projection import Document
from harness.core.ticket_spec import TicketSpec
from harness.projector import documents
from harness.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Budgets: what models took.")
By = Literal["ticket", "service", "model", "tenant", "team", "project", "use_case"]


@app.command()
def show(
    by: Annotated[By, typer.Option(help="What is summed; the last four are labels of tickets.")] = "ticket",
    as_json: AsJson = False,
) -> None:
    """Show replies, tokens and USD of models so far, and what tickets allow; null where it is not known or not set."""
    rows = summed(read_record(Settings.load()), by)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        usd = "cost not known" if row["usd"] is None else f"{row['usd']:.4f} USD"
        tokens = "tokens not known" if None in (row["tokens_in"], row["tokens_out"]) else (
            many(row["tokens_in"] + row["tokens_out"], "token"))  # fmt: skip
        allowed = f" of {row['limit_usd']:.4f}" if row.get("limit_usd") is not None else ""
        say(f"{safe(row[by] or 'none'):<12} {many(row['replies'], 'reply', 'replies')}, {tokens}, {usd}{allowed}")
    if not rows:
        print("no model was asked")


def summed(record: Record, by: By) -> list[dict[str, Any]]:
    """A row for each that a model was asked for, in the order of their names; those without a label last."""
    (tickets,) = documents(record.ledger, BUDGETS)
    sums: dict[str | None, Document] = {}
    limits: dict[str | None, dict[str, Any]] = {}
    for ticket_id, ticket in tickets.items():
        for model, took in ticket["models"].items():
            name, limits_of = _attributed(record, by, ticket_id, ticket, model)
            sums[name] = more(sums.get(name, NOTHING), took)
            limits[name] = limits_of
    return [
        {by: name, **sums[name], **limits[name]} for name in sorted(sums, key=lambda name: (name is None, name or ""))
    ]


def _attributed(
    record: Record, by: By, ticket_id: str, ticket: Document, model: str
) -> tuple[str | None, dict[str, Any]]:
    """Under which name it is summed, and what that one may take where it is known."""
    match by:
        case "model":
            return model, {}
        case "service":
            return str(ticket["service"]), {}
    try:
        spec = TicketSpec.read(record.blobs.get_json(ticket["spec"]), ticket_id)
    except (Broken, Dropped) as error:  # one text that is lost must not hide what all others took
        return (ticket_id, {}) if by == "ticket" else (f"unreadable: {error}", {})
    if by == "ticket":
        return ticket_id, {"limit_usd": spec.budget.usd, "limit_tokens": spec.budget.tokens}
    return getattr(spec.labels, by), {}
