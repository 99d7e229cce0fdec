"""kill -9 of the harness's worker inside TEST, CANARY and DEPLOY, and of other parts at any moment of an incident.

The ticket resolves every time, and nothing was done twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.disturbing import FORGETFUL, assert_nothing_was_lost_or_doubled, drawn, play_disturbed
from tests.acceptance.documents import Demo
from tests.acceptance.killing import Stand, assert_every_effect_happened_once, play, stack_on_record
from tests.acceptance.newcomer import Newcomer

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

SEED = 20
DRAWS = 3
DEMO_WITHIN_S = 500.0


@pytest.fixture(scope="module")
def stand(newcomer: Newcomer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One stack for all incidents."""
    with stack_on_record(newcomer, tmp_path_factory.mktemp("envoy") / "versions.jsonl") as stand:
        yield stand


def test_a_worker_killed_in_every_stage_costs_time_and_nothing_else(
    stand: Stand, record_property: Callable[[str, object], None]
) -> None:
    # given an incident, and a worker that is killed inside TEST, CANARY and DEPLOY, each at a moment that nobody chose
    for killed in play(stand, seed=SEED, draws=DRAWS):
        record_property("killed", killed.numbers())

        # then another one went on where it was, each time: the same effects as without a kill, each once
        assert_every_effect_happened_once(killed, stand)


def test_a_server_that_loses_its_file_and_a_node_that_is_killed_cost_time_and_nothing_else(
    stand: Stand, record_property: Callable[[str, object], None]
) -> None:
    # given an incident, and the node of the canary and Temporal killed at moments that nobody chose; the server comes
    # back without its file, and somebody types `harness recover`
    disturbed = play_disturbed(stand, drawn((FORGETFUL, "node-n1"), SEED), SEED)
    record_property("kills", disturbed.numbers())

    # then the ticket ends well, one known release is everywhere, and every effect is there once
    assert_nothing_was_lost_or_doubled(disturbed, stand)


def test_a_machine_that_dies_is_replaced_once_and_by_the_harness_alone(
    stand: Stand, record_property: Callable[[str, object], None]
) -> None:
    """The last of this module: it leaves the fleet with another node than the first three."""
    # given a fleet of three, and one machine that dies with its agent and its release
    outside, newcomer = stand.outside, stand.newcomer
    before, starts = {path.stem for path in (outside.home / "machines").glob("*.json")}, len(outside.starts())
    answer = newcomer.types(
        "demo", "--incident", "lost-node", "--headless", "--json", "--keep", "--seed", str(SEED),
        timeout_s=DEMO_WITHIN_S,
    )  # fmt: skip
    assert answer.code == 0, answer.stderr[-6000:]
    demo = Demo.model_validate(answer.document)
    record_property("lost", {"verified_s": demo.fault_to_verified_s, "attempts": demo.attempts})

    # then an operation resolved it, main did not move, and one machine came, under the key of the effect
    assert (demo.outcome, demo.change.kind, demo.change.commit) == ("resolved", "operation", outside.main())
    machines = {path.stem: json.loads(path.read_text()) for path in (outside.home / "machines").glob("*.json")}
    (fresh,) = machines.keys() - before
    assert len(before - machines.keys()) == 1
    assert machines[fresh]["started_by"] == f"{demo.ticket}/{demo.attempts}/unit-1"
    booted = Counter(start.node for start in outside.starts()[starts:])
    assert booted == {fresh: 1}

    # and the fleet that is there now answers the users, as `node list` says
    known = {start.folder: start.node for start in outside.starts()}
    assert {known[folder] for folder in outside.who_answers()} == machines.keys()
    rows = newcomer.types("node", "list", "--json")
    assert rows.code == 0 and [(row["name"], row["state"]) for row in rows.document] == [
        (name, "up") for name in sorted(machines)
    ]
    assert newcomer.types("ledger", "verify").code == 0
