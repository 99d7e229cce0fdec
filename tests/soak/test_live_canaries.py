"""Releases that change nothing, and releases with a fault, through the real pipeline while checks run beside it.

How many of the first the canary stops, with its exact bound, and how many of the second. Starts the real stack.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.adapters.checks import SandboxedChecks
from harness.adapters.clock import SystemClock
from harness.adapters.releases import ReleaseStore
from harness.adapters.sandbox import Sandbox
from harness.adapters.stack.home import Home
from harness.adapters.worktree import ServiceRepository
from scenarios.scenario import read_scenario, series_of
from scenarios.series import commit_series
from tests.acceptance.homes import home_at
from tests.acceptance.killing import rows_of
from tests.acceptance.newcomer import ROOT, Newcomer
from tests.acceptance.other_hand import SOMEBODY
from tests.acceptance.outside import Outside, Row

BATCHES, IDENTICAL = 3, 20
FAULTY = 10
INCIDENTS = ("latency-regression", "bad-limit", "error-burst")
TICKET_WITHIN_S = 300.0
CONFIDENCE = 0.95
Record = Callable[[str, object], None]


@dataclass(frozen=True, slots=True)
class Carried:
    """A commit that went through the stages by a ticket of its own."""

    ticket: str
    resolved: bool
    canary: Row | None
    """CanaryPassed or CanaryFailed; None when the ticket ended before there was a verdict."""

    def numbers(self) -> dict[str, object]:
        """What is worth keeping of it as evidence."""
        if self.canary is None:
            return {"ticket": self.ticket, "resolved": self.resolved, "verdict": None}
        seen = self.canary.data
        return {
            "ticket": self.ticket, "resolved": self.resolved, "verdict": self.canary.type,
            "looks": seen["looks"], "per_arm": seen["per_arm"], "reason": seen.get("reason"),
        }  # fmt: skip


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    with home_at(tmp_path_factory.mktemp("home")) as newcomer:
        up = newcomer.types("up", timeout_s=120)
        assert up.code == 0, up.stderr
        yield newcomer


@pytest.fixture(scope="module")
def identical() -> list[Carried]:
    """Every release without a change so far: the bound is that of all batches together."""
    return []


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_release_that_changes_nothing_is_not_stopped(
    batch: int, identical: list[Carried], newcomer: Newcomer, record_property: Record
) -> None:
    outside = Outside(newcomer.home)
    with checks_running(newcomer.home) as checks:
        carried = [carry(newcomer, unchanged(outside, batch * IDENTICAL + number)) for number in range(IDENTICAL)]

    identical += carried
    stopped = [one for one in identical if one.canary is None or one.canary.type != "CanaryPassed"]
    record_property("canaries", [one.numbers() for one in carried])
    record_property("checks_beside_them", checks.ended)
    record_property("canaries_stopped_so_far", f"{len(stopped)} of {len(identical)}")
    record_property("stopped_share_at_most", round(upper_bound(len(stopped), len(identical)), 4))
    assert checks.ended > 0, "no check ran beside the canaries"
    assert stopped == []
    # and what no canary stopped was deployed and verified: this stack is used for nothing else
    assert [one.ticket for one in carried if not one.resolved] == []


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("incident", INCIDENTS)
def test_a_release_with_the_fault_is_stopped(incident: str, newcomer: Newcomer, record_property: Record) -> None:
    outside = Outside(newcomer.home)
    before = outside.git("rev-parse", "main^{tree}")
    with checks_running(newcomer.home):
        carried = [carry(newcomer, faulty(outside, incident, number)) for number in range(FAULTY)]

    stopped = [one for one in carried if one.canary is not None and one.canary.type == "CanaryFailed"]
    record_property("canaries", [one.numbers() for one in carried])
    record_property("canaries_stopped", f"{len(stopped)} of {FAULTY}")
    assert len(stopped) == FAULTY
    assert outside.git("rev-parse", "main^{tree}") == before
    assert [one.ticket for one in carried if one.resolved] == []


def carry(newcomer: Newcomer, commit: str) -> Carried:
    """File the commit as a change, and wait until its ticket has ended or asks a person."""
    filed = newcomer.types("ticket", "file", "--change", commit, "--json")
    assert filed.code == 0, filed.stderr
    ticket = filed.document["id"]
    watched = newcomer.types("ticket", "watch", ticket, "--json", timeout_s=TICKET_WITHIN_S)
    verdicts = [row for row in rows_of(Outside(newcomer.home), ticket) if row.type in ("CanaryPassed", "CanaryFailed")]
    return Carried(ticket, watched.code == 0, verdicts[0] if verdicts else None)


def unchanged(outside: Outside, number: int) -> str:
    """A commit with the tree of main."""
    commit = ("commit-tree", "main^{tree}", "-p", "main", "-m", f"Release number {number} without a change")
    return outside.git(*SOMEBODY, *commit)


def faulty(outside: Outside, incident: str, number: int) -> str:
    """A commit on main with the fault of an incident alone; main stays where it is."""
    fault = [
        commit for commit in series_of(read_scenario(ROOT / f"scenarios/{incident}.yaml")) if commit["role"] == "fault"
    ]
    with tempfile.TemporaryDirectory(prefix="faulty-") as folder:
        clone = str(Path(folder, "clone.git"))
        outside.git("clone", "--quiet", "--bare", str(outside.repository), clone)
        (commit,) = commit_series(Path(clone), fault, before=SystemClock().now())
        outside.git("fetch", "--quiet", clone, f"{commit}:refs/heads/{incident}-{number}")
    return commit


class Beside:
    """Checks of main in the sandbox, one after the other, for as long as it is wanted."""

    def __init__(self, home: Path) -> None:
        self.ended = 0
        self.wanted = True
        repository = ServiceRepository(home / "repos" / "ratelimiter.git", home / "beside")
        self._repository = repository
        at = Home(home)
        self._checks = SandboxedChecks(
            sandbox=Sandbox(home=at, clock=SystemClock()), repository=repository, scratch=at.worktrees,
            releases=ReleaseStore(home=at, repository=home / "repos" / "ratelimiter.git"),
        )  # fmt: skip

    async def run(self) -> None:
        while self.wanted:
            main = self._repository.main()
            for check in self._repository.manifest(main).checks:
                await self._checks.check(check.name, main, main)
                self.ended += 1


@contextmanager
def checks_running(home: Path) -> Iterator[Beside]:
    """What an agent at work on another ticket does to the machine."""
    beside = Beside(home)
    thread = threading.Thread(target=lambda: asyncio.run(beside.run()))
    thread.start()
    try:
        yield beside
    finally:
        beside.wanted = False
        thread.join()


def upper_bound(stopped: int, canaries: int) -> float:
    """The largest share that gives so few with at least 5 % chance (one-sided Clopper & Pearson 1934)."""

    def at_most(share: float) -> float:
        return sum(
            math.comb(canaries, count) * share**count * (1 - share) ** (canaries - count)
            for count in range(stopped + 1)
        )

    low, high = stopped / canaries, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(middle) > 1 - CONFIDENCE else (low, middle)
    return high
