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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.adapters.declarations import read_yaml
from harness.adapters.stack.bring_down import bring_down
from harness.adapters.stack.machines import LocalMachines
from harness.bootstrap import CHECKOUT, Record, Rules, open_record, read_rules
from harness.cli.demo_report import incident_report, joint_report, quiet_report
from harness.cli.incident_file import Ended, Incident
from harness.cli.opportunity import file_next
from harness.cli.render import AsJson, condition_unit, number, print_json
from harness.cli.stack import start_stack
from harness.cli.story import line
from harness.core import events as e
from harness.core.contract import with_promises
from harness.core.errors import Broken, HarnessError, Invalid, Retryable
from harness.core.ids import WATCH_STREAM, service_stream, ticket_stream
from harness.core.lifecycle import ENDS, State
from harness.core.manifest import Manifest
from harness.core.record import Recorded
from harness.journal import Journal, decode
from harness.measure import Window, measure
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.adapters.prometheus import PrometheusMetrics

WARM_UP_LIMIT_S = 120
INCIDENT_LIMIT_S = 300
POLL_S = 0.2
ORACLE_ASKED_AT_MOST = 3
INVALID = 2
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scene:
    """What the demo plays in."""

    settings: Settings
    record: Record
    rules: Rules
    manifest: Manifest
    say: Say
    repository: Path
    base: str
    """The commit that the service shipped with: every series starts from its tree."""
    draws: bool
    """Whether a person looks on at a terminal."""
    offers: bool
    """Whether the ticket is an opportunity's, which has time."""

    def incident_limit_s(self, tickets: int) -> float:
        """How long an incident is followed, for each of its tickets: one is delivered after the other. A model may take
        as long to think as its session is allowed to."""
        follows = self.settings.harness_agent == "runbook"
        longest_s = self.rules.models.session.wall_clock_s if not follows else 0.0
        longest_s = longest_s or (self.rules.opportunities.session_s if self.offers else 0.0)
        return tickets * (INCIDENT_LIMIT_S + longest_s)


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
    manifest = with_promises(repository.manifest(base), rules.promises)
    scene = Scene(settings, record, rules, manifest, say, bare, base, draws, offered is not None)
    await _healthy(scene)
    position = record.ledger.head().position
    if incident.expects.outcome == "none" and offered is None:
        if incident.fault is not None:
            say(f"a release is being installed by another hand (seed {seed}); the harness is not told")
            await _driver(scene, path, seed)
        return await _play_quiet(scene, incident, path)
    say(f"the fault is being installed by another hand (seed {seed}); the harness is not told")
    installed = await _driver(scene, path, seed)
    began_at = datetime.fromisoformat(installed["installed_at"])
    costs: list[str] = []
    if offered is not None:
        position, began_at, costs = await _offer(scene, path, offered)
    tickets = await _follow(scene, position, began_at, max(1, len(incident.expects.wanted)))
    oracle = await _oracle(scene, path, *costs)
    documents = [
        incident_report(incident.id, _journal(scene, one), began_at, rules.profile, scene.manifest) for one in tickets
    ]
    document = joint_report(documents) if len(documents) > 1 else documents[0]
    document |= {"seed": seed, "oracle": oracle}
    _tell_the_end(scene, documents, oracle)
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
    await _healthy(scene)
    sockets = [str(scene.settings.home.sockets / f"{node}.sock") for node in LocalMachines(scene.settings.home).nodes()]
    before = await _oracle(scene, path, "--sockets", *sockets)
    _tell_the_oracle(scene, before)
    position, began_at = scene.record.ledger.head().position, scene.record.clock.now()
    scene.say(f"no alarm; `harness opportunity file {tunable}`, as a timer would at night")
    filed = await file_next(scene.settings, tunable)
    if filed is None:
        raise Retryable(f"{tunable}: no opportunity is open; `harness opportunity list` tells why")
    known = [] if before["check_us"] is None else ["--before-us", str(before["check_us"])]
    return position, began_at, ["--sockets", *sockets, *known]


