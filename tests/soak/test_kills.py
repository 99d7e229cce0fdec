"""Fifty times kill -9, of every part of a stack, at uniformly drawn moments of incidents. Starts one real stack.

Every incident ends resolved, one known release is everywhere, the ledger holds, and every effect is there once.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.disturbing import (
    PARTS,
    Disturbed,
    assert_nothing_was_lost_or_doubled,
    drawn,
    machines_of,
    play_disturbed,
)
from tests.acceptance.homes import home_at
from tests.acceptance.killing import Stand, stack_on_record

SEEDS = range(300, 310)
LOST_NODES = {304, 309}
"""In these a machine dies too, and an operation replaces it; which one is not known, so no node's process is killed."""
KILLS_AN_INCIDENT = 5
KILLS = 50
Report = Callable[[str, object], None]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One stack for all incidents."""
    folder = tmp_path_factory.mktemp("stand")
    with home_at(folder / "home") as newcomer, stack_on_record(newcomer, folder / "versions.jsonl") as stand:
        yield stand


@pytest.fixture(scope="module")
def incidents() -> list[Disturbed]:
    """Those that ended well so far."""
    return []


def played(stand: Stand, seed: int, *, kills: int) -> Disturbed:
    """One incident in which so many parts are killed, each at a moment of its own. The one before leaves nothing."""
    for row in stand.newcomer.types("ticket", "list", "--json").document:
        if row["state"] == "escalated":
            assert stand.newcomer.types("ticket", "cancel", row["id"], "--why", "its incident failed").code == 0
    lost = seed in LOST_NODES
    nodes = [] if lost else [f"node-{name}" for name in sorted(machines_of(stand.outside))]
    parts = random.Random(seed).sample([*PARTS, *nodes], kills)
    disturbed = play_disturbed(stand, drawn(parts, seed), seed, *(("--incident", "lost-node") if lost else ()))
    return disturbed


@pytest.mark.timeout(900)
def test_an_incident_in_which_nothing_is_killed(
    stand: Stand, incidents: list[Disturbed], record_property: Report
) -> None:
    """The measure for what kills cost."""
    undisturbed = played(stand, SEEDS[0] - 1, kills=0)
    record_property("undisturbed", undisturbed.numbers())
    assert_nothing_was_lost_or_doubled(undisturbed, stand)
    incidents.append(undisturbed)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", SEEDS)
def test_parts_killed_at_any_moment_cost_time_and_nothing_else(
    seed: int, stand: Stand, incidents: list[Disturbed], record_property: Report
) -> None:
    # given an incident, and parts that are killed at moments that nobody chose
    disturbed = played(stand, seed, kills=KILLS_AN_INCIDENT)
    record_property("incident", disturbed.numbers(undisturbed_s(incidents)))

    # then the ticket ends well, one known release is everywhere, and every effect is there once
    assert_nothing_was_lost_or_doubled(disturbed, stand)
    incidents.append(disturbed)


def test_fifty_kills_over_all_parts_were_survived(incidents: list[Disturbed], record_property: Report) -> None:
    disturbed = [one for one in incidents if one.kills]
    kills = [kill for one in disturbed for kill in one.kills]
    by_part = Counter("node" if kill.part.startswith("node-") else kill.part for kill in kills)
    base_s = undisturbed_s(incidents)
    added = [one.demo.fault_to_verified_s - base_s for one in disturbed if base_s and one.demo.incident != "lost-node"]
    record_property("kills", len(kills))
    record_property("by_part", dict(by_part))
    record_property("by_phase", dict(Counter(kill.phase for kill in kills)))
    record_property("attempts", dict(Counter(one.demo.attempts for one in disturbed)))
    record_property("added_s_median", round(statistics.median(added), 1))
    record_property("added_s_worst", round(max(added), 1))
    record_property("back_s_worst", max(kill.back_s for kill in kills))
    assert len(kills) >= KILLS
    assert set(by_part) == {*PARTS, "node"}


def undisturbed_s(incidents: list[Disturbed]) -> float | None:
    """From the fault to the verification, where nothing was killed."""
    return next((one.demo.fault_to_verified_s for one in incidents if not one.kills), None)
