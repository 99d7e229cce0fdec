"""The commits of every incident: drawn by a seed, applied in any order, reverted alone, bad because of one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from scenarios.scenario import read_scenario, series_of
from scenarios.series import Commit, EditDoesNotApply, apply_edits, commit_series, order

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "services/ratelimiter"
SERIES: list[Commit] = yaml.safe_load((ROOT / "scenarios/latency-regression.yaml").read_text())["fault"]["series"]
FAULT = next(commit for commit in SERIES if commit["role"] == "fault")
INCIDENTS: dict[str, list[Commit]] = {
    path.stem: series
    for path in sorted((ROOT / "scenarios").glob("*.yaml"))
    if (fault := (scenario := read_scenario(path)).fault) and (series := series_of(scenario)) and not fault.then
}
"""Each series once: several faults at once are those of other files."""
OTHERS = sorted(set(INCIDENTS) - {"latency-regression"})
of_every_incident = pytest.mark.parametrize("series", INCIDENTS.values(), ids=INCIDENTS)
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SEEDS = range(5)


def git(folder: Path, *arguments: str | Path) -> str:
    """Run git with nobody's configuration as somebody; its stdout without the last line end."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
    }
    command = ["git", "-C", folder, *arguments]
    return subprocess.run(
        command, env=surroundings | settings, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the service as it stands, with a working tree."""
    folder = tmp_path_factory.mktemp("healthy")
    git(folder, "init", "--quiet", "--initial-branch=main")
    listed = git(SERVICE, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in listed:
        if name and (SERVICE / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((SERVICE / name).read_bytes())
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "the service")
    return folder


@pytest.fixture
def bare(healthy: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "--quiet", "--bare", healthy, tmp_path / "bare.git")
    return tmp_path / "bare.git"


def checked_out(bare: Path) -> Path:
    git(bare.parent, "clone", "--quiet", bare, "tree")
    return bare.parent / "tree"


def probe(tree: Path) -> dict[str, Any]:
    command: list[str | Path] = [sys.executable, tree / "probes/latency.py", tree]
    result: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert result["ok"], result
    return result


def culprit(series: list[Commit]) -> Commit:
    [found] = [commit for commit in series if commit["role"] == "fault"]
    return found


@pytest.mark.parametrize("name", [name for name in INCIDENTS if name != "right-fix"])
def test_the_series_has_one_fault_and_two_decoys_in_its_file_among_at_least_eight(name: str) -> None:
    series = INCIDENTS[name]
    assert len(series) >= 8
    touched = {edit["path"] for edit in culprit(series)["edits"]}
    decoys = [commit for commit in series if commit["role"] == "decoy"]
    assert sum(bool(touched & {edit["path"] for edit in commit["edits"]}) for commit in decoys) == 2


def test_of_two_incidents_that_look_alike_each_changes_the_configuration_once_and_in_one_that_is_the_fault() -> None:
    alike = {
        name: [commit for commit in INCIDENTS[name] if {edit["path"] for edit in commit["edits"]} == {"limits.yaml"}]
        for name in ("bad-fix", "right-fix")
    }
    assert {name: [commit["role"] for commit in commits] for name, commits in alike.items()} == {
        "bad-fix": ["decoy"], "right-fix": ["fault"],
    }  # fmt: skip
    assert alike["bad-fix"][0]["message"] == alike["right-fix"][0]["message"]


@of_every_incident
def test_neither_text_nor_place_tells_the_fault(series: list[Commit]) -> None:
    told = json.dumps([[commit["author"], commit["message"], commit["edits"]] for commit in series]).lower()
    assert not [word for word in ("fault", "decoy", "candidate", "sleep", "incident", "regression") if word in told]
    # its author has written other commits of the series too
    assert [commit["author"] for commit in series].count(culprit(series)["author"]) > 1


def test_the_fault_is_drawn_from_every_place_but_the_ends_equally_often() -> None:
    places = Counter(order(SERIES, seed).index(FAULT) for seed in range(2_000))
    inner = range(1, len(SERIES) - 1)
    assert set(places) == set(inner)
    expected = 2_000 / len(inner)
    assert all(0.7 * expected < count < 1.3 * expected for count in places.values())


def test_a_seed_gives_one_order_and_loses_no_commit() -> None:
    for seed in SEEDS:
        assert order(SERIES, seed) == order(SERIES, seed)
        assert sorted(commit["message"] for commit in order(SERIES, seed)) == sorted(c["message"] for c in SERIES)
    assert len({tuple(commit["message"] for commit in order(SERIES, seed)) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize(
    ("name", "seed"), [*(("latency-regression", seed) for seed in SEEDS), *((name, 1) for name in OTHERS)]
)
def test_each_commit_can_be_reverted_alone_and_leaves_the_others(
    name: str, seed: int, bare: Path, healthy: Path
) -> None:
    # given the series on main
    series = INCIDENTS[name]
    ordered = order(series, seed)
    ids = commit_series(bare, ordered, before=NOW)
    tree = checked_out(bare)
    assert git(tree, "rev-list", "--reverse", "main").split("\n")[1:] == ids
    for commit, id_ in zip(ordered, ids, strict=True):
        # when one of its commits is reverted on top of all
        git(tree, "revert", "--no-edit", id_)
        # then the service has all the others, and nothing else
        others = bare.parent / f"without-{id_}"
        git(bare.parent, "clone", "--quiet", healthy, others)
        for other in ordered:  # as the seed drew their texts
            if other["message"] != commit["message"]:
                apply_edits(others, other["edits"])
        git(others, "add", "--all")
        assert git(others, "write-tree") == git(tree, "rev-parse", "HEAD^{tree}")
        git(tree, "reset", "--quiet", "--hard", "origin/main")


def test_the_same_series_at_the_same_time_gives_the_same_commits_shortly_before_it(bare: Path, healthy: Path) -> None:
    ids = commit_series(bare, order(SERIES, 1), before=NOW)
    git(bare.parent, "clone", "--quiet", "--bare", healthy, "second.git")
    assert commit_series(bare.parent / "second.git", order(SERIES, 1), before=NOW) == ids
    dates = [int(date) for date in git(bare, "log", f"-{len(ids)}", "--format=%ct").split("\n")]
    assert dates == sorted(dates, reverse=True)
    assert dates[0] < NOW.timestamp() <= dates[-1] + timedelta(hours=3).total_seconds()
    assert git(bare, "worktree", "list", "--porcelain").count("worktree ") == 1


def test_an_edit_that_does_not_fit_changes_nothing(bare: Path) -> None:
    before = git(bare, "rev-parse", "main")
    strange: Commit = {**FAULT, "edits": [{"path": "README.md", "find": "no such text", "replace": ""}]}
    with pytest.raises(EditDoesNotApply, match=r"README.md: found 0 times, must be once: 'no such text'"):
        commit_series(bare, [*SERIES, strange], before=NOW)
    assert git(bare, "rev-parse", "main") == before


def test_only_the_fault_makes_every_check_wait(bare: Path) -> None:
    # given the same tree with all commits, and with all but the fault
    ordered = order(SERIES, 3)
    ids = commit_series(bare, ordered, before=NOW)
    tree = checked_out(bare)
    slow = probe(tree)
    git(tree, "revert", "--no-edit", ids[ordered.index(FAULT)])
    quick = probe(tree)
    # then it is a wait of at least 80 ms, and not work for the processor
    assert min(slow["wall_ms"]) >= 80
    assert min(slow["wall_ms"]) >= 5 * min(quick["wall_ms"])
    assert max(slow["cpu_ms"]) < 40


@pytest.mark.parametrize("name", ["latency-regression", "bad-fix", "error-burst", "unfixable", "overnight"])
def test_the_service_passes_its_tests_with_the_whole_series(name: str, bare: Path) -> None:
    commit_series(bare, order(INCIDENTS[name], 4), before=NOW)
    command = [sys.executable, "-m", "pytest", "-q", "tests"]
    ended = subprocess.run(command, cwd=checked_out(bare), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
