"""`harness ledger …`: asks the source of truth whether it is whole. Prints; changes nothing."""

from __future__ import annotations

import typer

from harness.bootstrap import read_record
from harness.cli.ledger_blobs import checked_bodies
from harness.cli.render import AsJson, many, print_json
from harness.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The event ledger: the source of truth.")


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Walk the hash chain and every stream, and read every body that an event refers to.

    Exit 1 when something was altered: the first bad position, or the body with the event that refers to it.
    """
    record = read_record(Settings.load())
    found = record.ledger.verify()
    wrong, bodies = checked_bodies(record) if found.ok else (None, None)
    if as_json:
        print_json(
            {"ok": found.ok and wrong is None, "events": found.events, "head": found.head,
             "first_bad_position": found.first_bad_position, "reason": found.reason or wrong, "bodies": bodies}
        )  # fmt: skip
    elif bodies is None:
        print(f"damaged at position {found.first_bad_position}: {found.reason}")
    else:
        print(f"{found.events} events, every one as it was recorded; head {found.head}")
        for one in bodies["faults"]:
            print(f"{one['reason']}; the event at position {one['position']} refers to it")
        print(f"{many(bodies['proven'], 'body', 'bodies')} as they were put, {bodies['dropped']} dropped")
        if bodies["unfinished"]:
            print(f"{len(bodies['unfinished'])} forgotten and still there: `harness ledger gc` removes them")
    raise typer.Exit(0 if found.ok and wrong is None else 1)


@app.command()
def head(as_json: AsJson = False) -> None:
    """Show the position and hash of the last event."""
    position, chain = read_record(Settings.load()).ledger.head()
    print_json({"position": position, "hash": chain}) if as_json else print(position, chain)
