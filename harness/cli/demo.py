"""`harness demo`: one real incident from fault to verified fix, told as it happens. Starts the stack; installs nothing
itself: the fault and the oracle are programs of their own (``scenarios/``), which the harness never imports."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.adapters.declarations import read_yaml
from harness.adapters.stack.bring_down import bring_down
from harness.adapters.stack.machines import LocalMachines
from harness.bootstrap import CHECKOUT, open_record, read_rules
from harness.cli.demo_follow import follow
from harness.cli.demo_report import incident_report, joint_report, quiet_report
from harness.cli.demo_scene import INCIDENT_LIMIT_S, POLL_S, Say, Scene, driver, healthy, journal_of, oracle_says
from harness.cli.demo_told import tell_the_end, tell_the_oracle
from harness.cli.incident_file import Ended, Incident
from harness.cli.opportunity import file_next
from harness.cli.render import AsJson, print_json
from harness.cli.stack import start_stack
from harness.core import events as e
from harness.core.errors import Broken, HarnessError, Invalid, Retryable
from harness.core.ids import WATCH_STREAM
from harness.journal import decode
from harness.settings import Settings

INVALID = 2


def demo(
    incident: Annotated[
        str | None, typer.Option(help="A name of scenarios/, or a file of your own; the default one when left out.")
    ] = None,
    agent: Annotated[
        Literal["runbook", "anthropic", "openai"] | None,
        typer.Option(help="Who works the ticket; HARNESS_AGENT when left out."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draws where the fault lies; random when left out.")] = None,
    headless: Annotated[
        bool, typer.Option(help="Plain lines without colour and time, for logs; no live view.")
    ] = False,
    keep: Annotated[bool, typer.Option(help="Leave the stack running.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play one incident live: fault → ticket → change → test → canary → deploy → verify → trajectory.

    Exit 0 when the incident ends as its file expects: resolved, on samples that reach the profile's minimum, or
    escalated with the fault still there. Of several tickets, all that the file names have to end so.
    """
    drawn = secrets.randbelow(2**31) if seed is None else seed
    path = find_incident(incident)
    played = _read_incident(path, drawn)
    settings = Settings.load()
    settings = settings.model_copy(update={"harness_agent": agent}) if agent else settings
    say = teller(headless=headless, to_stderr=as_json)
    say(f"incident {played.id}: {played.story}")
    start_stack(settings, to_stderr=as_json)
    draws = not headless and not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    try:
        report = asyncio.run(_play(settings, played, path, drawn, say, draws))
    except KeyboardInterrupt:
        say("interrupted; the ticket is worked on: `harness ticket list` shows it, `harness down` stops everything")
        raise
    except HarnessError:
        _take_down(settings, say, keep)
        raise
    _take_down(settings, say, keep)
    if as_json:
        print_json(report.document)
    raise typer.Exit(0 if report.as_expected else 1)


def _take_down(settings: Settings, say: Say, keep: bool) -> None:
    if not keep:
        bring_down(settings.home, say=say)


def find_incident(name: str | None) -> Path:
    """The file of an incident, by name or path; raises Invalid with the names there are."""
    known = {path.stem: path for path in sorted((CHECKOUT / "scenarios").glob("*.yaml"))}
    if name is None:
        return next(path for path in known.values() if read_yaml(path).get("default"))
    path = known.get(name) or Path(name)
    if not path.is_file():
        near = get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise Invalid(f"--incident {name}: neither a file nor one of: {', '.join(known)}{meant}")
    return path.resolve()


