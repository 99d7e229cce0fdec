"""A hundred filers of one cause at once, in several processes and on both databases: one ticket, and nothing lost."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from harness.adapters.clock import SystemClock
from harness.ledger.store import Ledger

PROGRAM = Path(__file__).with_name("cause_filers.py")
ROOT = Path(__file__).parents[2]
FILERS = 100


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "l.db")
    return str(request.getfixturevalue("postgresql").url())


def filed(where: str, folder: Path, words: str) -> tuple[list[str], Counter[str]]:
    """What each filer was told, and how many events of each type the ledger has then."""
    command = [sys.executable, str(PROGRAM), where, str(folder), str(FILERS), words]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, timeout=120, check=True
    )
    with closing(Ledger.open(where, now=SystemClock().now)) as ledger:
        assert ledger.verify().ok
        return done.stdout.split(), Counter(row.type for row in ledger.read_all())


def test_a_hundred_sightings_of_one_cause_are_one_ticket_and_each_is_attached(where: str, tmp_path: Path) -> None:
    told, events = filed(where, tmp_path / "blobs", "sighting {}")

    assert told == ["INF-1"] * FILERS
    assert events == {
        "TicketFiled": 1, "CauseOpened": 1, "CauseListed": 1, "SignalAttached": FILERS - 1, "SignalStarted": FILERS,
    }  # fmt: skip


def test_a_hundred_filers_of_the_very_same_sighting_are_one_ticket(where: str, tmp_path: Path) -> None:
    told, events = filed(where, tmp_path / "blobs", "the same words")

    assert told == ["INF-1"] * FILERS
    assert (events["TicketFiled"], events["CauseOpened"]) == (1, 1)
