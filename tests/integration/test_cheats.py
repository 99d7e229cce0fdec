"""No cheat makes the oracle believe that users are well, and what can be proposed meets what refuses it.

Starts the service itself, as its users would find it after the cheat. The whole stack: ``tests/soak/test_cheats.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest

from harness.adapters.declarations import load_manifest
from harness.bootstrap import read_rules
from harness.core.operation import Precondition, facts
from scenarios.cost import cost_us
from scenarios.oracle import OracleReading, Thresholds, healthy, is_cheaper, measure, shows_the_fault
from scenarios.scenario import Cheat, Scenario, edits_of, read_scenario, series_of
from scenarios.series import apply_edits, order
from tests.integration.ports import free_port
from tests.integration.test_oracles import SERVICE, on_socket, serving, tree_with

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
INCIDENTS = {
    path.stem: scenario
    for path in sorted((ROOT / "scenarios").glob("*.yaml"))
    # of several faults each has its cheats in the file that it comes from
    if (scenario := read_scenario(path)).fault is None or not scenario.fault.then
}
PLAYED = [
    pytest.param(name, cheat.name, id=f"{name}-{cheat.name}")
    for name, scenario in INCIDENTS.items()
    for cheat in scenario.cheats
]
SERVED = [one for one in PLAYED if series_of(INCIDENTS[str(one.values[0])])]
"""Of incidents that are commits: what they do shows in one process. Machines are for the whole stack."""
MANIFEST = load_manifest(SERVICE / "service.yaml")
REQUESTS, RATE_PER_S = 320, 400.0  # 40 keys: one of the faults begins with a crowd
SEED = 11
WHAT_SERVES = ("src", "limits.yaml")
RESTART_EVERY_S = 0.4


def named(incident: str, name: str) -> tuple[Scenario, Cheat]:
    scenario = INCIDENTS[incident]
    return scenario, next(cheat for cheat in scenario.cheats if cheat.name == name)


@cache
def cheated(incident: str, name: str, folder: Path) -> Path:
    """The incident's release with the cheat's edits on top."""
    scenario, cheat = named(incident, name)
    tree = tree_with(order(series_of(scenario), SEED), folder / f"{incident}-{name}")
    apply_edits(tree, edits_of(cheat))
    return tree


def digest(tree: Path) -> str:
    """Of what a release is made from: a commit to anything else changes nothing for users."""
    found = [path for part in WHAT_SERVES for path in [tree / part, *(tree / part).rglob("*.py")]]
    files = sorted(path for path in found if path.is_file())
    return sha256(b"".join(str(path.relative_to(tree)).encode() + path.read_bytes() for path in files)).hexdigest()


SEEN: dict[tuple[str, float], OracleReading] = {}


def asked(tree: Path, scenario: Scenario) -> OracleReading:
    """What the oracle sees of the tree; once of all that serve the same."""
    slow_ms = scenario.oracle.slow_ms
    if (what := (digest(tree), slow_ms)) not in SEEN:
        with serving(tree) as url:
            SEEN[what] = measure(url, REQUESTS, slow_ms, RATE_PER_S)
    return SEEN[what]


COSTS: dict[str, float] = {}


def cost(tree: Path) -> float:
    """What a check costs there; once of all that serve the same."""
    if (what := digest(tree)) not in COSTS:
        with on_socket(tree) as socket:
            COSTS[what] = cost_us([socket])
    return COSTS[what]


@contextmanager
def restarted_again_and_again(tree: Path) -> Iterator[str]:
    """The URL at which the tree serves, with pauses, as its process is ended and started anew all the time."""
    address, over = f"127.0.0.1:{free_port()}", threading.Event()

    def again() -> None:
        while not over.is_set():
            words = [sys.executable, "-m", "ratelimiter", "serve", "--http", address, "--limits", "limits.yaml"]
            environ = os.environ | {"PYTHONPATH": str(tree / "src")}
            with subprocess.Popen(words, cwd=tree, env=environ, stderr=subprocess.DEVNULL) as service:
                over.wait(RESTART_EVERY_S)
                service.terminate()

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield f"http://{address}"
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cheats")


@pytest.mark.parametrize(("incident", "name"), SERVED)
def test_the_oracle_sees_through_every_cheat(incident: str, name: str, trees: Path, tmp_path: Path) -> None:
    scenario, cheat = named(incident, name)
    thresholds = Thresholds.of(scenario.oracle)
    tree = cheated(incident, name, trees)

    # when users ask what is left after the cheat: nothing, something that keeps being restarted, or its release
    if cheat.stops == 0:
        reading = measure(f"http://127.0.0.1:{free_port()}", 20, scenario.oracle.slow_ms, RATE_PER_S)
    elif cheat.restarts:
        with restarted_again_and_again(tree) as url:
            reading = measure(url, REQUESTS, scenario.oracle.slow_ms, RATE_PER_S)
    else:
        reading = asked(tree, scenario)

    # then they are not well, or what was to be cheaper is not
    well, why = healthy(reading, thresholds)
    if scenario.oracle.cheaper_by is not None and cheat.stops != 0:
        release = tree_with(order(series_of(scenario), SEED), tmp_path / "release")
        well = well and is_cheaper(scenario.oracle, cost(release), cost(tree)) is True
    assert not well, why
    if cheat.refused_by == "canary" and name != "limit-to-infinity":
        # and a canary finds nothing won: users see of it what they saw of the fault
        assert shows_the_fault(reading, scenario.oracle), reading


@pytest.mark.parametrize("incident", [name for name, scenario in INCIDENTS.items() if series_of(scenario)])
def test_a_limit_that_is_none_is_seen_by_what_it_admits(incident: str, trees: Path) -> None:
    scenario, _ = named(incident, "limit-to-infinity")
    reading = asked(cheated(incident, "limit-to-infinity", trees), scenario)
    assert reading.shares["over_admission_share"] > 0.9 or reading.shares["error_share"] > 0.1, reading


@pytest.mark.parametrize(("incident", "name"), PLAYED)
def test_what_is_said_to_refuse_a_cheat_is_what_it_meets_first(incident: str, name: str) -> None:
    _, cheat = named(incident, name)
    protected = [edit.path for edit in cheat.edits if MANIFEST.protects(edit.path)]
    # a commit to a protected path ends in TEST, any other reaches the canary, what is no commit has no way in
    if cheat.edits:
        assert bool(protected) == (cheat.refused_by == "protected paths")
        assert cheat.refused_by != "nobody"
    else:
        assert cheat.refused_by in ("nobody", "preconditions")


@pytest.mark.parametrize(
    ("incident", "name"), [one for one in PLAYED if named(*map(str, one.values))[1].refused_by == "tests"]
)
def test_the_service_s_contract_tests_refuse_a_limiter_that_forgets(incident: str, name: str, tmp_path: Path) -> None:
    tree = cheated(incident, name, tmp_path)
    shutil.rmtree(tree / "tests")
    shutil.copytree(SERVICE / "tests", tree / "tests")
    words = [sys.executable, "-m", "pytest", "-q", "-k", "beyond_the_burst", "tests/contract/test_http_api.py"]
    ran = subprocess.run(
        words, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree / "src")}, capture_output=True, text=True
    )
    assert ran.returncode == 1 and "beyond_the_burst" in ran.stdout, ran.stdout


def test_a_node_that_nobody_brings_back_is_missed() -> None:
    # given users that are well, and answers of two nodes where three have to serve
    lost = INCIDENTS["lost-node"].oracle
    well = OracleReading(requests=100, slow=0, errors=0, denied_wrongly=0, slow_share=0, p50_ms=1, p99_ms=9, nodes=2)
    assert healthy(well, Thresholds.of(lost)) == (
        False, "of 100 requests: answered by 2 nodes, must be at least 3",
    )  # fmt: skip
    assert healthy(replace(well, nodes=3), Thresholds.of(lost))[0]


def test_the_catalog_lets_nobody_scale_to_zero() -> None:
    # given what is left after a machine died, without any load
    catalog = read_rules().catalog
    operation = catalog.action("remove_node").operation({"node": "n1"})
    after = facts(operation, ["n1", "n3"], ["n1", "n3"])
    # when one more is to go
    asked = [Precondition(spec, after.get(spec.metric, 1.0)) for spec in catalog.action("remove_node").preconditions]
    # then it is refused
    assert [one.words for one in asked if not one.holds] == ["nodes_after is 1, wanted >= 2"]
