"""The command line: `harness NOUN VERB`. One file per noun; this one joins them and is the process edge."""

from __future__ import annotations

import sys

import typer

from harness.cli import agent, demo, ledger, stack, summary, ticket, trajectory
from harness.core.errors import HarnessError

app = typer.Typer(
    name="harness", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Turns SLO burns and broken invariants into tickets, works them, and verifies every change.",
)  # fmt: skip
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(demo.demo)
app.command()(summary.summary)
app.add_typer(ticket.app, name="ticket")
app.add_typer(agent.app, name="agent")
app.add_typer(trajectory.app, name="trajectory")
app.add_typer(ledger.app, name="ledger")


def main() -> None:
    """Run a command; every error that we know ends in one line on stderr and the contract's exit code."""
    try:
        app()
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
