"""`harness ledger tail`: shows events as they are recorded. Reads and prints; changes nothing."""

from __future__ import annotations

import os
import select
import sys
from typing import Annotated, Any

import orjson
import typer

from harness.bootstrap import read_record
from harness.cli.render import AsJson, print_json, safe
from harness.core.record import Recorded
from harness.settings import Settings

SHOWN_AT_FIRST = 10
WAIT_S = 0.5
DATA_CHARS = 160


def tail(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is recorded from now on.")] = False,
    after: Annotated[
        int | None, typer.Option(min=0, help="The position behind which to begin; the last ten events, else.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest events, one line each; with --follow also those that come, until it is interrupted (130).

    With --json each line is a document.
    """
    ledger = read_record(Settings.load()).ledger
    position = max(0, ledger.head().position - SHOWN_AT_FIRST) if after is None else after
    try:
        while True:
            for row in ledger.read_all(after_position=position):
                print_json(_document(row)) if as_json else print(told(row))
                position = row.position
            sys.stdout.flush()
            if position >= ledger.head().position and not (follow and _listened_to()):
                return
            ledger.wait_past(position, timeout_s=WAIT_S)
    except KeyboardInterrupt:
        print(f"interrupted; `harness ledger tail --follow --after {position}` goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # What is still to be written at the end of the process would raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def told(row: Recorded) -> str:
    """An event in one line; nothing in it can command a terminal."""
    data = orjson.dumps(row.data).decode()
    shown = data if len(data) <= DATA_CHARS else f"{data[:DATA_CHARS]}…"
    words = (f"{row.position:>6}", f"{row.recorded_at:%Y-%m-%d %H:%M:%S}", row.stream, row.type, row.actor, shown)
    return safe("  ".join(words).replace("\n", "\\n"))


def _document(row: Recorded) -> dict[str, Any]:
    times = {"occurred_at": row.occurred_at.isoformat(), "recorded_at": row.recorded_at.isoformat()}
    return row._asdict() | times


def _listened_to() -> bool:
    """Whether somebody still reads what is printed; a pipe that was closed would else be noticed by the next event."""
    out = select.poll()
    out.register(sys.stdout.fileno(), 0)
    return not out.poll(0)