async def _healthy(scene: Scene) -> None:
    """Wait until there is as much healthy traffic on record as a baseline needs, and every node was seen once."""
    from harness.adapters.prometheus import PrometheusMetrics

    admission = scene.rules.profile.admission
    longest = max(max(slo.windows_s) for slo in scene.rules.slos)
    needed_s = admission.baseline_s + admission.gap_s + longest + 6
    scene.say(f"stack is up; waiting for {needed_s:g} s of healthy traffic, from which baselines are taken")
    metrics = PrometheusMetrics(scene.settings.prometheus_url)
    deadline = time.monotonic() + WARM_UP_LIMIT_S
    reason = "no traffic yet"
    while time.monotonic() < deadline:
        reason = await _not_healthy(scene, metrics, needed_s)
        if not reason:
            return
        await asyncio.sleep(POLL_S)
    raise Retryable(f"the service is not healthy after {WARM_UP_LIMIT_S} s: {reason}; logs: {scene.settings.home.logs}")


async def _not_healthy(scene: Scene, metrics: PrometheusMetrics, needed_s: float) -> str:
    window = Window.before(datetime.now(UTC), needed_s)
    for slo in scene.rules.slos:
        for name in slo.metrics:
            measured = await measure(metrics, scene.manifest, name, window)
            if measured.value is None:
                return f"{name} is not measured over {needed_s:g} s yet"
            if measured.value >= slo.error_budget:
                return f"{name} is {number(measured.value, '%')}"
    seen = map(decode, scene.record.ledger.read_stream(service_stream(scene.manifest.name)))
    observed = {event.node for event in seen if isinstance(event, e.ReleaseObserved)}
    return "" if observed >= set(LocalMachines(scene.settings.home).nodes()) else "not every node was seen yet"


async def _driver(scene: Scene, path: Path, seed: int) -> dict[str, Any]:
    settings = scene.settings
    return await _program(
        "scenarios.driver", "--incident", str(path), "--seed", str(seed), "--base", scene.base,
        "--repository", str(scene.repository), "--temporal", settings.temporal_address,
        "--namespace", settings.temporal_namespace, "--home", str(settings.home.root),
        "--nodes", *LocalMachines(settings.home).nodes(),
    )  # fmt: skip


async def _oracle(scene: Scene, path: Path, *costs: str) -> dict[str, Any]:
    """The oracle's own client and counts, through Envoy; whether the service is healthy by the incident's own file.

    Asked again while it is not: a stall of the machine is seen once, a fault every time. ``earlier`` keeps what it saw.
    """
    words = ["--url", scene.settings.addresses.url("envoy_in"), "--incident", str(path), *costs]
    readings: list[dict[str, Any]] = []
    while len(readings) < ORACLE_ASKED_AT_MOST and not (readings and readings[-1]["healthy"]):
        readings.append(await _program("scenarios.oracle", *words))
    return {**readings[-1], "earlier": readings[:-1]}