def _read_incident(path: Path, seed: int) -> Incident:
    """The incident in a file, read by its own program, which knows the form; with what its fault would edit.

    Raises Invalid, a line ``path: reason`` for every fault, also for a file that plays elsewhere than here.
    """
    words = ("--incident", str(path), "--services", str(CHECKOUT / "services"), "--seed", str(seed))
    done = subprocess.run(
        [sys.executable, "-m", "scenarios.check", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if done.returncode == INVALID:
        raise Invalid(done.stderr.strip())
    if done.returncode:
        raise Broken(f"scenarios.check ended with {done.returncode}: {done.stderr.strip()[-800:]}")
    incident, rules = Incident.of(json.loads(done.stdout), str(path)), read_rules()
    here = {"service": (incident.service, rules.service), "profile": (incident.profile, rules.profile.profile)}
    for name, (given, allowed) in here.items():
        if given != allowed:
            raise Invalid(f"{path}: {name}: {given!r} is not what this checkout operates; allowed: {allowed}")
    return incident


def teller(*, headless: bool, to_stderr: bool) -> Say:
    """Says a line with the seconds since the start; stderr when stdout is for JSON."""
    from rich.console import Console  # only people need it

    started = time.monotonic()
    console = Console(stderr=to_stderr, highlight=not headless, no_color=headless, soft_wrap=True)

    def say(text: str) -> None:
        stamp = "" if headless else f"[dim]{time.monotonic() - started:6.1f} s[/]  "
        console.print(stamp, end="")
        console.print(text, markup=False)

    return say


@dataclass(frozen=True, slots=True)
class Report:
    """The demo's JSON document, and whether the incident ended as its file expects."""

    document: dict[str, Any]
    as_expected: bool


async def _play(settings: Settings, incident: Incident, path: Path, seed: int, say: Say, draws: bool) -> Report:
    from harness.adapters.worktree import ServiceRepository  # half a second of imports that only the demo needs

    record, rules, offered = open_record(settings), read_rules(), incident.expects.offered
    bare = settings.home.repos / f"{rules.service}.git"
    repository = ServiceRepository(bare, settings.home.worktrees)
    base = repository.shipped()
    manifest = rules.catalog_of(repository.manifest(base))
    scene = Scene(settings, record, rules, manifest, say, bare, base, draws, offered is not None)
    await healthy(scene)
    position = record.ledger.head().position
    if incident.expects.outcome == "none" and offered is None:
        if incident.fault is not None:
            say(f"a release is being installed by another hand (seed {seed}); the harness is not told")
            await driver(scene, path, seed)
        return await _play_quiet(scene, incident, path)
    say(f"the fault is being installed by another hand (seed {seed}); the harness is not told")
    installed = await driver(scene, path, seed)
    began_at = datetime.fromisoformat(installed["installed_at"])
    costs: list[str] = []
    if offered is not None:
        position, began_at, costs = await _offer(scene, path, offered)
    tickets = await follow(scene, position, began_at, max(1, len(incident.expects.wanted)))
    oracle = await oracle_says(scene, path, *costs)
    documents = [
        incident_report(incident.id, journal_of(scene, one), began_at, rules.profile, scene.manifest) for one in tickets
    ]
    document = joint_report(documents) if len(documents) > 1 else documents[0]
    document |= {"seed": seed, "oracle": oracle}
    tell_the_end(scene, documents, oracle)
    return Report(document, _as_expected(scene, incident, documents, oracle))


def _as_expected(scene: Scene, incident: Incident, documents: list[dict[str, Any]], oracle: dict[str, Any]) -> bool:
    """Resolved has to be true of the users, on enough samples; escalated has to be true of the fault."""
    expects = incident.expects
    if not expects.fits([Ended(one["outcome"], one["type"], one["signal"]) for one in documents]):
        scene.say(f"expected by the incident's file: {expects.words}")
        return False
    if expects.outcome == "escalated":
        return bool(oracle["shows_the_fault"])
    if expects.outcome == "none" and any(one["change"] is not None for one in documents):
        return False
    well = oracle["healthy"] and oracle["cheaper"] is not False
    samples = [one["verify"]["samples"] for one in documents if one["outcome"] == expects.outcome]
    return bool(min(samples) >= scene.rules.profile.verify.min_samples and well)


async def _offer(scene: Scene, path: Path, tunable: str) -> tuple[int, datetime, list[str]]:
    """While nothing is wrong, do what a nightly timer does: where the ledger stood before, when that was, and what a
    check costs now, as words for the oracle that is asked in the end."""
    await healthy(scene)
    sockets = [str(scene.settings.home.sockets / f"{node}.sock") for node in LocalMachines(scene.settings.home).nodes()]
    before = await oracle_says(scene, path, "--sockets", *sockets)
    tell_the_oracle(scene, before)
    position, began_at = scene.record.ledger.head().position, scene.record.clock.now()
    scene.say(f"no alarm; `harness opportunity file {tunable}`, as a timer would at night")
    filed = await file_next(scene.settings, tunable)
    if filed is None:
        raise Retryable(f"{tunable}: no opportunity is open; `harness opportunity list` tells why")
    known = [] if before["check_us"] is None else ["--before-us", str(before["check_us"])]
    return position, began_at, ["--sockets", *sockets, *known]


async def _play_quiet(scene: Scene, incident: Incident, path: Path) -> Report:
    """Watch a whole heartbeat in which nothing should happen: it counts what the watch saw in a minute."""
    ledger = scene.record.ledger
    beats = len(ledger.read_stream(WATCH_STREAM))
    scene.say("nothing should come of it; two heartbeats of the watch bound the quiet minute")
    deadline = time.monotonic() + INCIDENT_LIMIT_S
    while len(ledger.read_stream(WATCH_STREAM)) < beats + 2:
        if time.monotonic() > deadline:
            raise Retryable(f"the watch is silent; {scene.settings.home.log('worker')} tells why")
        await asyncio.sleep(POLL_S)
    beat = decode(ledger.read_stream(WATCH_STREAM)[-1])
    assert isinstance(beat, e.WatchBeat)
    oracle = await oracle_says(scene, path)
    tickets = [
        stream for stream in ledger.streams("ticket-") if ledger.read_stream(stream)[0].occurred_at >= beat.since
    ]
    document = quiet_report(incident.id, beat, [stream.removeprefix("ticket-") for stream in tickets], scene.rules)
    scene.say(
        f"{document['requests']} requests; ticks by state: {json.dumps(beat.states)}; tickets: {tickets or 'none'}"
    )
    tell_the_oracle(scene, oracle)
    expected = document["outcome"] == incident.expects.outcome and document["enough"] and oracle["healthy"]
    return Report({**document, "oracle": oracle}, expected)
