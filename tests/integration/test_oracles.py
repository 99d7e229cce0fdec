"""Every incident's oracle tells a healthy service from a faulty and from a repaired one. Starts the service itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from scenarios.cost import cost_us
from scenarios.oracle import OracleReading, Thresholds, healthy, is_cheaper, measure, shows_the_fault
from scenarios.scenario import Scenario, read_scenario, series_of
from scenarios.series import Commit, apply_edits, order

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "services/ratelimiter"
FAULTY = {
    path.stem: scenario
    for path in sorted((ROOT / "scenarios").glob("*.yaml"))
    if series_of(scenario := read_scenario(path))
    and scenario.oracle.knows_the_fault
    and not (scenario.fault and scenario.fault.then)
}
"""Each release once: several faults at once are those of other files."""
CHEAPER = {
    path.stem: scenario
    for path in sorted((ROOT / "scenarios").glob("*.yaml"))
    if series_of(scenario := read_scenario(path)) and scenario.oracle.cheaper_by is not None
}
"""What users cannot see: the oracle compares what a check costs the service."""
REQUESTS, RATE_PER_S = 320, 100.0
ASKED_AT_MOST = 5
TURNS = 3
SEED = 11


@contextmanager
def serving(tree: Path) -> Iterator[str]:
    """The URL at which this tree serves."""
    command = [sys.executable, "-m", "ratelimiter", "serve", "--http", "127.0.0.1:0", "--limits", "limits.yaml"]
    with subprocess.Popen(
        command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree / "src")}, stderr=subprocess.PIPE, text=True
    ) as service:
        assert service.stderr is not None
        try:
            yield f"http://{json.loads(service.stderr.readline())['address']}"
        finally:
            service.terminate()


def asked(tree: Path, scenario: Scenario, at_most: int = ASKED_AT_MOST) -> OracleReading:
    """What the oracle sees of a tree; asked again while it is not well: a stall is seen once, a fault every time."""
    with serving(tree) as url:
        for _ in range(at_most):
            reading = measure(url, REQUESTS, scenario.oracle.slow_ms, RATE_PER_S)
            if healthy(reading, Thresholds.of(scenario.oracle))[0]:
                break
    return reading


def tree_with(commits: Sequence[Commit], folder: Path) -> Path:
    """The service with these commits."""
    shutil.copytree(SERVICE, folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for commit in commits:
        apply_edits(folder, commit["edits"])
    return folder


@pytest.fixture(scope="module")
def untouched() -> OracleReading:
    """What the oracle sees of the service as it ships."""
    return asked(SERVICE, FAULTY["latency-regression"])


@pytest.mark.parametrize("name", FAULTY)
def test_the_oracle_passes_before_the_fault_and_after_its_repair_and_fails_in_between(
    name: str, untouched: OracleReading, tmp_path: Path
) -> None:
    # given the incident's release, and the same without the one commit that is to blame
    scenario, thresholds = FAULTY[name], Thresholds.of(FAULTY[name].oracle)
    release = order(series_of(scenario), SEED)
    repaired = [commit for commit in release if commit["role"] != "fault"]

    # when users ask each of them
    during = asked(tree_with(release, tmp_path / "faulty"), scenario, at_most=1)
    after = asked(tree_with(repaired, tmp_path / "repaired"), scenario)

    # then the oracle tells, by what its file says
    assert healthy(untouched, thresholds)[0], untouched
    assert not healthy(during, thresholds)[0] and shows_the_fault(during, scenario.oracle), during
    assert healthy(after, thresholds)[0] and not shows_the_fault(after, scenario.oracle), after


@contextmanager
def on_socket(tree: Path) -> Iterator[Path]:
    """The socket at which this tree serves."""
    with tempfile.TemporaryDirectory(prefix="rl-") as folder:
        path = Path(folder, "s")
        command = [sys.executable, "-m", "ratelimiter", "serve", "--http", f"unix:{path}", "--limits", "limits.yaml"]
        with subprocess.Popen(
            command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree / "src")}, stderr=subprocess.PIPE, text=True
        ) as service:
            assert service.stderr is not None and service.stderr.readline()
            try:
                yield path
            finally:
                service.terminate()


@pytest.mark.parametrize("name", CHEAPER)
def test_the_oracle_tells_a_release_that_costs_too_much_from_its_repair_whatever_the_seed_drew(
    name: str, tmp_path: Path
) -> None:
    # given the incident's release with each text that the seed may draw, and the same without that commit
    scenario, drawn = CHEAPER[name], {}
    for seed in range(20):
        release = order(series_of(scenario), seed)
        (text,) = [commit["edits"][0]["replace"] for commit in release if commit["role"] == "fault"]
        drawn.setdefault(text, release)
    assert len(drawn) > 2
    repaired = [commit for commit in release if commit["role"] != "fault"]

    for number, faulty in enumerate(drawn.values()):
        # when the kernel is asked what their checks cost, in turn: the machine itself is not always as fast
        with (
            on_socket(tree_with(repaired, tmp_path / f"repaired-{number}")) as after,
            on_socket(tree_with(faulty, tmp_path / f"faulty-{number}")) as before,
        ):
            readings = [(cost_us([before]), cost_us([after])) for _ in range(TURNS)]
        before_us, after_us = (min(costs) for costs in zip(*readings, strict=True))

        # then the repair is cheaper by what the file asks for, and the release is not cheaper than itself
        assert is_cheaper(scenario.oracle, before_us, after_us), (number, readings)
        assert not is_cheaper(scenario.oracle, before_us, before_us)
        assert not is_cheaper(scenario.oracle, after_us, before_us)
    # and of what is asked of no release nothing is known
    assert is_cheaper(scenario.oracle, None, after_us) is False
    assert is_cheaper(FAULTY["error-burst"].oracle, before_us, after_us) is None


def test_every_kind_of_trouble_is_seen_as_what_it_is() -> None:
    well = OracleReading(requests=100, slow=5, errors=0, denied_wrongly=0, slow_share=0.05, p50_ms=1, p99_ms=9)
    oracle = FAULTY["error-burst"].oracle

    assert healthy(well, Thresholds.of(oracle)) == (
        True, "of 100 requests: slow 5.00%; errors 0.00%; denied wrongly 0.00%; admitted beyond the promise 0.00%",
    )  # fmt: skip
    assert not shows_the_fault(well, oracle)
