"""Kills any part of a stack at drawn moments of an incident, and says from outside what must hold whatever happened.

Signals processes of its own home only. A kill may cost a canary or a verification, so that an attempt is repeated; what
it must never cost is a doubled effect, a fleet that serves two things, or a ledger that does not hold.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.acceptance.documents import Demo
from tests.acceptance.killing import DEMO_ENDS_WITHIN_S, Stand, exits_of, pid_of, rows_of, wait_for
from tests.acceptance.other_hand import NODES
from tests.acceptance.outside import HARNESS_AUTHOR, Outside, repeated

USUAL_S = 42.0
"""From the signal to the verification, usually: kills are drawn uniformly over it."""
PARTS = ("worker", "temporal", "prometheus", "envoy", *(f"node-{node}" for node in NODES))
BACK_WITHIN_S = 30.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill -9: of which part, and how long after the signal."""

    part: str
    after_s: float


@dataclass(frozen=True, slots=True)
class Disturbed:
    """An incident during which parts were killed, and what there was before it."""

    kills: tuple[Kill, ...]
    starts: int
    commits: frozenset[str]
    demo: Demo

    def numbers(self) -> dict[str, Any]:
        """What is worth keeping of it as evidence."""
        return {
            "kills": [{"part": kill.part, "after_s": kill.after_s} for kill in self.kills],
            "ticket": self.demo.ticket, "outcome": self.demo.outcome, "attempts": self.demo.attempts,
            "fault_to_verified_s": self.demo.fault_to_verified_s,
        }  # fmt: skip


def drawn(parts: Sequence[str], seed: int) -> tuple[Kill, ...]:
    """One kill for each part, at a moment that nobody chose; in the order of their moments."""
    chance = random.Random(f"{'+'.join(parts)}/{seed}")
    kills = [Kill(part, round(chance.uniform(0, USUAL_S), 3)) for part in parts]
    return tuple(sorted(kills, key=lambda kill: kill.after_s))


def play_disturbed(stand: Stand, kills: Sequence[Kill], seed: int) -> Disturbed:
    """Play one incident, and kill each part at its moment; every part is seen to be back before this returns."""
    outside = stand.outside
    rows = outside.rows()
    position, starts = rows[-1].position if rows else 0, len(outside.starts())
    commits = frozenset(commit.id for commit in outside.every_commit())
    deaths = {kill.part: exits_of(outside, kill.part) for kill in kills}
    demo = stand.newcomer.starts("demo", "--headless", "--json", "--keep", "--seed", str(seed))
    try:
        begun = wait_for(outside, "SignalStarted", position, demo)
        for kill in kills:
            due = begun.at + timedelta(seconds=kill.after_s)
            time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
            os.kill(pid_of(outside, kill.part), signal.SIGKILL)
        stdout, stderr = demo.communicate(timeout=DEMO_ENDS_WITHIN_S)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 0, f"{kills}:\n{stderr[-6000:]}"
    _all_are_back(outside, deaths)
    return Disturbed(tuple(kills), starts, commits, Demo.model_validate_json(stdout))


def _all_are_back(outside: Outside, deaths: dict[str, int]) -> None:
    """Every killed part was seen to end by its supervisor, once, and lives again."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while not all(exits_of(outside, part) == before + 1 and _lives(outside, part) for part, before in deaths.items()):
        assert time.monotonic() < deadline, {part: exits_of(outside, part) - before for part, before in deaths.items()}
        time.sleep(POLL_S)


def _lives(outside: Outside, part: str) -> bool:
    """Whether it runs; between a death and the next start there is no note of a process at all."""
    try:
        return os.path.exists(f"/proc/{pid_of(outside, part)}")
    except FileNotFoundError:
        return False


def assert_nothing_was_lost_or_doubled(disturbed: Disturbed, stand: Stand) -> None:
    """Counted in git, in the nodes' log of starts, in Envoy and in the ledger's file."""
    outside, ticket = stand.outside, disturbed.demo.ticket
    assert disturbed.demo.outcome == "resolved"
    _assert_one_release_everywhere(outside)
    _assert_commits_are_those_of_the_ledger(disturbed, outside)
    started = [(start.key, start.node, start.slot) for start in outside.starts()[disturbed.starts :]]
    assert repeated(Counter(one for one in started if one[0].startswith(f"{ticket}/"))) == {}
    written = Counter((resource, number) for resource, number, _ in stand.recorder.seen())
    assert repeated(written) == {}, "one number of a write, two notes"
    weights = Counter(note for resource, _, note in stand.recorder.seen() if note.startswith(f"{ticket}/"))
    assert repeated({note: count for note, count in weights.items() if "/canary-" in note}) == {}
    assert stand.newcomer.types("ledger", "verify").code == 0


def _assert_one_release_everywhere(outside: Outside) -> None:
    """Users are answered by one release only, that of main, on every node, and nothing of a canary is left."""
    tree = outside.git("rev-parse", "refs/heads/main^{tree}")
    answering = outside.who_answers()
    known = {start.folder: start for start in outside.starts()}
    assert {known[folder].tree for folder in answering} == {tree}
    assert {known[folder].node for folder in answering} == set(NODES)
    assert {known[folder].slot for folder in answering} == {"stable"}


def _assert_commits_are_those_of_the_ledger(disturbed: Disturbed, outside: Outside) -> None:
    """Every new commit by the harness is a change that was proposed or taken back, and each is there once."""
    made = {commit.id for commit in outside.every_commit() if commit.author == HARNESS_AUTHOR} - disturbed.commits
    history = rows_of(outside, disturbed.demo.ticket)
    proposed = {row.data["commit"] for row in history if row.type == "ChangeProposed"}
    taken_back = {row.data["commit"] for row in history if row.type == "RolledBack"}
    assert proposed <= made <= proposed | taken_back
    assert outside.main() in made
    assert [row.type for row in history].count("CriteriaMet") == 1
