"""`harness slo status`: every objective as it is now: burn, budget left, when it is used up. Changes nothing.

Asks Prometheus as the watch does, at the moment of the call; the ledger says since when, and what was dealt with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import typer

from harness.bootstrap import build_metrics, read_manifest, read_record, read_rules
from harness.cause import closed_at
from harness.cli.render import AsJson, moment, number, print_json, safe
from harness.core.burn_rate import SloState, budget_left, error_ratio, exhausted_in_s
from harness.core.errors import Invalid, Retryable
from harness.core.ids import fingerprint
from harness.core.manifest import Manifest
from harness.core.slo import Slo
from harness.core.slo_documents.promql import duration
from harness.objectives import Spent, look, spent
from harness.ports import Ledger, Metrics
from harness.settings import Settings
from harness.states import last_told

HEADINGS = ("objective", "state", "since", "target", "so far", "budget left", "burn")


def status(as_json: AsJson = False) -> None:
    """Show every objective: state, target, what was reached so far, error budget left, burn rates, since when.

    Exit 1 when one is not ok, 4 when none could be asked for.
    """
    settings = Settings.load()
    record, rules = read_record(settings), read_rules()
    manifest = read_manifest(settings, rules)
    rows = asyncio.run(
        rows_of(rules.slos, manifest, metrics=build_metrics(settings), ledger=record.ledger, now=record.clock.now())
    )
    if as_json:
        print_json(rows)
    else:
        _print_table(rows, record.clock.now())
    if rows and all(row["state"] == "query_failed" for row in rows):
        raise Retryable(rows[0]["reason"])
    if any(row["state"] != "ok" for row in rows):
        raise typer.Exit(1)


async def rows_of(
    slos: Sequence[Slo], manifest: Manifest, *, metrics: Metrics, ledger: Ledger, now: datetime
) -> list[dict[str, Any]]:
    """The contract's rows. ``current`` and ``budget_left`` are of the period as far as there are data of it, which is
    since ``measured_since``; what is not known is None. ``exhausted_in_s`` is at ``pace``, the burn rate over the long
    window of the fastest tier; None also where nothing is burnt."""
    closed = {slo.name: closed_at(ledger, fingerprint("slo", manifest.name, slo.name)) for slo in slos}
    looked = await look(metrics, manifest, slos, closed, now)
    return [await _row(slo, looked.states[slo.name], manifest, metrics, ledger, now) for slo in slos]


async def _row(
    slo: Slo, state: SloState, manifest: Manifest, metrics: Metrics, ledger: Ledger, now: datetime
) -> dict[str, Any]:
    of_period: Spent | None = None
    reason = state.reason
    if state.state != "query_failed":
        try:
            of_period = await spent(metrics, manifest, slo, now)
        except (Retryable, Invalid) as error:
            reason = f"{reason}; of its period: {error}"
    pace = state.burn[slo.tiers[0].long_s]
    left = None if of_period is None else budget_left(of_period.bad, of_period.total, slo.error_budget)
    return {
        "slo": slo.name, "service": manifest.name, "target": slo.target, "window": slo.window, "state": state.state,
        "reason": reason, "since": _since(ledger, manifest.name, slo.name, state),
        "current": None if of_period is None else 1 - error_ratio(of_period.bad, of_period.total),
        "budget_left": left, "events": of_period and of_period.total,
        "period_s": slo.period_s, "measured_since": of_period and of_period.since.isoformat(),
        "measured_s": of_period and (now - of_period.since).total_seconds(),
        "pace": pace,
        "exhausted_in_s": None if left is None or pace is None else exhausted_in_s(left, pace, slo.period_s),
        "burn": [{"window": duration(window_s), "rate": rate} for window_s, rate in state.burn.items()],
    }  # fmt: skip


def _since(ledger: Ledger, service: str, name: str, state: SloState) -> str | None:
    """Since when it is in this state, as the watch has told; None where the watch has not seen it so."""
    told = last_told(ledger, "slo", service, name)
    return told.at.isoformat() if told is not None and told.after == state.state else None


def _print_table(rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """As wide as a terminal of 80 columns; what takes words stands below."""
    from rich.console import Console  # only people need it
    from rich.table import Table

    colour = {"ok": "green", "burning": "red", "no_data": "yellow", "query_failed": "yellow"}
    table = Table(box=None)
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    for row in rows:
        burn = "\n".join(
            f"{'?' if one['rate'] is None else format(one['rate'], '.3g') + 'x'} in {one['window']}"
            for one in row["burn"]
        )
        table.add_row(
            f"{row['slo']}", f"[{colour[row['state']]}]{row['state']}[/]", moment(row["since"], now),
            number(row["target"], "%"), number(row["current"], "%"), number(row["budget_left"], "%"), burn,
        )  # fmt: skip
    Console().print(table)
    for row in rows:
        print(f"{row['slo']}: {_measured(row)}; its budget {_used_up(row)}")
        if row["state"] != "ok":
            print(safe(f"{row['slo']}: {row['state']}: {row['reason']}"))


def _measured(row: dict[str, Any]) -> str:
    """How much of the period there are data of."""
    period = duration(row["period_s"])
    if row["measured_s"] is None:
        return f"no data of its {period}"
    if row["measured_s"] >= row["period_s"]:
        return f"measured over {period}"
    return f"measured over {_length(row['measured_s'])} of {period}"


def _used_up(row: dict[str, Any]) -> str:
    if row["exhausted_in_s"] is not None:
        return f"is used up in {_length(row['exhausted_in_s'])} at this pace" if row["exhausted_in_s"] else "is used up"
    return "is not known" if row["budget_left"] is None or row["pace"] is None else "lasts at this pace"


def _length(seconds: float) -> str:
    """A length of time for people, without what nobody reads of it."""
    return str(timedelta(seconds=round(seconds)))
