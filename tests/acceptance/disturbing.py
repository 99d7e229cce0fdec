"""Kills any part of a stack at drawn moments of an incident, and says from outside what must hold whatever happened.

Signals processes of its own home only. A kill may cost a canary or a verification, so that an attempt is repeated; what
it must never cost is a doubled effect, a fleet that serves two things, or a ledger that does not hold.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.acceptance.documents import Demo
from tests.acceptance.killing import DEMO_ENDS_WITHIN_S, Stand, exits_of, pid_of, rows_of, wait_for
from tests.acceptance.outside import HARNESS_AUTHOR, Outside, Row, repeated

USUAL_S = 42.0
"""From the signal to the verification, usually: kills are drawn uniformly over it."""
FORGETFUL = "temporal and its file"
"""Temporal is killed, comes back with an empty file, and somebody types `harness recover`."""
PARTS = ("worker", "temporal", FORGETFUL, "prometheus", "envoy")
"""What can be killed whatever the fleet is; a node's process is ``node-<name>``."""
BACK_WITHIN_S = 120.0
"""Of a proof's patience: on a machine that is shared, loading a program alone took 25 s."""
ENDS_WITHIN_S = 200.0
POLL_S = 0.05
PHASES = {
    "TicketFiled": "filed", "TicketAdmitted": "admitted", "AttemptStarted": "working", "ChangeProposed": "testing",
    "ChecksPassed": "canarying", "CanaryPassed": "deploying", "ReleaseDeployed": "verifying",
    "NothingToChange": "verifying", "ChecksFailed": "working", "CanaryFailed": "working", "DeployFailed": "working",
    "CriteriaNotMet": "working", "CriteriaMet": "resolved", "HelpRequested": "escalated", "DeliveryQueued": "queued",
    "LockAcquired": "testing",
}  # fmt: skip
"""Event → where the ticket is after it, for whoever reads the table of kills."""
OVER = ("resolved", "escalated", "cancelled", "rejected")


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill -9: of which part, and how long after the signal."""

    part: str
    after_s: float

    @property
    def component(self) -> str:
        """The process that is killed."""
        return "temporal" if self.part == FORGETFUL else self.part


@dataclass(frozen=True, slots=True)
class Killed:
    """What a kill was, and what it cost."""

    part: str
    after_s: float
    """From the signal to the kill, as it was."""
    at: datetime
    phase: str
    back_s: float
    """From the kill to the supervisor's word that the part serves again."""
    recovered: dict[str, Any] | None
    """What `harness recover` said, where it was typed."""

    def silent_s(self, history: Sequence[Row]) -> float | None:
        """From the kill to the next event of the ticket; None when there was none to come."""
        later = [row.at for row in history if row.at > self.at]
        return round((later[0] - self.at).total_seconds(), 2) if later else None


@dataclass(frozen=True, slots=True)
class Disturbed:
    """An incident during which parts were killed, and what there was before it."""

    kills: tuple[Killed, ...]
    position: int
    starts: int
    commits: frozenset[str]
    machines: frozenset[str]
    demo: Demo
    history: tuple[Row, ...]
    """The events of the incident's ticket."""

    def numbers(self, undisturbed_s: float | None = None) -> dict[str, Any]:
        """What is worth keeping of it as evidence."""
        verified_s = self.demo.fault_to_verified_s
        return {
            "incident": self.demo.incident, "ticket": self.demo.ticket, "outcome": self.demo.outcome,
            "attempts": self.demo.attempts, "fault_to_verified_s": round(verified_s, 1),
            "added_s": None if undisturbed_s is None else round(verified_s - undisturbed_s, 1),
            "kills": [
                {
                    "part": kill.part, "after_s": kill.after_s, "phase": kill.phase, "back_s": kill.back_s,
                    "silent_s": kill.silent_s(self.history),
                    **({"recover": [one["workflow"] for one in kill.recovered["tickets"]]} if kill.recovered else {}),
                }
                for kill in self.kills
            ],
        }  # fmt: skip


