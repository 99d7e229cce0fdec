"""kill -9 of the worker at many drawn moments of TEST, CANARY and DEPLOY. Starts the real stack, one for each seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.homes import home_at
from tests.acceptance.killing import STAGES, assert_every_effect_happened_once, play, stack_on_record

SEEDS = range(100, 110)
DRAWS = 3


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_worker_killed_in_every_stage_costs_time_and_nothing_else(
    seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with home_at(tmp_path / "home") as newcomer, stack_on_record(newcomer, tmp_path / "versions.jsonl") as stand:
        for stage in random.Random(seed).sample(list(STAGES), len(STAGES)):
            # given an incident, and a worker that is killed at a moment of the stage that nobody chose
            killed = play(stand, stage=stage, seed=seed, draws=DRAWS)
            record_property(stage, killed.numbers())

            # then another one went on where it was: the same effects as without the kill, each once
            assert_every_effect_happened_once(killed, stand)
