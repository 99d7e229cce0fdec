"""`harness signal list`: what was seen to be wrong, whether it still is, and whose ticket it is. Changes nothing."""

from __future__ import annotations

from typing import Any

import typer

from harness.bootstrap import Record, read_record
from harness.cause import standing
from harness.cli.render import AsJson, many, minute, print_json, say
from harness.cli.shown import Shown
from harness.core import events as e
from harness.core.ids import signal_stream
from harness.core.plain_text import one_line
from harness.core.record import Recorded
from harness.journal import decode
from harness.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Signals: what was seen to be wrong, or could be better.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List every signal that ever started: those that fire first, then by the time of the last change."""
    rows = listed(read_record(Settings.load()))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        what = one_line(f"{row['kind']} {row['name']} of {row['service']}")
        seen = f"{row['state']} since {minute(row['since'])}, started {many(row['count'], 'time')}"
        say(f"{row['ticket'] or '-':<8} {what:<40} {seen}: {row['reason']}")
    if not rows:
        print("no signals")


def listed(record: Record) -> list[dict[str, Any]]:
    """A row for each fingerprint; ``ticket``: the last that its cause had, whether it lives or not."""
    streams = record.ledger.streams(signal_stream(""))
    rows = [_row(record, record.ledger.read_stream(stream)) for stream in streams]
    rows.sort(key=lambda row: row["since"], reverse=True)
    return sorted(rows, key=lambda row: row["state"] != "firing")


def _row(record: Record, rows: list[Recorded]) -> dict[str, Any]:
    started = [event for row in rows if isinstance(event := decode(row), e.SignalStarted)]
    last = started[-1]
    now = standing(record.ledger, last.fingerprint)
    fires, since = rows[-1].type == e.SignalStarted.__name__, rows[-1].occurred_at
    if last.kind == "opportunity" and now.closed_at is not None:  # measured once: it stands while its ticket lives
        fires, since = False, now.closed_at
    return {
        "fingerprint": last.fingerprint, "kind": last.kind, "name": last.name, "service": last.service,
        "state": "firing" if fires else "ended", "since": since.isoformat(),
        "first_seen": rows[0].occurred_at.isoformat(), "count": len(started),
        "ticket": now.last,
        "reason": str(Shown(record.blobs).get_json(last.evidence).get("reason", "")),
    }  # fmt: skip
