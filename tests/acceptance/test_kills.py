"""kill -9 of the harness's worker inside TEST, CANARY and DEPLOY, and of other parts at any moment of an incident.

The ticket resolves every time, and nothing was done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.disturbing import assert_nothing_was_lost_or_doubled, drawn, play_disturbed
from tests.acceptance.killing import STAGES, Stand, assert_every_effect_happened_once, play, stack_on_record
from tests.acceptance.newcomer import Newcomer

SEED = 20
DRAWS = 3


@pytest.fixture(scope="module")
def stand(newcomer: Newcomer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One stack for all incidents."""
    with stack_on_record(newcomer, tmp_path_factory.mktemp("envoy") / "versions.jsonl") as stand:
        yield stand


@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_worker_costs_time_and_nothing_else(
    stage: str, stand: Stand, record_property: Callable[[str, object], None]
) -> None:
    # given an incident, and a worker that is killed at a moment of the stage that nobody chose
    killed = play(stand, stage=stage, seed=SEED, draws=DRAWS)
    record_property("kill", killed.numbers())

    # then another one went on where it was: the same effects as without the kill, each once
    assert_every_effect_happened_once(killed, stand)


@pytest.mark.timeout(900)
def test_a_server_and_a_node_that_are_killed_cost_time_and_nothing_else(
    stand: Stand, record_property: Callable[[str, object], None]
) -> None:
    # given an incident, and Temporal and the node of the canary killed at moments that nobody chose
    disturbed = play_disturbed(stand, drawn(("temporal", "node-n1"), SEED), SEED)
    record_property("kills", disturbed.numbers())

    # then the ticket ends well, one known release is everywhere, and every effect is there once
    assert_nothing_was_lost_or_doubled(disturbed, stand)
