"""Followers that are killed with -9 at random points: what they leave is what an undisturbed one folds."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random

from harness.ledger.store import Ledger
from harness.projector import ALL, follow
from harness.simulation.ledger import MemoryLedger
from harness.simulation.lives import BEGAN_AT, history
from tests.integration.projection_followers import AT_ONCE

PROGRAM = Path(__file__).with_name("projection_followers.py")
ROOT = Path(__file__).parents[2]
NAMES = [one.name for one in ALL]


def killed(path: Path, *, kills: int, seed: int) -> tuple[int, int]:
    """In how many lives of followers something was stored, and how many ended in the middle of the work."""
    command = [sys.executable, str(PROGRAM), str(path), str(kills), str(seed)]
    told = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, timeout=600, check=True
    )
    stored, behind = map(int, told.stdout.split())
    return stored, behind


def ends_equal(path: Path, *, kills: int, seed: int) -> tuple[int, int]:
    """As ``killed``; and what they left, folded on to the end, is byte for byte what nobody disturbed."""
    found = killed(path, kills=kills, seed=seed)
    undisturbed = MemoryLedger(now=lambda: BEGAN_AT)
    with closing(Ledger.open(path, now=lambda: BEGAN_AT)) as ledger:
        for write in history(Random(seed), events=ledger.head().position, at_once=AT_ONCE):
            undisturbed.append([write])
        assert undisturbed.head() == ledger.head()
        follow(ledger)
        follow(undisturbed)
        assert ledger.projected(NAMES) == undisturbed.projected(NAMES)
    return found


def test_two_followers_killed_at_random_points_end_equal_to_an_undisturbed_one(tmp_path: Path) -> None:
    stored, behind = ends_equal(tmp_path / "l.db", kills=30, seed=20260301)

    # and the kills were not all before the work, or after it
    assert stored and behind