def drawn(parts: Sequence[str], seed: int) -> tuple[Kill, ...]:
    """One kill for each part, at a moment that nobody chose; in the order of their moments."""
    chance = random.Random(f"{'+'.join(parts)}/{seed}")
    kills = [Kill(part, round(chance.uniform(0, USUAL_S), 3)) for part in parts]
    return tuple(sorted(kills, key=lambda kill: kill.after_s))


def machines_of(outside: Outside) -> frozenset[str]:
    """The nodes of the fleet."""
    return frozenset(path.stem for path in (outside.home / "machines").glob("*.json"))


def play_disturbed(stand: Stand, kills: Sequence[Kill], seed: int, *incident: str) -> Disturbed:
    """Play one incident, and kill each part at its moment; every part is seen to be back before this returns."""
    outside = stand.outside
    rows = outside.rows()
    position, starts, machines = rows[-1].position if rows else 0, len(outside.starts()), machines_of(outside)
    commits = frozenset(commit.id for commit in outside.every_commit())
    deaths = {kill.component: exits_of(outside, kill.component) for kill in kills}
    demo = stand.newcomer.starts("demo", "--headless", "--json", "--keep", "--seed", str(seed), *incident)
    try:
        with ThreadPoolExecutor() as beside:
            begun = wait_for(outside, "SignalStarted", position, demo)
            dead: list[Future[Killed]] = []
            for kill in kills:
                due = begun.at + timedelta(seconds=kill.after_s)
                time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
                dead.append(_kill(stand, kill, position, begun.at, beside))
            killed = tuple(one.result() for one in dead)
        stdout, stderr = demo.communicate(timeout=DEMO_ENDS_WITHIN_S)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 0, f"{killed}:\n{stderr[-6000:]}"
    ended = Counter({part: exits_of(outside, part) - before for part, before in deaths.items()})
    wanted = Counter(kill.component for kill in kills)
    assert ended >= wanted  # more where one was started while Temporal was away: it says so and ends
    assert "temporal" not in ended or ended["temporal"] == wanted["temporal"]
    document = Demo.model_validate_json(stdout)
    history = tuple(rows_of(outside, document.ticket))
    return Disturbed(killed, position, starts, commits, machines, document, history)


def _kill(stand: Stand, kill: Kill, position: int, begun_at: datetime, beside: ThreadPoolExecutor) -> Future[Killed]:
    """Kill it now, and see beside how it comes back."""
    outside = stand.outside
    _wait_until_up(outside, kill.component, exits_of(outside, kill.component))
    phase = phase_of(outside.rows(after=position))
    exits, pid = exits_of(outside, kill.component), pid_of(outside, kill.component)
    if kill.part == FORGETFUL:  # before the kill: the supervisor starts another one within milliseconds
        for file in outside.home.glob("temporal.db*"):
            file.unlink()
    at = datetime.now(UTC)
    os.kill(pid, signal.SIGKILL)

    def see() -> Killed:
        _wait_until_up(outside, kill.component, exits + 1)
        back_s = (datetime.now(UTC) - at).total_seconds()
        recovered = recover(stand) if kill.part == FORGETFUL else None
        after_s = (at - begun_at).total_seconds()
        return Killed(kill.part, round(after_s, 2), at, phase, round(back_s, 2), recovered)

    return beside.submit(see)


def recover(stand: Stand) -> dict[str, Any]:
    """Type `harness recover` as soon as Temporal is reachable; what it said."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while (answer := stand.newcomer.types("recover", "--json")).code == 4:
        assert time.monotonic() < deadline, answer.stderr
    assert answer.code == 0, answer.stderr
    document: dict[str, Any] = answer.document
    return document


def _wait_until_up(outside: Outside, component: str, exits: int) -> None:
    """Until its supervisor saw it end so often, and says that it serves."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while True:
        record = json.loads((outside.home / "run" / "state.json").read_text())["components"][component]
        if record["exits"] >= exits and record["phase"] == "up":
            return
        assert time.monotonic() < deadline, f"{component} is not back: {record}"
        time.sleep(POLL_S)


