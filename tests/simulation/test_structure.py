"""The harness's own invariants, each broken by the hand that could break it. On a modelled world in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from harness.bootstrap import Rules
from harness.core import events as e
from harness.core.criteria import CriterionSpec
from harness.core.deployment import NodeOrder
from harness.core.ids import ticket_stream
from harness.core.lifecycle import State
from harness.core.record import StreamWrite
from harness.core.structure import NAMES, Found
from harness.journal import encode
from harness.simulation.clock import run
from harness.simulation.fleet import CONFIGURATION
from harness.structure import AGAIN, PAGE, Structure
from tests.simulation.operations import MANIFEST, RULES, Operations, days_work, healthy, incident, innocent
from tests.simulation.test_by_hand import a_commit

HOLDS_S = max(one.for_s for one in RULES.structural) + 15
Breaks = Callable[[Operations], Coroutine[Any, Any, None]]


def structure_of(operations: Operations) -> Structure:
    """Who looks, as a process that was just started."""
    world, rules = operations.world, operations.harness.rules
    return Structure(
        operations.ledger, world.repository, world.router, world.clock, "ratelimiter",
        invariants=[one.name for one in rules.invariants],
    )  # fmt: skip


async def watched(changes: list[Any] | None = None, rules: Rules = RULES) -> Operations:
    """A healthy service, and a watch that looks at the harness, too."""
    operations = await incident([], rules=rules)
    operations.harness = replace(operations.harness, structure=structure_of(operations))
    operations.world.repository.declare(MANIFEST.model_copy(update={"configuration": (CONFIGURATION,)}))
    await healthy(operations, 12)
    if changes:
        operations.world.release(changes)
    return operations


def states(operations: Operations) -> dict[str, str]:
    assert operations.memory is not None
    return {name: one.state for name, one in operations.memory.invariants.items() if name in NAMES}


def called_for(operations: Operations) -> dict[str | None, str]:
    """Signal → what a person is asked about it."""
    return {
        operations.ticket(one).filed.signal: operations.question(one)
        for one in operations.tickets()
        if operations.happened(e.HelpRequested, one)
    }


def test_all_of_them_hold_of_a_harness_that_repairs_what_breaks() -> None:
    async def story() -> None:
        operations = await watched(days_work(1))
        await operations.settle()
        assert operations.reached(State.RESOLVED)
        await healthy(operations, HOLDS_S)
        assert states(operations) == dict.fromkeys(NAMES, "ok") and operations.tickets() == ["INF-1"]

    run(story())


# --- what breaks them ----------------------------------------------------------------------------------------------


async def an_event_is_altered(operations: Operations) -> None:
    rows = operations.ledger._rows
    rows[3] = rows[3]._replace(actor="mallory")
    await healthy(operations, 1)
    # It was walked before; whoever begins anew walks it again, and so does everybody once a day.
    begun_anew = structure_of(operations)
    operations.harness = replace(operations.harness, structure=begun_anew)


async def the_newest_events_are_gone(operations: Operations) -> None:
    del operations.ledger._rows[-2:]


async def a_ticket_is_resolved_by_a_word(operations: Operations) -> None:
    operations.file(change=a_commit(operations, innocent(9)))
    await operations.watch(lambda: operations.reached(State.VERIFYING))
    ticket = operations.ticket("INF-1")
    met = e.CriteriaMet(attempt=1, criteria=(), shown=(), samples=0, window_s=0.0, waits=())
    new = encode("by a word", met, clock=operations.world.clock, actor="mallory", correlation="INF-1", cause=None)
    operations.ledger.append([StreamWrite(ticket_stream("INF-1"), ticket.version, [new])])


async def a_release_comes_in_the_harness_s_name(operations: Operations) -> None:
    operations.world.nodes.place(a_commit(operations, innocent(9)), "harness")


async def a_node_is_given_another_release(operations: Operations) -> None:
    operations.world.nodes.place(a_commit(operations, innocent(9)), "grace")


async def main_is_moved_alone(operations: Operations) -> None:
    operations.world.repository.push(innocent(9), "grace")


async def an_arm_is_left_standing(operations: Operations) -> None:
    main = operations.world.repository.main()
    order = NodeOrder(verb="place", key="left", token=0, slot="canary", commit=main, actor="grace")
    await operations.world.nodes.order("n1", order)


async def a_share_is_given_away(operations: Operations) -> None:
    await operations.world.router.set_weights({"baseline": 0.1}, 0, "by hand")


async def a_release_s_folder_is_altered(operations: Operations) -> None:
    operations.world.nodes.altered["n2"] = ("limits.yaml",)


async def a_release_has_older_limits_in_memory(operations: Operations) -> None:
    operations.world.nodes.told["n3"] = "0" * 12


async def a_node_comes_from_nowhere(operations: Operations) -> None:
    operations.world.provider.start("by hand")


@pytest.mark.parametrize(
    ("breaks", "name", "told"),
    [
        (an_event_is_altered, "ledger_chain", "position 4: hash does not match"),
        (the_newest_events_are_gone, "ledger_chain", "is gone"),
        (a_ticket_is_resolved_by_a_word, "resolved_with_evidence", "slow_share < 10% was never judged"),
        (a_release_comes_in_the_harness_s_name, "releases_on_record", "no event has it"),
        (a_node_is_given_another_release, "declared_runs", "by grace, and main is"),
        (main_is_moved_alone, "declared_runs", "and main is"),
        (an_arm_is_left_standing, "declared_runs", "n1 has a release in canary"),
        (a_share_is_given_away, "declared_runs", "baseline has 10.0% of the traffic"),
        (a_release_s_folder_is_altered, "declared_runs", "from a folder with limits.yaml altered"),
        (a_release_has_older_limits_in_memory, "declared_runs", "n3 says it runs by shipped 000000000000, and main's"),
        (a_node_comes_from_nowhere, "declared_fleet", "n4: came into the fleet, and no ticket started it"),
    ],
)
def test_whatever_breaks_one_is_found_and_a_person_called_with_the_evidence(
    breaks: Breaks, name: str, told: str
) -> None:
    async def story() -> None:
        # given a harness of which all holds
        operations = await watched()
        assert states(operations) == dict.fromkeys(NAMES, "ok")
        # when something is done to it
        await breaks(operations)
        await operations.watch(lambda: f"invariant:{name}" in called_for(operations), limit_s=HOLDS_S)
        # then a person is called, told what was found, and nothing was done
        assert told in called_for(operations)[f"invariant:{name}"] and states(operations)[name] == "violated"

    run(story())


def test_what_runs_again_as_it_is_declared_ends_the_signal() -> None:
    async def story() -> None:
        operations = await watched()
        await an_arm_is_left_standing(operations)
        await operations.watch(lambda: operations.tickets() != [], limit_s=HOLDS_S)
        await operations.world.nodes.order("n1", NodeOrder(verb="remove", key="mended", token=0, slot="canary"))
        await healthy(operations, 6)
        assert states(operations)["declared_runs"] == "ok"
        # and the ticket is for a person to close: an answer has no agent work it
        await operations.tell("answer", text="go on")
        await operations.carry_to_a_person()
        assert operations.reached(State.ESCALATED) and "no agent may change" in operations.question()
        assert operations.ticket("INF-1").attempts == ()
        assert await operations.tell("cancel", text="mended") == State.CANCELLED

    run(story())


def test_what_a_delivery_changes_meanwhile_is_no_drift() -> None:
    async def story() -> None:
        operations = await watched()
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        await a_node_is_given_another_release(operations)
        await healthy(operations, HOLDS_S)
        assert states(operations)["declared_runs"] == "no_data" and operations.tickets() == []

    run(story())


def test_a_hand_that_is_quick_to_mend_it_calls_nobody() -> None:
    async def story() -> None:
        operations = await watched()
        main = operations.world.repository.main()
        await a_node_is_given_another_release(operations)
        await healthy(operations, 15)
        assert states(operations)["declared_runs"] == "pending"
        operations.world.nodes.place(main, "grace")
        await healthy(operations, HOLDS_S)
        assert operations.tickets() == []

    run(story())


# --- the fleet -----------------------------------------------------------------------------------------------------


def test_a_lost_node_that_nothing_else_misses_calls_a_person_until_it_is_back() -> None:
    async def story() -> None:
        # given an invariant that two nodes keep as well as three
        (headroom,) = RULES.invariants
        easy = headroom.model_copy(update={"condition": CriterionSpec.parse_text("available > 5%")})
        operations = await watched(rules=replace(RULES, invariants=(easy,)))
        # when a machine dies
        operations.world.kill("n2")
        await operations.watch(lambda: operations.tickets() != [], limit_s=HOLDS_S)
        # then a person is called for it, and for nothing else
        assert "n2: gone from the fleet, and no ticket removed it" in called_for(operations)["invariant:declared_fleet"]
        await healthy(operations, HOLDS_S)
        assert operations.tickets() == ["INF-1"] and states(operations)["declared_runs"] == "ok"
        # and what puts it back ends the signal
        operations.world.nodes.join("n2")
        await healthy(operations, 12)
        assert states(operations)["declared_fleet"] == "ok"

    run(story())


def test_a_lost_node_that_a_ticket_makes_good_calls_nobody() -> None:
    async def story() -> None:
        operations = await watched()
        operations.world.kill("n2")
        # for as long as its ticket lives, also when that is with a person
        await operations.settle()
        assert operations.reached(State.RESOLVED) and operations.world.nodes.names() == ("n1", "n3", "n4")
        await healthy(operations, HOLDS_S)
        assert operations.tickets() == ["INF-1"] and states(operations) == dict.fromkeys(NAMES, "ok")
        # and the fleet that it left is the declared one: the next loss is a loss
        assert operations.memory is not None and operations.memory.invariants["declared_fleet"].reason == "it holds"

    run(story())


def test_a_lost_node_whose_ticket_is_with_a_person_calls_no_second_one_before_that_ticket_ends() -> None:
    async def story() -> None:
        # given a catalog that does not let the node be replaced
        add, remove = RULES.catalog.actions
        never = add.model_copy(update={"preconditions": (CriterionSpec.parse_text("nodes_after <= 2"),)})
        operations = await watched(
            rules=replace(RULES, catalog=RULES.catalog.model_copy(update={"actions": (never, remove)}))
        )
        operations.world.kill("n2")
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED
        # when it is with a person for long
        await healthy(operations, 2 * HOLDS_S)
        # then nobody else is called, and the look says why
        assert operations.tickets() == ["INF-1"] and states(operations)["declared_fleet"] == "no_data"
        assert operations.memory is not None
        assert "INF-1 may be about that" in operations.memory.invariants["declared_fleet"].reason
        # and who ends that ticket without the node is told that it is missing
        await operations.tell("cancel", text="we shall see")
        await operations.watch(lambda: "invariant:declared_fleet" in called_for(operations), limit_s=HOLDS_S)

    run(story())


def fill(operations: Operations, events: int) -> None:
    """Make the ledger longer by so many events that nobody looks at, 500 an append."""
    beats = [
        encode(f"beat {n}", e.ReceiverAdded(receiver=f"r{n}"), clock=operations.world.clock, actor="test",
               correlation="test", cause=None)
        for n in range(events)
    ]  # fmt: skip
    for first in range(0, events, 500):
        operations.ledger.append([StreamWrite("notices-x", None, beats[first : first + 500])])


def test_while_all_of_a_long_ledger_is_walked_again_nothing_is_said_of_the_fleet() -> None:
    async def story() -> None:
        operations = await watched()
        world = operations.world
        fill(operations, PAGE)
        structure = structure_of(operations)
        looks = [structure.look([])["declared_fleet"] for _ in range(2)]
        assert [bool(one.unknown) for one in looks] == [True, False]
        # when it begins again
        await world.clock.sleep(AGAIN.total_seconds())
        assert structure.look([])["declared_fleet"] == Found()
        # then what is new would be seen late, and it says so
        assert "read up to position" in structure.look([])["declared_fleet"].unknown
        assert structure.look([])["declared_fleet"] == Found()

    run(story())


def test_a_long_ledger_is_walked_a_page_a_look_and_nothing_is_said_of_it_until_the_end() -> None:
    async def story() -> None:
        # given a ledger of three pages
        operations = await watched()
        fill(operations, 2 * PAGE + 500)
        structure = structure_of(operations)
        # when it is looked at
        looks = [structure.look([])["ledger_chain"] for _ in range(4)]
        # then that takes three looks, and the fourth reads only what is new
        assert [bool(one.unknown) for one in looks] == [True, True, False, False]
        assert f"read up to position {PAGE}" in looks[0].unknown and not any(one.broken for one in looks)

    run(story())
