"""Every commit that the harness makes while it works carries an anchor, and each is one of the ledger as it became."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from harness.core.anchor import TRAILER, asked_for, cited_in, held_against, ledger_name
from harness.simulation.clock import run
from tests.simulation.histories import given_up, repaired, repaired_at_the_second_try
from tests.simulation.operations import Operations


@pytest.mark.parametrize("history", [repaired, repaired_at_the_second_try, given_up])
def test_each_commit_of_the_harness_is_an_anchor_that_holds(
    history: Callable[[], Coroutine[Any, Any, Operations]],
) -> None:
    operations = run(history())
    made = {effect.key for effect in operations.world.effects if effect.kind == "commit"}

    cited = cited_in(operations.world.repository.trailers(TRAILER), "the modelled repository")

    found, rows = operations.ledger.verify(), operations.ledger.read_all(limit=1_000_000)
    custody = held_against(
        found, cited, ledger=ledger_name(rows[0]),
        hashes={row.position: row.hash for row in rows if row.position in asked_for(found, cited)},
    )  # fmt: skip
    assert made and {one.source.split()[1] for one in cited} == made
    assert custody.found.ok and custody.anchors == len(made)
