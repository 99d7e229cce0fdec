"""Kills the harness's worker at a drawn moment of a stage while an incident is played, and counts effects from outside.

Signals one process: the worker of its own home. Reads the ledger's file to know where the ticket is.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.acceptance.documents import Demo
from tests.acceptance.newcomer import ROOT, Newcomer
from tests.acceptance.other_hand import NODES
from tests.acceptance.outside import HARNESS_AUTHOR, Outside, Row, repeated

STAGE_BEGINS_WITHIN_S = 400.0
DEMO_ENDS_WITHIN_S = 500.0
POLL_S = 0.02
FIRST_VERSIONS_WITHIN_S = 20.0
RECORDS_FOR_S = 2 * 3600
WEIGHTS = "http.in.rds.main"
WRITES = {WEIGHTS: 3, "cluster.canary": 3, "cluster.baseline": 3, "cluster.stable": 2 * 2 * len(NODES)}
"""Writes of one fault and its repair, by resource: two steps and off; an arm comes, drains, goes; every node is swapped
twice (by the other hand, by the harness), each time by one write for the new release and one when the old has gone."""
VERSION = re.compile(r"(\d{12})\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class Stage:
    """From which event to which a ticket is in the stage, and for how long, usually (without a kill)."""

    begins: str
    ends: tuple[str, str]
    usual_s: float


STAGES = {
    "testing": Stage("ChangeProposed", ("ChecksPassed", "ChecksFailed"), usual_s=5.0),
    "canarying": Stage("ChecksPassed", ("CanaryPassed", "CanaryFailed"), usual_s=11.5),
    "deploying": Stage("CanaryPassed", ("ReleaseDeployed", "DeployFailed"), usual_s=7.5),
}


@dataclass(frozen=True, slots=True)
class Before:
    """What there was before an incident began: whatever is more afterwards, it made."""

    position: int
    commits: frozenset[str]
    starts: int
    versions: int
    last_written: Mapping[str, int]
    deaths: int


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill -9 of the worker, inside the stage."""

    stage: str
    delay_s: float
    """From the event that begins the stage to the kill."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Killed:
    """An incident during which the worker was killed, at most once inside each stage."""

    kills: tuple[Kill, ...]
    before: Before
    demo: Demo
    history: tuple[Row, ...]
    """The events of the incident's ticket."""

    def numbers(self) -> dict[str, object]:
        """What is worth keeping of it as evidence; ``silent_s``: from the kill to the ticket's next event."""
        kills = [
            {
                "stage": kill.stage, "killed_after_s": round(kill.delay_s, 3),
                "silent_s": round((next_at(self.history, kill.at) - kill.at).total_seconds(), 3),
            }
            for kill in self.kills
        ]  # fmt: skip
        return {
            "ticket": self.demo.ticket, "attempts": self.demo.attempts,
            "fault_to_verified_s": self.demo.fault_to_verified_s, "kills": kills,
        }  # fmt: skip


def next_at(history: Sequence[Row], moment: datetime) -> datetime:
    """When the first event after the moment was."""
    return min(row.at for row in history if row.at > moment)


class Recorder:
    """The recording of Envoy's versions in force; one line for each, in the order in which they were first seen."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seen(self) -> list[tuple[str, int, str]]:
        """(resource, number of the write, note of the effect) of every version."""
        found = []
        for line in map(json.loads, self._path.read_text().splitlines()):
            parsed = VERSION.fullmatch(line["version"])
            assert parsed is not None, line
            found.append((line["resource"], int(parsed[2]), parsed[3]))
        return found


@dataclass(frozen=True, slots=True)
class Stand:
    """A stack that incidents are played on, who plays them, and what is seen of it from outside."""

    newcomer: Newcomer
    outside: Outside
    recorder: Recorder


@contextmanager
def stack_on_record(newcomer: Newcomer, record: Path) -> Iterator[Stand]:
    """A stack, and a process of its own that records from now on what its Envoy has in force."""
    up = newcomer.types("up", timeout_s=120)
    assert up.code == 0, up.stderr
    outside = Outside(newcomer.home)
    record.touch()
    recorder = subprocess.Popen(
        [sys.executable, "-m", "scenarios.envoy_versions", "--admin", outside.url("envoy_admin"), "--out", record,
         "--seconds", str(RECORDS_FOR_S), "--every-ms", "20"],
        cwd=ROOT, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        stand = Stand(newcomer, outside, Recorder(record))
        deadline = time.monotonic() + FIRST_VERSIONS_WITHIN_S
        while WEIGHTS not in {resource for resource, _, _ in stand.recorder.seen()}:
            assert time.monotonic() < deadline, "Envoy tells no version of its weights"
            time.sleep(POLL_S)
        yield stand
        assert recorder.poll() is None, "the recorder ended by itself: its record has a gap"
    finally:
        recorder.kill()
        recorder.wait()


def play(stand: Stand, *, seed: int, draws: int) -> Iterator[Killed]:
    """Play incidents until the worker was killed inside each of ``STAGES``, at most ``draws`` of them.

    Each is yielded when it has ended and before the next begins. A moment is drawn uniformly over the stage's usual
    length. A stage that was over sooner is tried in the next incident; the one that left it alone must end well too.
    """
    chance = random.Random(seed)
    missed = set(STAGES)
    for draw in range(draws):
        moments = {name: chance.uniform(0, stage.usual_s) for name, stage in STAGES.items() if name in missed}
        killed = _play_once(stand, seed=seed + 1000 * draw, moments=moments)
        yield killed
        missed -= {kill.stage for kill in killed.kills}
        if not missed:
            return
    raise AssertionError(f"{missed} were over before the drawn moment in {draws} incidents of seed {seed}")


def _play_once(stand: Stand, *, seed: int, moments: Mapping[str, float]) -> Killed:
    outside, before = stand.outside, _before(stand)
    demo = stand.newcomer.starts("demo", "--headless", "--json", "--keep", "--seed", str(seed))
    kills = []
    try:
        for name, delay_s in moments.items():
            begun = wait_for(outside, STAGES[name].begins, before.position, demo)
            due = begun.at + timedelta(seconds=delay_s)
            time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
            if not _rows(outside, STAGES[name].ends, before.position):
                at = datetime.now(UTC)
                os.kill(pid_of(outside, "worker"), signal.SIGKILL)
                kills.append(Kill(name, (at - begun.at).total_seconds(), at))
        stdout, stderr = demo.communicate(timeout=DEMO_ENDS_WITHIN_S)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 0, f"killed: {kills}\n{stderr[-6000:]}"
    document = Demo.model_validate_json(stdout)
    killed = Killed(tuple(kills), before, document, tuple(rows_of(outside, document.ticket)))
    assert exits_of(outside, "worker") == before.deaths + len(kills)
    inside = [kill for kill in kills if _rows(outside, STAGES[kill.stage].ends, before.position)[0].at > kill.at]
    return replace(killed, kills=tuple(inside))


def pid_of(outside: Outside, part: str) -> int:
    return int((outside.home / "run" / f"{part}.pid").read_text().split()[0])


def exits_of(outside: Outside, part: str) -> int:
    """How often the supervisor saw the part end."""
    exits: int = json.loads((outside.home / "run" / "state.json").read_text())["components"][part]["exits"]
    return exits


def rows_of(outside: Outside, ticket: str) -> list[Row]:
    """The ticket's events."""
    return [row for row in outside.rows() if row.stream == f"ticket-{ticket}"]


