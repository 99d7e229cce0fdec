"""Every incident five times, each on a home of its own: how it ends, and where the time goes. Starts the real stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scenarios.scenario import Scenario, read_scenario
from tests.acceptance.homes import home_at
from tests.acceptance.newcomer import ROOT, Newcomer
from tests.acceptance.outside import HARNESS_AUTHOR, Outside

INCIDENTS = [
    scenario
    for path in sorted((ROOT / "scenarios").glob("*.yaml"))
    if (scenario := read_scenario(path)).fault is not None and scenario.expects.outcome != "none"
]
SEEDS = (1, 2, 3, 4, 5)
DEMO_WITHIN_S = 600.0
Record = Callable[[str, object], None]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", INCIDENTS, ids=lambda scenario: scenario.id)
def test_every_incident_ends_as_its_file_expects(
    scenario: Scenario, seed: int, tmp_path: Path, record_property: Record
) -> None:
    with home_at(tmp_path / "home") as newcomer:
        # given an incident, as a newcomer plays it
        words = ("--incident", scenario.id, "--seed", str(seed), "--headless", "--json", "--keep")
        answer = newcomer.types("demo", *words, timeout_s=DEMO_WITHIN_S)
        assert answer.stdout, answer.stderr[-3000:]
        seen = answer.document
        record_property("run", row(seen))

        # then it ended as its file says, by the harness's account and by the oracle's
        assert answer.code == 0, answer.stderr[-3000:]
        assert seen["outcome"] == scenario.expects.outcome
        assert scenario.expects.attempts in (None, seen["attempts"]), seen["tried"]
        assert seen["oracle"]["healthy"] == (scenario.expects.outcome == "resolved")
        # and whatever was tried in vain is nowhere: main has a repair or nothing of the harness, and is what is served
        changes = [one["change"] for one in seen.get("tickets", [seen])]
        committed = seen["outcome"] == "resolved" and any(change["kind"] != "operation" for change in changes)
        what_is_left(newcomer, committed=committed)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
def test_where_nothing_can_be_won_nothing_is_changed(seed: int, tmp_path: Path, record_property: Record) -> None:
    with home_at(tmp_path / "home") as newcomer:
        # given a service whose tunable stands well, and somebody who looks all the same
        words = ("--incident", "nothing-to-tune", "--seed", str(seed), "--headless", "--json", "--keep")
        answer = newcomer.types("demo", *words, timeout_s=DEMO_WITHIN_S)
        assert answer.code == 0, answer.stderr[-3000:]
        record_property("run", row(answer.document))

        # then the ticket was ended by the harness, without a change and without a person
        assert (answer.document["outcome"], answer.document["change"]) == ("none", None)
        what_is_left(newcomer, committed=False)


def row(seen: dict[str, object]) -> dict[str, object]:
    """A line of the table."""
    phases = {one["name"]: round(one["seconds"], 1) for one in seen["phases"]}  # type: ignore[attr-defined]
    names = ("incident", "seed", "outcome", "attempts", "tried", "fault_to_ticket_s", "fault_to_verified_s")
    oracle = {name: seen["oracle"][name] for name in ("healthy", "why", "shows_the_fault")}  # type: ignore[index]
    seconds = {f"{name}_s": taken for name, taken in phases.items()} | {"overhead_s": seen["overhead_s"]}
    return {**{name: seen[name] for name in names}, **seconds, **oracle}


def what_is_left(newcomer: Newcomer, *, committed: bool) -> None:
    outside = Outside(newcomer.home)
    commits = outside.commits("refs/tags/shipped..refs/heads/main")
    assert any(commit.author == HARNESS_AUTHOR for commit in commits) == committed
    tree = outside.git("rev-parse", "refs/heads/main^{tree}")
    served = {start.folder for start in outside.starts() if start.slot == "stable" and start.tree == tree}
    assert outside.who_answers() <= served
    assert newcomer.types("ledger", "verify").code == 0