def phase_of(rows: Sequence[Row]) -> str:
    """Where the first ticket of these events is."""
    first = next((row.stream for row in rows if row.type == "TicketFiled"), None)
    phases = [PHASES[row.type] for row in rows if row.stream == first and row.type in PHASES]
    return phases[-1] if phases else "signal"


def assert_nothing_was_lost_or_doubled(disturbed: Disturbed, stand: Stand) -> None:
    """Counted in git, in the nodes' log of starts, in Envoy and in the ledger's file."""
    outside = stand.outside
    assert disturbed.demo.outcome == "resolved"
    _assert_tickets_end(disturbed, stand)
    _assert_one_release_everywhere(outside)
    _assert_commits_are_those_of_the_ledger(disturbed, outside)
    started = [(start.key, start.node, start.slot) for start in outside.starts()[disturbed.starts :]]
    assert repeated(Counter(one for one in started if one[0].startswith("INF-"))) == {}
    written = Counter((resource, number) for resource, number, _ in stand.recorder.seen())
    assert repeated(written) == {}, "one number of a write, two notes"
    weights = Counter(note for resource, _, note in stand.recorder.seen() if note.startswith("INF-"))
    assert repeated({note: count for note, count in weights.items() if "/canary-" in note}) == {}
    fresh = machines_of(outside) - disturbed.machines
    assert len(machines_of(outside)) == len(disturbed.machines), f"{fresh} came"
    assert stand.newcomer.types("ledger", "verify").code == 0


def _assert_tickets_end(disturbed: Disturbed, stand: Stand) -> None:
    """Whatever else fired (users got errors while Envoy was away) comes to an end or to a person, who closes it."""
    mine = {row.data["ticket_id"] for row in stand.outside.rows(after=disturbed.position) if row.type == "TicketFiled"}
    deadline = time.monotonic() + ENDS_WITHIN_S
    while True:
        states = {row["id"]: row["state"] for row in stand.newcomer.types("ticket", "list", "--json").document}
        if all(states[one] in OVER for one in mine):
            break
        assert time.monotonic() < deadline, states
        time.sleep(1)
    for one in sorted(mine - {disturbed.demo.ticket}):
        if states[one] == "escalated":
            said = stand.newcomer.types("ticket", "cancel", one, "--why", "it was a kill of the test")
            assert said.code == 0, said.stderr


def _assert_one_release_everywhere(outside: Outside) -> None:
    """Users are answered by one release only, that of main, on every node, and nothing of a canary is left."""
    tree = outside.git("rev-parse", "refs/heads/main^{tree}")
    answering = outside.who_answers()
    known = {start.folder: start for start in outside.starts()}
    assert {known[folder].tree for folder in answering} == {tree}
    assert {known[folder].node for folder in answering} == machines_of(outside)
    assert {known[folder].slot for folder in answering} == {"stable"}


def _assert_commits_are_those_of_the_ledger(disturbed: Disturbed, outside: Outside) -> None:
    """Every new commit by the harness is a change that was proposed or taken back, and each is there once."""
    made = {commit.id for commit in outside.every_commit() if commit.author == HARNESS_AUTHOR} - disturbed.commits
    history = outside.rows(after=disturbed.position)
    proposed = {row.data["commit"] for row in history if row.type == "ChangeProposed"} - disturbed.commits
    taken_back = {row.data["commit"] for row in history if row.type == "RolledBack"}
    assert proposed <= made <= proposed | taken_back
    assert not made or outside.main() in made
    assert [row.type for row in disturbed.history].count("CriteriaMet") == 1
