"""`harness opportunity …`: what of a service that works could be made better, and filing that.

Works while nothing runs: it needs the ledger, the service's repository and a sandbox.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Annotated

import typer

from harness.ahead import Sources
from harness.bootstrap import build_checks, build_metrics, read_manifest, read_record, read_repository, read_rules
from harness.cli.render import AsJson, number, print_json, say
from harness.core.errors import Retryable
from harness.core.manifest import Manifest
from harness.settings import Settings
from harness.stages import file
from harness.stages.offer import Found, Stage, ahead, look, note, offer, slower

app = typer.Typer(no_args_is_help=True, help="What could be better though nothing is wrong.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List what lies ahead, trends that will break something and capacity that nobody needs, the checks that take
    longer than they used to, and the tunables that the service declares: the value of each, and whether something may
    be won with it."""
    stage = _stage(Settings.load())
    found, left = look(stage)
    try:
        coming, unseen = asyncio.run(ahead(stage)), None
    except Retryable as error:
        coming, unseen = [], str(error)
    outlooks = [
        {"name": one.outlook.name, "sort": one.outlook.sort, "state": one.state, "reason": one.why,
         "told": one.outlook.reason, "metric": one.outlook.metric, "level": one.outlook.level,
         "condition": one.outlook.condition}
        for one in [*coming, *slower(stage)]
    ]  # fmt: skip
    rows = [
        {"tunable": one.standing.tunable, "value": one.standing.value, "state": one.state, "reason": one.reason,
         "metric": (tunable := stage.manifest.tunable(one.standing.tunable)).metric, "range": list(tunable.range),
         "margin": tunable.margin}
        for one in found
    ]  # fmt: skip
    if as_json:
        print_json({"opportunities": rows, "ahead": outlooks, "ahead_unknown": unseen, "left_this_week": left,
                    "per_week": stage.policy.per_week})  # fmt: skip
        return
    for one in outlooks:
        print(f"{one['name']:<33}  {one['state']:<10} {one['told']} ({one['reason']})")
    for row in rows:
        say(f"{row['tunable']:<24} {row['value']:>8}  {row['state']:<10} {row['reason']}")
    if unseen is not None:
        print(f"what lies ahead is not known: {unseen}", file=sys.stderr)
    print(f"{left} of {stage.policy.per_week} may be filed this week", file=sys.stderr)


@app.command("file")
def file_(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="As `list` names it; the first that is open, else.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """File an improvement ticket: for what lies ahead, else for a check that became slower, else for a tunable of which
    it is not known that it stands well.

    Meant for a nightly timer. A check is run side by side with how it was, and a tunable's metric is measured, before a
    ticket is filed. Exit 1 when there is nothing to try, 3 while an incident is worked on or when policy allows no more
    this week.
    """
    settings = Settings.load()
    filed = asyncio.run(file_next(settings, name))
    if filed is None:
        if as_json:
            print_json({"id": None})
        kinds = "no tunable is open, nor a trend, a margin or a slower check"
        print(f"{kinds}: `harness opportunity list` tells of each", file=sys.stderr)
        raise typer.Exit(1)
    ticket_id, words = filed
    if as_json:
        print_json({"id": ticket_id})
        return
    print(ticket_id)
    print(f"{words}; what becomes of it: harness ticket show {ticket_id}", file=sys.stderr)


async def file_next(settings: Settings, name: str | None = None) -> tuple[str, str] | None:
    """File the next opportunity; its ticket, and what was found in words. None where there is none.

    Raises Invalid for a tunable that is not declared, Forbidden while it has to wait.
    """
    stage, rules = _stage(settings), read_rules()
    found = await offer(stage, name)
    if found is None:
        return None
    ticket_id = file.file(
        found.signal, slos=rules.slos, invariants=rules.invariants, sustained_s=rules.profile.verify.window_s,
        policy=rules.profile.causes, ledger=stage.ledger, blobs=stage.blobs, clock=stage.clock,
        beside=partial(note, stage, found),
    )  # fmt: skip
    return ticket_id, _words(found, stage.manifest)


def _words(found: Found, manifest: Manifest) -> str:
    measured = found.measured
    value = number(measured.value, manifest.metrics[measured.metric].unit)
    return f"{found.words}; {measured.metric} is {value}"


def _stage(settings: Settings) -> Stage:
    rules, record = read_rules(), read_record(settings)
    repository = read_repository(settings, rules)
    try:
        metrics = build_metrics(settings)
    except Retryable:  # nothing runs: tunables can be looked at all the same
        metrics = None
    return Stage(
        manifest=read_manifest(settings, rules), policy=rules.opportunities, repository=repository,
        checks=build_checks(settings, rules, repository, record.clock), ledger=record.ledger, blobs=record.blobs,
        clock=record.clock,
        sources=Sources(slos=rules.slos, invariants=rules.invariants, catalog=rules.catalog, metrics=metrics),
    )  # fmt: skip
