"""The demo ten times from nothing: it ends verified every time, and how long that took. Starts the real stack."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.documents import PHASES, Demo
from tests.acceptance.homes import home_at
from tests.acceptance.outside import Outside

SEEDS = (1, 2, 3, 4, 5)
RUNS_PER_SEED = 2
DEMO_WITHIN_S = 600.0
TIMES = ("fault_to_ticket_s", "fault_to_deploy_s", "fault_to_verified_s", "overhead_s")
Record = Callable[[str, object], None]


def demo(home: Path, seed: int, *flags: str) -> Demo | str:
    """One demo in a home of its own, as a newcomer runs it; the end of what it said when it did not end well."""
    with home_at(home) as newcomer:
        answer = newcomer.types("demo", "--headless", "--json", "--seed", str(seed), *flags, timeout_s=DEMO_WITHIN_S)
        left = Outside(newcomer.home).processes()
    if left:
        return f"the demo left running: {sorted(process.command for process in left)}"
    return Demo.model_validate(answer.document) if answer.code == 0 else answer.stderr[-3000:]


@pytest.mark.timeout(3 * 3600)
def test_ten_demos_end_verified(tmp_path: Path, record_property: Record) -> None:
    # given five seeds, twice each, every run on a home of its own
    seeds = [seed for seed in SEEDS for _ in range(RUNS_PER_SEED)]
    ended = [demo(tmp_path / str(run), seed) for run, seed in enumerate(seeds)]

    # then every run is on record, with median and worst; a run that failed is none of them
    demos = [one for one in ended if isinstance(one, Demo)]
    record_property("seeds", seeds)
    for name in TIMES:
        record(record_property, name, [getattr(one, name) for one in demos])
    for number, phase in enumerate(PHASES):
        record(record_property, f"{phase}_s", [one.phases[number].seconds for one in demos])
        record(
            record_property,
            f"{phase}_overhead_s",
            [one.phases[number].seconds - one.phases[number].waiting_s for one in demos],
        )
    record_property("failures", failures := [one for one in ended if isinstance(one, str)])
    assert failures == []
    assert {one.outcome for one in demos} == {"resolved"}


def record(record_property: Record, name: str, values: list[float]) -> None:
    """All values in the order of the runs, their median and the worst."""
    if values:
        record_property(name, [round(value, 3) for value in values])
        record_property(f"{name}_median", round(statistics.median(values), 3))
        record_property(f"{name}_worst", round(max(values), 3))
