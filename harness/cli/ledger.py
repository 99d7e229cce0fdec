"""`harness ledger …`: asks the source of truth whether it is whole. Prints; changes nothing."""

from __future__ import annotations

import typer

from harness.bootstrap import read_record
from harness.cli.render import AsJson, print_json
from harness.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The event ledger: the source of truth.")


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Walk the hash chain and every stream. Exit 1 and the first bad position when something was altered."""
    found = read_record(Settings.load()).ledger.verify()
    if as_json:
        print_json(
            {"ok": found.ok, "events": found.events, "head": found.head,
             "first_bad_position": found.first_bad_position, "reason": found.reason}
        )  # fmt: skip
    elif found.ok:
        print(f"{found.events} events, every one as it was recorded; head {found.head}")
    else:
        print(f"damaged at position {found.first_bad_position}: {found.reason}")
    raise typer.Exit(0 if found.ok else 1)


@app.command()
def head(as_json: AsJson = False) -> None:
    """Show the position and hash of the last event."""
    position, chain = read_record(Settings.load()).ledger.head()
    print_json({"position": position, "hash": chain}) if as_json else print(position, chain)
