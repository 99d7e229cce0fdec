"""`harness node …`: the nodes of the fleet, by their machines' records and their own account. Changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from harness.adapters.stack.machines import LocalMachines
from harness.cli.render import AsJson, minute, number, print_json, say
from harness.core.deployment import NodeReport
from harness.core.errors import Retryable
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.adapters.temporal import TemporalNodes

app = typer.Typer(no_args_is_help=True, help="The fleet: nodes that run the service's releases.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the nodes that there are: what each serves, since when, what started it. Exit 1 when one does not serve."""
    settings = Settings.load()
    rows = asyncio.run(_rows(settings, LocalMachines(settings.home)))
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            release = f"serves {row['release'][:10]} since {minute(row['serving_since'])}" if row["release"] else "–"
            used = number(row["cpu_percent"] and row["cpu_percent"] / 100, "%")
            say(f"{row['name']:<5} {row['state']:<9} {release}  CPU {used}  started by {row['started_by']}")
        if not rows:
            print("no nodes")
    if not rows or any(row["state"] != "up" for row in rows):
        raise typer.Exit(1)


async def _rows(settings: Settings, machines: LocalMachines) -> list[dict[str, Any]]:
    from harness.adapters.temporal import TemporalNodes, connect  # a second of imports that no other command needs

    client = await connect(settings.temporal_address, settings.temporal_namespace, settings.secrets)
    nodes = TemporalNodes(client, machines.nodes)
    names = nodes.names()
    reports = await asyncio.gather(*(_report(nodes, name) for name in names))
    return [_row(machines, name, report) for name, report in zip(names, reports, strict=True)]


async def _report(nodes: TemporalNodes, name: str) -> NodeReport | None:
    try:
        return await nodes.report(name)
    except Retryable:
        return None


def _row(machines: LocalMachines, name: str, report: NodeReport | None) -> dict[str, Any]:
    machine = machines.machine(name)
    stable = report.slots.get("stable") if report else None
    state = "down" if report is None else "up" if stable and stable.healthy else "degraded"
    return {
        "name": name, "state": state, "since": machine.since if machine else None,
        "started_by": machine.started_by if machine else None,
        "release": stable.commit if stable else None, "serving_since": stable.since.isoformat() if stable else None,
        "slots": {slot: release.commit for slot, release in report.slots.items()} if report else {},
        "cpu_percent": report.cpu_percent if report else None,
        "memory_total_bytes": report.memory_total_bytes if report else None,
        "memory_used_bytes": report.memory_used_bytes if report else None,
        "gpus": [gpu.model_dump(mode="json") for gpu in report.gpus] if report else None,
    }  # fmt: skip
