"""Followers of the ledger, killed a hundred times with -9 at random points: the documents are those of one in peace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.integration.test_projection_followers import ends_equal

KILLS = 100


def test_followers_killed_a_hundred_times_end_equal(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    stored, behind = ends_equal(tmp_path / "l.db", kills=KILLS, seed=20260302)

    record_property("kills", KILLS)
    record_property("stored_something", stored)
    record_property("in_the_middle", behind)
    assert stored and behind
