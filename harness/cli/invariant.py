"""`harness invariant …`: conditions that have to hold, checked as files, and asked of what is. Files nothing."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.adapters.declarations import OWN, load_invariants, load_structural
from harness.bootstrap import build_metrics, read_manifest, read_record, read_rules
from harness.cli.render import AsJson, number, print_json, safe
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.measure import Window, measure_all
from harness.ports import Ledger, Metrics
from harness.settings import Settings
from harness.states import last_told, settled_since

app = typer.Typer(no_args_is_help=True, help="Conditions that have to hold: checked, and asked of what is.")


@app.command()
def lint(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A file of invariants, or a folder of them.")],
    as_json: AsJson = False,
) -> None:
    """Check invariants: their form, and that the service has their metrics in these units. Exit 2 with every fault.

    A file `harness.yaml` holds those of the harness itself.
    """
    settings, rules = Settings.load(), read_rules()
    own = path / OWN if path.is_dir() else path if path.name == OWN else None
    invariants = load_invariants(path) if path.name != OWN else ()
    manifest = read_manifest(settings, rules)
    for one in invariants:
        one.check_fits(manifest)
    if own is not None and own.exists():
        load_structural(own.parent, [one.name for one in invariants])
    print_json({"file": str(path), "ok": True}) if as_json else print(f"{path}: fine")


@app.command()
def check(as_json: AsJson = False) -> None:
    """Measure every invariant of the service now, and tell what the watch found of those of the harness.

    Exit 1 when one does not hold, or cannot be told to.
    """
    settings, rules = Settings.load(), read_rules()
    record, manifest = read_record(settings), read_manifest(settings, rules)
    rows = asyncio.run(_measured(build_metrics(settings), manifest, rules.invariants, record.clock.now()))
    rows += [_told(record.ledger, manifest.name, one.name) for one in rules.structural]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            word = {True: "holds", False: "is violated", None: "cannot be told"}[row["holds"]]
            print(f"{row['invariant']:<24} {word:<15} {safe(row['reason'])}")
    raise typer.Exit(0 if all(row["holds"] for row in rows) else 1)


async def _measured(
    metrics: Metrics, manifest: Manifest, invariants: tuple[Invariant, ...], now: datetime
) -> list[dict[str, Any]]:
    """Each as of the last ``for``; what the watch remembers of the time before is not asked."""
    asked = [(one.metric, Window.before(now, one.for_s)) for one in invariants]
    rows = []
    for one, measured in zip(invariants, await measure_all(metrics, manifest, asked), strict=True):
        holds = one.condition.condition.holds(measured.value)
        unit = manifest.metrics[one.metric].unit
        rows.append(
            {"invariant": one.name, "of": manifest.name, "holds": holds, "value": measured.value, "since": None,
             "reason": f"{one.metric} is {number(measured.value, unit)}, wanted {one.condition.condition.text}"}
        )  # fmt: skip
    return rows


def _told(ledger: Ledger, service: str, name: str) -> dict[str, Any]:
    told = last_told(ledger, "invariant", service, name)
    state, since = (str(told.after), told.at.isoformat()) if told else ("", None)
    reason = told.reason if told else "no watch has looked yet; `harness up` starts it"
    if told and (settled := settled_since(ledger, told)):
        state, since = settled[0], None
        reason = f"{state} all of the minute until {settled[1]:%H:%M} UTC; told of seldom, as it changes often"
    return {
        "invariant": name, "of": "harness", "holds": {"ok": True, "violated": False}.get(state), "value": None,
        "since": since, "reason": reason,
    }  # fmt: skip