async def _program(module: str, *words: str) -> dict[str, Any]:
    """Run a program of its own and read the JSON line that it ends with."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=CHECKOUT
    )
    stdout, stderr = await process.communicate()
    lines = stdout.decode().strip().splitlines()
    if not lines:
        raise Broken(f"{module} ended with {process.returncode}: {stderr.decode().strip()[-800:]}")
    document: dict[str, Any] = json.loads(lines[-1])
    return document


async def _follow(scene: Scene, position: int, began_at: datetime, expected: int) -> list[str]:
    """Show what happens from here on until as many tickets as are expected were filed, and all have ended; their ids.

    Of one that is expected only the first counts: what comes after it is another story.
    """
    if not scene.draws:
        return await _until_over(scene, position, expected, lambda row, event: _tell(scene, event))
    from harness.cli.live import Watching, drawn  # half a second of imports that only a terminal needs

    watching = Watching.from_here(scene.record, position, began_at)

    def see(row: Recorded, event: e.Event) -> None:
        watching.see(row)
        if watching.view.over and (under_way := [one for one in _filed(scene, position) if not _is_over(scene, one)]):
            watching.turn_to(under_way[0], began_at)

    with drawn(watching):
        return await _until_over(scene, position, expected, see)


def _tell(scene: Scene, event: e.Event) -> None:
    if text := line(event, scene.record.blobs):
        scene.say(text)


async def _until_over(
    scene: Scene, position: int, expected: int, show: Callable[[Recorded, e.Event], None]
) -> list[str]:
    ledger = scene.record.ledger
    tickets: list[str] = []
    limit_s = scene.incident_limit_s(expected)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        for row in ledger.read_all(after_position=position):
            position = row.position
            event = decode(row)
            if isinstance(event, e.TicketFiled) and (expected > 1 or not tickets):
                tickets.append(event.ticket_id)
            show(row, event)
        if len(tickets) >= expected and all(_is_over(scene, one) for one in tickets):
            return tickets
        await asyncio.to_thread(ledger.wait_past, position, timeout_s=1.0)
    seen = f"ticket{'s' if len(tickets) > 1 else ''} {', '.join(tickets)}" if tickets else "no ticket"
    raise Retryable(
        f"{seen} after {limit_s:g} s, expected {expected} at an end; "
        f"`harness ticket list` and {scene.settings.home.log('worker')} tell more"
    )


def _filed(scene: Scene, position: int) -> list[str]:
    """The tickets that were filed since then."""
    rows = (scene.record.ledger.read_stream(one)[0] for one in scene.record.ledger.streams(ticket_stream("")))
    firsts = [decode(row) for row in sorted(rows, key=lambda row: row.position) if row.position > position]
    return [event.ticket_id for event in firsts if isinstance(event, e.TicketFiled)]


def _is_over(scene: Scene, ticket_id: str) -> bool:
    state = _journal(scene, ticket_id).state
    return state in ENDS or state is State.ESCALATED


def _journal(scene: Scene, ticket_id: str) -> Journal:
    record = scene.record
    return Journal(ticket_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock)


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
    oracle = await _oracle(scene, path)
    tickets = [
        stream for stream in ledger.streams("ticket-") if ledger.read_stream(stream)[0].occurred_at >= beat.since
    ]
    document = quiet_report(incident.id, beat, [stream.removeprefix("ticket-") for stream in tickets], scene.rules)
    scene.say(
        f"{document['requests']} requests; ticks by state: {json.dumps(beat.states)}; tickets: {tickets or 'none'}"
    )
    _tell_the_oracle(scene, oracle)
    expected = document["outcome"] == incident.expects.outcome and document["enough"] and oracle["healthy"]
    return Report({**document, "oracle": oracle}, expected)


def _tell_the_end(scene: Scene, documents: list[dict[str, Any]], oracle: dict[str, Any]) -> None:
    for document in documents:
        _tell_the_ticket(scene, document)
    _tell_the_oracle(scene, oracle)
    for document in documents:
        for text in document["tried"]:
            scene.say(f"  {text}")
        if document["question"]:
            scene.say(f"  question: {document['question']}")
    ticket, home = documents[-1]["ticket"], scene.settings.home.root
    scene.say(f"look on: {sys.argv[0]} ticket explain {ticket} · … trajectory show {ticket} · "
              f"… summary --format html --out summary.html · "
              f"… ledger verify · git -C {scene.repository} log main   (HARNESS_HOME={home})")  # fmt: skip


def _tell_the_ticket(scene: Scene, document: dict[str, Any]) -> None:
    say = scene.say
    say(
        f"{document['ticket']} is {document['outcome']} after {document['attempts']} attempt"
        f"{'s' if document['attempts'] != 1 else ''}, "
        f"{sum(one['seconds'] for one in document['phases']):.1f} s after the fault"
    )
    for phase in document["phases"]:
        say(
            f"  {phase['name']:<7} {phase['seconds']:5.1f} s, of which {phase['waiting_s']:5.1f} s waiting for evidence"
        )
    for one in document["criteria"]:
        unit = condition_unit(one["condition"])
        unit = unit or scene.manifest.metrics[one["metric"]].unit
        before, after = number(one["before"], unit), number(one["after"], unit)
        say(
            f"  {one['metric']:<20} {one['condition']:<8} before {before}, "
            f"at admission {number(one['sick'], unit)}, now {after}"
            + (f", left to {one['left_to']}" if one["left_to"] else "")
        )
    for one in document["shown"]:
        say(
            f"  {one['metric']:<20} (shown)  at admission {number(one['sick'], one['unit'])}, "
            f"now {number(one['after'], one['unit'])}"
        )


def _tell_the_oracle(scene: Scene, oracle: dict[str, Any]) -> None:
    for one in (*oracle["earlier"], oracle):
        word = "healthy" if one["healthy"] else "not healthy"
        scene.say(
            f"oracle, by its own client: {word}, slow {number(one['slow_share'], '%')}, {one['errors']} errors, "
            f"{one['denied_wrongly']} denied wrongly of {one['requests']}, p99 {one['p99_ms']:.1f} ms"
            + (f", a check costs {one['check_us']:.0f} us of CPU" if one["check_us"] is not None else "")
        )