def _before(stand: Stand) -> Before:
    outside = stand.outside
    rows = outside.rows()
    return Before(
        position=rows[-1].position if rows else 0, commits=frozenset(commit.id for commit in outside.every_commit()),
        starts=len(outside.starts()), versions=len(stand.recorder.seen()), last_written=_last_written(stand.recorder),
        deaths=exits_of(outside, "worker"),
    )  # fmt: skip


def _last_written(recorder: Recorder) -> dict[str, int]:
    """Resource → the number of its last write; versions that Envoy jumped over are counted by it too."""
    return {resource: number for resource, number, _ in sorted(recorder.seen(), key=lambda entry: entry[1])}


def wait_for(outside: Outside, kind: str, position: int, demo: subprocess.Popen[str]) -> Row:
    deadline = time.monotonic() + STAGE_BEGINS_WITHIN_S
    while not (found := _rows(outside, (kind,), position)):
        if demo.poll() is not None or time.monotonic() > deadline:
            demo.kill()
            raise AssertionError(f"no {kind} in the ledger; the demo said:\n{demo.communicate()[1][-6000:]}")
        time.sleep(POLL_S)
    return found[0]


def _rows(outside: Outside, kinds: tuple[str, ...], position: int) -> list[Row]:
    return [row for row in outside.rows(after=position) if row.type in kinds]


def assert_every_effect_happened_once(killed: Killed, stand: Stand) -> None:
    """Counted in git, in the nodes' log of starts and in Envoy: what one undisturbed delivery does, no more."""
    assert (killed.demo.outcome, killed.demo.attempts) == ("resolved", 1)
    _assert_one_commit(killed, stand.outside)
    _assert_starts(killed, stand.outside)
    _assert_versions(killed, stand.recorder)
    assert stand.newcomer.types("ledger", "verify").code == 0


def _assert_one_commit(killed: Killed, outside: Outside) -> None:
    new = [commit for commit in outside.every_commit() if commit.id not in killed.before.commits]
    made = [commit for commit in new if commit.author == HARNESS_AUTHOR]
    assert [commit.id for commit in made] == [outside.main()] == [killed.demo.change.commit]
    theirs = [commit for commit in outside.commits("refs/heads/main") if commit.author != HARNESS_AUTHOR]
    assert outside.git("rev-parse", "refs/heads/main^") == theirs[-1].id


def _assert_starts(killed: Killed, outside: Outside) -> None:
    started = [(start.key, start.node, start.slot) for start in outside.starts()[killed.before.starts :]
               if not start.key.startswith("external/")]  # fmt: skip
    mine = f"{killed.demo.ticket}/1"
    wanted = {
        *((f"{mine}/canary/place-{arm}", NODES[0], arm) for arm in ("canary", "baseline")),
        *((f"{mine}/deploy/{node}", node, "stable") for node in NODES),
    }
    assert repeated(Counter(started)) == {}
    assert set(started) == wanted


def _assert_versions(killed: Killed, recorder: Recorder) -> None:
    seen = recorder.seen()
    assert repeated(Counter((resource, number) for resource, number, _ in seen)) == {}, "one number, two notes"
    mine = f"{killed.demo.ticket}/1"
    weights = [(number, note) for resource, number, note in seen[killed.before.versions :] if resource == WEIGHTS]
    assert [note for _, note in weights] == [f"{mine}/canary-1", f"{mine}/canary-2", f"{mine}/canary-off"]
    last_written = _last_written(recorder)
    assert {resource: last_written[resource] - killed.before.last_written[resource] for resource in WRITES} == WRITES
