"""kill -9 of every part of the stack at many drawn moments of an incident. Starts the real stack, one for each seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.disturbing import PARTS, assert_nothing_was_lost_or_doubled, drawn, play_disturbed
from tests.acceptance.homes import home_at
from tests.acceptance.killing import stack_on_record

SEEDS = range(200, 210)
KILLS_AN_INCIDENT = 2
INCIDENTS = 2


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_parts_killed_at_any_moment_cost_time_and_nothing_else(
    seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(seed)
    with home_at(tmp_path / "home") as newcomer, stack_on_record(newcomer, tmp_path / "versions.jsonl") as stand:
        for number in range(INCIDENTS):
            # given an incident, and parts that are killed at moments that nobody chose
            parts = chance.sample(PARTS, KILLS_AN_INCIDENT)
            disturbed = play_disturbed(stand, drawn(parts, seed + number), seed + number)
            record_property(f"incident {number + 1}", disturbed.numbers())

            # then the ticket ends well, one known release is everywhere, and every effect is there once
            assert_nothing_was_lost_or_doubled(disturbed, stand)
