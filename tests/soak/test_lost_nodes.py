"""A machine dies, five times from nothing: it is replaced and verified every time, and how long that took. Live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.documents import PHASES, Demo
from tests.soak.test_ten_demos import SEEDS, TIMES, demo, record


@pytest.mark.timeout(2 * 3600)
def test_five_lost_nodes_are_replaced_and_verified(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    # given five seeds, which draw the machine that dies, every run on a home of its own
    ended = [demo(tmp_path / str(seed), seed, "--incident", "lost-node") for seed in SEEDS]

    # then every run is on record, with median and worst; a run that failed is none of them
    demos = [one for one in ended if isinstance(one, Demo)]
    record_property("seeds", list(SEEDS))
    for name in TIMES:
        record(record_property, name, [getattr(one, name) for one in demos])
    for number, phase in enumerate(PHASES):
        record(record_property, f"{phase}_s", [one.phases[number].seconds for one in demos])
    record_property("failures", failures := [one for one in ended if isinstance(one, str)])
    assert failures == []
    assert {(one.outcome, one.change.kind, one.attempts) for one in demos} == {("resolved", "operation", 1)}
