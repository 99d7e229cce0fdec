"""`harness anomaly …`: every compared metric beside how it used to be. Reads metrics and the ledger; files nothing."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from typing import Any

import typer

from harness.anomalies import Sight, Usual, compare, past_of
from harness.bootstrap import build_metrics, read_manifest, read_record, read_rules
from harness.cli.render import AsJson, number, print_json
from harness.core.manifest import Manifest
from harness.core.units import Quantity
from harness.settings import Settings

app = typer.Typer(no_args_is_help=True, help="What is compared with how it used to be, as nobody declared a limit.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the metrics that policy compares: the last window, what is usual, and how much speaks for an anomaly.

    The share of the evidence that a ticket needs is 1 or more where the metric is strange.
    """
    settings, rules = Settings.load(), read_rules()
    record, manifest = read_record(settings), read_manifest(settings, rules)
    policy, now = rules.anomalies, record.clock.now()
    usual = Usual(
        manifest=manifest, slos=rules.slos, invariants=rules.invariants, policy=policy,
        metrics=build_metrics(settings), ledger=record.ledger,
    )  # fmt: skip
    sights = asyncio.run(compare(usual, now))
    enough = policy.detection(len(sights)).enough
    incident = past_of(usual, [], now).incident()
    rows = [_row(sight, manifest, enough) for sight in sights]
    if as_json:
        print_json({"enabled": policy.enabled, "incident": incident, "metrics": rows, "leave_out": policy.leave_out})
        return
    for sight, row in zip(sights, rows, strict=True):
        unit = manifest.metrics[sight.metric].unit
        value, middle, limit = (number(row[name], unit) for name in ("value", "middle", "limit"))
        part = f"{row['evidence']:.0%} of the evidence for a ticket"
        print(f"{sight.metric:<24} {row['state']:<10} {value:>12}  usual {middle}, seldom beyond {limit}; {part}")
    if incident:
        left = f"or people have had it for {Quantity(policy.left_open_s, 's').text}"
        print(f"{incident} lives: until it is over, {left}, nothing is judged", file=sys.stderr)
    if not policy.enabled:
        print("policies/anomalies.yaml: enabled: false: no ticket is filed", file=sys.stderr)


def _row(sight: Sight, manifest: Manifest, enough: float) -> dict[str, Any]:
    began_at: datetime | None = sight.began_at if sight.judged.state == "strange" else None
    return {
        "metric": sight.metric, "state": sight.judged.state, "at": sight.at.isoformat(), "value": sight.value,
        "middle": sight.middle, "limit": sight.limit, "unit": manifest.metrics[sight.metric].unit,
        "evidence": sight.judged.evidence / enough, "began_at": began_at.isoformat() if began_at else None,
    }  # fmt: skip
