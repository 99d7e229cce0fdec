"""The commands up, down and status: reads the settings, calls the stack, prints. Decides nothing."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

import harness
from harness.adapters.api_token import kept_token, make_token, told
from harness.adapters.stack.bring_down import bring_down
from harness.adapters.stack.bring_up import bring_up
from harness.adapters.stack.components import NAMES
from harness.adapters.stack.prepare import prepare
from harness.adapters.stack.report import StackReport, report
from harness.cli.render import moment, safe
from harness.settings import Settings

CHECKOUT = Path(harness.__file__).resolve().parent.parent
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def up(as_json: AsJson = False) -> None:
    """Start the local stack: Temporal, Prometheus, Envoy, worker, HTTP interface, nodes, traffic.

    Starts what is missing and leaves alone what serves, so that a second run is harmless. Exit 4 with the end of its
    log when a part can't be started.
    """
    settings = Settings.load()
    try:
        start_stack(settings, to_stderr=as_json)
    except KeyboardInterrupt:
        _log("interrupted; the stack goes on starting: `harness status` shows it, `harness down` stops it")
        raise typer.Exit(130) from None
    if as_json:
        _print_json(report(settings.home, names=NAMES))


def down(as_json: AsJson = False) -> None:
    """Stop the local stack and everything it started. The ledger, the repositories and the logs stay."""
    home = Settings.load().home
    started = time.monotonic()
    try:
        ended = bring_down(home, say=_log)
    except KeyboardInterrupt:
        _log("interrupted; something may still run: `harness down` again stops the rest")
        raise typer.Exit(130) from None
    seconds = round(time.monotonic() - started, 2)
    if as_json:
        processes = [{"name": member.name, "pid": member.process.pid} for member in ended]
        print(json.dumps({"home": str(home.root), "ended": processes, "seconds": seconds}))
    elif ended:
        print(f"{len(ended)} processes ended in {seconds:.1f} s; nothing of {home.root} runs")
    else:
        print(f"nothing of {home.root} runs")


def status(as_json: AsJson = False) -> None:
    """Show every part of the stack. Exit 1 when one is down or degraded (it runs but does not serve)."""
    stack = report(Settings.load().home, names=NAMES)
    if as_json:
        _print_json(stack)
    else:
        print_table(stack, datetime.now(UTC))
    if not stack.all_up:
        _log("start what is missing with `harness up`")
        raise typer.Exit(1)


def start_stack(settings: Settings, *, to_stderr: bool) -> None:
    """Brings the stack of these settings up, a line per part as it gets ready; for other commands that need it too."""
    settings.require_agent()
    say = _log if to_stderr else _say
    if settings.api_token is None and kept_token(settings.home) is None:
        # Here, and not by the interface itself: what a component prints is in its log.
        say(told(make_token(settings.home).get_secret_value()))
    bring_up(
        settings.home,
        lambda: prepare(
            settings.home,
            checkout=CHECKOUT,
            temporal=settings.given_temporal_address,
            namespace=settings.temporal_namespace,
            prometheus=settings.given_prometheus_url,
            agent=settings.harness_agent,
        ),
        say=say,
    )


def _say(line: str) -> None:
    print(line, flush=True)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_json(stack: StackReport) -> None:
    print(json.dumps(stack.to_json()))


def print_table(stack: StackReport, now: datetime) -> None:
    """As wide as a terminal of 80 columns; how a part ended stands below."""
    from rich.console import Console  # only people need it, and `up` should be quick
    from rich.table import Table

    colour = {"up": "green", "down": "red", "degraded": "yellow"}
    table = Table(title=stack.home, title_justify="left", box=None)
    for heading in ("component", "state", "since (UTC)", "pid", "url"):
        table.add_column(heading, no_wrap=True)
    for part in stack.components:
        state = f"[{colour[part.state]}]{part.state}[/]"
        table.add_row(part.name, state, moment(part.since, now), str(part.pid or ""), part.url or "")
    Console().print(table)
    for part in stack.components:
        if part.last_exit:
            print(safe(f"{part.name}: ended last at {moment(part.last_exit_at, now)}: {part.last_exit}"))
