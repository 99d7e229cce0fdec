"""What an incident's file may say, and what is said about one that cannot be played. Reads and writes only files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scenarios.check import checked
from scenarios.scenario import InvalidScenario, Later, read_scenario, series_of
from scenarios.series import Commit, order

ROOT = Path(__file__).parents[3]
INCIDENTS = sorted((ROOT / "scenarios").glob("*.yaml"))
EDIT = {"path": "README.md", "find": "# ratelimiter", "replace": "# a rate limiter"}
COMMIT = {"author": "A B <a@example.org>", "message": "m", "role": "fault", "edits": [EDIT]}
FAULTY = {"requests": 600, "slow_ms": 50, "faulty_slow_share_above": 0.5}


def document(**changed: Any) -> dict[str, Any]:
    whole = {
        "id": "mine", "class": "code", "service": "ratelimiter", "profile": "demo", "story": "s",
        "fault": {"series": [COMMIT]}, "expects": {"outcome": "resolved"}, "oracle": FAULTY,
    } | changed  # fmt: skip
    return {key: value for key, value in whole.items() if value != "left out"}


def said(folder: Path, given: Any) -> str:
    path = folder / "mine.yaml"
    path.write_text(given if isinstance(given, str) else yaml.safe_dump(given))
    with pytest.raises(InvalidScenario) as refused:
        checked(path, services=ROOT / "services", seed=1)
    for line in str(refused.value).splitlines():
        assert line.startswith(f"{path}: ")
    return str(refused.value).replace(f"{path}: ", "")


@pytest.mark.parametrize("path", INCIDENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("seed", range(3))
def test_every_incident_here_can_be_played_in_any_order(path: Path, seed: int) -> None:
    assert checked(path, services=ROOT / "services", seed=seed).id == path.stem


def test_exactly_one_incident_is_played_when_none_is_named() -> None:
    assert [path.stem for path in INCIDENTS if read_scenario(path).default] == ["latency-regression"]


def test_a_file_of_ones_own_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document()))
    scenario = checked(path, services=ROOT / "services", seed=1)
    assert (scenario.oracle.healthy_error_share_below, len(series_of(scenario))) == (0.01, 1)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("id: [", "is no YAML"),
        ("", "the document must be a mapping with keys, not NoneType"),
        (document(storry="s", story="left out"), "storry: unknown key; allowed: id, class, "),
        (document(story="left out"), "story: is missing"),
        (document(oracle="left out"), "oracle: is missing"),
        (document(oracle={"requests": 600, "slow_ms": 50}), "oracle: says not by what the fault is seen; give one of"),
        (document(oracle=FAULTY | {"requests": "600"}), "oracle.requests: input should be a valid integer, not '600'"),
        (document(oracle=FAULTY | {"faulty_slow_share_above": 50}), "oracle.faulty_slow_share_above: "),
        (document(oracle=FAULTY | {"helthy": 1}), "oracle.helthy: unknown key; allowed: "),
        (document(expects={"outcome": "fixed"}), "expects.outcome: input should be 'resolved', 'escalated' or 'none'"),
        (document(service="shop"), "service: no service 'shop'; known: ratelimiter"),
        (document(fault="none"), "fault: must be a mapping with keys, not str"),
        (document(fault={}), "fault: nothing happens; give a series or lost_machines"),
        (document(fault={"series": []}), "fault.series: tuple should have at least 1 item"),
        (document(fault={"series": [COMMIT | {"role": "decoy"}]}), "fault: series: no commit has the role fault"),
        (document(fault={"series": [COMMIT | {"author": "me"}]}), "fault.series[0].author: "),
        (document(fault={"series": [COMMIT | {"edits": [EDIT | {"path": "../x"}]}]}), "leads out of the repository"),
        (document(fault={"series": [COMMIT | {"edits": [EDIT | {"find": "no such"}]}]}),
         "fault.series[0].edits: README.md: found 0 times, must be once: 'no such'"),
        (document(fault={"series": [COMMIT | {"edits": [EDIT | {"path": "nowhere"}]}]}), "nowhere: cannot be read"),
        (document(fault={"series": [COMMIT], "beside": "nowhere.yaml"}), "fault.beside: "),
        (document(fault={"of": "nowhere.yaml"}), "fault.of: "),
        (document(fault={"of": "x.yaml", "lost_machines": 1}), "fault: of: is the whole fault of another incident; "),
        (document(fault={"lost_machines": 1, "then": [{"of": "nowhere.yaml"}]}), "fault.then[0].of: "),
        (document(fault={"lost_machines": 1, "then": [{}]}), "fault.then[0]: nothing happens; give a series "),
        (document(fault={"lost_machines": 1, "then": [{"lost_machines": 1, "after_s": -1}]}),
         "fault.then[0].after_s: input should be greater than or equal to 0, not -1"),
        (document(fault={"lost_machines": 1, "then": [{"lost_machines": 1, "after": 1.0}]}),
         "fault.then[0].after: unknown key; allowed: series, beside, lost_machines, of, after_s; nearest: after_s"),
        (document(fault={"lost_machines": 1, "then": [{"series": [COMMIT | {"edits": [EDIT | {"find": "no such"}]}]}]}),
         "fault.then[0].series[0].edits: README.md: found 0 times, must be once: 'no such'"),
        (document(fault={"lost_machines": 1, "then": [{"series": [COMMIT]}]}, oracle={"requests": 600, "slow_ms": 50}),
         "oracle: says not by what the fault is seen"),
        (document(expects={"outcome": "resolved", "tickets": [{"signal": "slo:latency"}]}), "expects.tickets: "),
        (document(expects={"outcome": "resolved", "attempts": 1, "tickets": [{"signal": "slo:a"}] * 2}),
         "expects: tickets: is for several that end the same; leave ticket and attempts out"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_played_is_refused_with_the_place(tmp_path: Path, given: Any, told: str) -> None:
    assert told in said(tmp_path, given)


def test_several_faults_come_one_after_the_other_and_may_be_those_of_other_files(tmp_path: Path) -> None:
    # given an incident, and one that is made of it, of a machine that dies, and of a commit of its own on top
    (tmp_path / "slow.yaml").write_text(yaml.safe_dump(document(id="slow")))
    later = COMMIT | {"edits": [{"path": "README.md", "find": "# a rate limiter", "replace": "# limits"}]}
    fault = {
        "of": "slow.yaml",
        "then": [{"lost_machines": 1, "after_s": 2.5}, {"series": [later]}],
    }
    tickets = [{"signal": "slo:latency"}, {"signal": "invariant:capacity_headroom"}]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document(fault=fault, expects={"outcome": "resolved", "tickets": tickets})))

    # when it is read
    scenario = checked(path, services=ROOT / "services", seed=1)

    # then it says all of them, in order, and each edits what the one before left
    assert scenario.fault is not None
    first, lost, last = scenario.fault.steps
    assert (len(first.series), lost.lost_machines, len(last.series)) == (1, 1, 1)
    assert isinstance(lost, Later) and lost.after_s == 2.5
    assert [commit["edits"] for commit in series_of(scenario)] == [[EDIT], later["edits"]]
    assert [one.signal for one in scenario.expects.tickets] == [one["signal"] for one in tickets]


def test_a_fault_of_another_file_brings_what_was_beside_it_there(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document(fault={"of": str(ROOT / "scenarios/bad-fix.yaml")})))
    assert series_of(read_scenario(path)) == series_of(read_scenario(ROOT / "scenarios/bad-fix.yaml"))


def test_a_fault_of_several_is_not_taken_for_one(tmp_path: Path) -> None:
    several = str(ROOT / "scenarios/two-at-once.yaml")
    assert "has no fault, or more than one" in said(tmp_path, document(fault={"of": several}))


def test_several_faults_are_spread_and_few_commits_need_no_others() -> None:
    commits: list[Commit] = [
        {"author": "A B <a@example.org>", "message": str(number), "role": role, "edits": []}
        for number, role in enumerate(["fault", "fault", "candidate", "decoy", "candidate"])
    ]  # type: ignore[misc]
    for seed in range(50):
        roles = [commit["role"] for commit in order(commits, seed)]
        assert sorted(roles) == sorted(commit["role"] for commit in commits)
        assert roles[0] != "fault" and roles[-1] != "fault"
    assert order(commits[:1], 1) == commits[:1]
    assert len(order(commits[:3], 1)) == 3
