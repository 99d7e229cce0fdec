"""`harness action …`: the operations that there are, and what each asks before it is done. Changes nothing."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.adapters.declarations import load_manifest
from harness.bootstrap import CHECKOUT, read_rules
from harness.cli.render import AsJson, print_json, say
from harness.core.errors import Invalid
from harness.core.manifest import Action
from harness.core.operation import CatalogAction
from harness.core.units import choices

app = typer.Typer(no_args_is_help=True, help="Operations that can be proposed as a change, or that a service offers.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List all actions: those of the harness's catalog, which it carries out itself, and those that services offer."""
    rows = _actions()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        say(f"{row['name']:<12} {row['by']:<12} {row['risk']:<7} {row['effect']}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The action's name, such as add_nodes.")],
    as_json: AsJson = False,
) -> None:
    """Show one action: parameters, effect, risk, preconditions, how far it reaches and what takes it back."""
    rows = {row["name"]: row for row in _actions()}
    if name not in rows:
        raise Invalid(f"action `{name}`: there is none of that name; {choices(name, rows)}")
    row = rows[name]
    if as_json:
        print_json(row)
        return
    say(f"{row['name']} ({row['by']}, risk {row['risk']}): {row['effect']}")
    for parameter, schema in row["parameters"].items():
        bounds = f", {schema['minimum']} to {schema['maximum']}" if "minimum" in schema else ""
        what = f": {schema['what']}" if "what" in schema else ""
        say(f"  {parameter} ({schema['type']}{bounds}){what}")
    for condition in row["preconditions"]:
        say(f"  only if {condition}")
    say(f"  reaches: {row['blast_radius']}")
    say(f"  taken back by: {row['reversible_by']}")
    if not row["proposable"]:
        print("  offered by the service; the harness has no way to carry it out, so it cannot be proposed")


def _actions() -> list[dict[str, Any]]:
    rules = read_rules()
    manifest = load_manifest(CHECKOUT / "services" / rules.service / "service.yaml")
    return [
        *(_of_catalog(action) for action in rules.catalog.actions),
        *(_of_service(action, rules.service) for action in manifest.actions),
    ]


def _of_catalog(action: CatalogAction) -> dict[str, Any]:
    return {
        "name": action.name, "by": "harness", "proposable": True, "effect": action.effect, "risk": action.risk,
        "parameters": {
            name: parameter.model_dump(exclude_none=True) for name, parameter in action.parameters.items()
        },
        "preconditions": [condition.text for condition in action.preconditions],
        "blast_radius": action.blast_radius, "reversible_by": action.reversible_by,
    }  # fmt: skip


def _of_service(action: Action, service: str) -> dict[str, Any]:
    return {
        "name": action.name, "by": service, "proposable": False, "effect": action.effect, "risk": action.risk,
        "parameters": {name: {"type": kind} for name, kind in action.parameters.items()},
        "preconditions": list(action.preconditions), "blast_radius": action.blast_radius,
        "reversible_by": action.reversible_by,
    }  # fmt: skip
