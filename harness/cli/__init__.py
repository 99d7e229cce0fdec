"""The command line: `harness NOUN VERB`. One file per noun; this one joins them and is the process edge."""

from __future__ import annotations

import sys

import click
import typer

from harness.cli import demo, ledger, stack, ticket, trajectory
from harness.core.errors import HarnessError

app = typer.Typer(
    name="harness", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Turns SLO burns and broken invariants into tickets, works them, and verifies every change.",
)  # fmt: skip
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(demo.demo)
app.add_typer(ticket.app, name="ticket")
app.add_typer(trajectory.app, name="trajectory")
app.add_typer(ledger.app, name="ledger")

INTERRUPTED = 130


def main() -> None:
    """Run a command; every error that we know ends in one line on stderr and the contract's exit code."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except click.exceptions.Exit as asked:
        sys.exit(asked.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted; work in flight goes on: `harness status`, `harness ticket list`", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
