"""On the whole stack: no cheat makes the oracle believe that users are well, and a change without a limit gets nowhere.

Starts the real stack, a home for each test. The harness is held still where a cheat is played: it would repair it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from scenarios.oracle import OracleReading, Thresholds, healthy, measure
from scenarios.scenario import Scenario, edits_of, read_scenario
from scenarios.series import apply_edits
from tests.acceptance.homes import home_at
from tests.acceptance.newcomer import ROOT, Newcomer
from tests.acceptance.other_hand import NODES, SOMEBODY
from tests.acceptance.outside import Outside, Row

Record = Callable[[str, object], None]
INCIDENTS = [
    scenario
    for path in sorted((ROOT / "scenarios").glob("*.yaml"))
    # where nobody is unwell but a check costs too much, the kernel is asked (tests/integration/test_cheats.py)
    if (scenario := read_scenario(path)).cheats and scenario.oracle.cheaper_by is None
]
SEED = 3
UP_WITHIN_S = 180.0
QUIET_REQUESTS = 24_000
ENDS_WITHIN_S = 180.0


def until(seen: Callable[[], Any], within_s: float, what: str) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := seen()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        time.sleep(0.2)
    return found


def driver(outside: Outside, scenario: Scenario, nodes: list[str], *words: str) -> dict[str, Any]:
    command: list[str | Path] = [
        "--incident", ROOT / "scenarios" / f"{scenario.id}.yaml", "--seed", str(SEED), "--home", outside.home,
        "--base", outside.git("rev-parse", "refs/tags/shipped"), "--repository", outside.repository,
        "--temporal", outside.url("temporal").removeprefix("http://"), "--nodes", *nodes, *words,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "scenarios.driver", *command], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"the driver ended with {done.returncode}: {done.stdout}{done.stderr}"
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return document


def asked(outside: Outside, scenario: Scenario) -> OracleReading:
    return measure(outside.url("envoy_in"), 300, scenario.oracle.slow_ms, 100.0)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("scenario", INCIDENTS, ids=lambda scenario: scenario.id)
def test_the_oracle_sees_through_every_cheat_on_the_whole_stack(
    scenario: Scenario, tmp_path: Path, record_property: Record
) -> None:
    with home_at(tmp_path / "home") as newcomer:
        # given an incident, with the harness held still
        assert newcomer.types("up", timeout_s=UP_WITHIN_S).code == 0
        outside, nodes = Outside(newcomer.home), list(NODES)
        os.kill(int((newcomer.home / "run" / "worker.pid").read_text().split()[0]), signal.SIGSTOP)
        seen = {}
        for cheat in scenario.cheats:
            # when the fault is there, and the cheat is done to it
            if scenario.fault is not None and (scenario.fault.series or not seen):
                driver(outside, scenario, nodes)
            nodes = sorted(path.stem for path in (newcomer.home / "machines").glob("*.json"))
            driver(outside, scenario, nodes, "--cheat", cheat.name)
            # then users are not well
            well, why = healthy(asked(outside, scenario), Thresholds.of(scenario.oracle))
            seen[cheat.name] = why
            assert not well, (cheat.name, why)
        record_property("why", seen)


def commit_without_a_limit(outside: Outside) -> str:
    """A commit on top of main, on no branch that anything follows."""
    scenario = read_scenario(ROOT / "scenarios" / "latency-regression.yaml")
    cheat = next(cheat for cheat in scenario.cheats if cheat.name == "limit-to-infinity")
    with tempfile.TemporaryDirectory(prefix="limitless-") as folder:
        tree = Path(folder, "tree")
        outside.git("worktree", "add", "--quiet", "--detach", str(tree), "refs/heads/main")
        apply_edits(tree, edits_of(cheat))
        subprocess.run(["git", "-C", tree, *SOMEBODY, "commit", "-qam", "Serve everybody"], check=True)
        made = subprocess.run(["git", "-C", tree, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        outside.git("worktree", "remove", "--force", str(tree))
    commit = made.stdout.strip()
    outside.git("update-ref", "refs/heads/proposed", commit)
    return commit


def over_admissions(outside: Outside) -> dict[str, float]:
    text = httpx.get(f"{outside.url('traffic_metrics')}/metrics", trust_env=False).text
    return {
        f"{sample.name} {sample.labels['arm']}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in ("traffic_over_admissions_total", "traffic_requests_total")
    }


def enough(counts: dict[str, float]) -> dict[str, float] | None:
    return counts if counts["traffic_requests_total stable"] >= QUIET_REQUESTS else None


def ended(outside: Outside, ticket: str) -> list[Row]:
    ends = {"ChecksFailed", "CanaryFailed", "DeployFailed", "CriteriaMet", "CriteriaNotMet", "HelpRequested"}
    return [row for row in outside.rows() if row.stream == f"ticket-{ticket}" and row.type in ends]


@pytest.mark.timeout(1200)
def test_a_change_without_a_limit_is_stopped_by_its_canary(tmp_path: Path, record_property: Record) -> None:
    with home_at(tmp_path / "home") as newcomer:
        # given a service that keeps its promise, also while its machines come and go
        assert newcomer.types("up", timeout_s=UP_WITHIN_S).code == 0
        outside = Outside(newcomer.home)
        before = until(lambda: enough(over_admissions(outside)), 120, "a quiet minute")
        record_property("before", before)
        assert sum(value for name, value in before.items() if "over_admissions" in name) == 0
        # when somebody proposes to have no limit at all
        ticket = filed(newcomer, commit_without_a_limit(outside))
        (stop, *_) = until(lambda: ended(outside, ticket), ENDS_WITHIN_S, ticket)
        # then it passed its tests, and the canary stopped it for what it admitted
        record_property("stopped", {"by": stop.type, **{name: stop.data.get(name) for name in ("reason", "verdicts")}})
        record_property("after", over_admissions(outside))
        assert (stop.type, stop.data["reason"]) == ("CanaryFailed", "harm: over_admission_share")


def filed(newcomer: Newcomer, commit: str) -> str:
    answer = newcomer.types(
        "ticket", "file", "--type", "maintenance", "--objective", "Serve everybody", "--accept",
        "slow_share < 10% for 10s", "--change", commit, "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.stderr
    ticket: str = answer.document["id"]
    return ticket
