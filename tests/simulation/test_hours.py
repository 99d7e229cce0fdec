"""Tickets whose constraints say when: they wait, are shown to, go on early when that changes, and miss deadlines."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from temporalio.exceptions import ApplicationError

from harness.cli.ticket import ticket_document
from harness.cli.ticket_list import listed
from harness.core import events as e
from harness.core.constraint import AT_ONCE
from harness.core.deployment import NodeAnswer, NodeOrder
from harness.core.ids import queue_stream, ticket_stream
from harness.core.lifecycle import State
from harness.core.manifest import PeakHours
from harness.simulation.clock import run
from harness.simulation.world import World
from tests.simulation.operations import MANIFEST, Crash, Operations, days_work, healthy, incident, innocent
from tests.simulation.test_by_hand import a_commit, quiet

BERLIN = ZoneInfo("Europe/Berlin")
HOLDS = [{"metric": "slow_share", "condition": "< 10%"}]
"""What holds already: the ticket is resolved as soon as it is looked at."""


async def waiting(*constraints: str, **spec: Any) -> Operations:
    """A Monday in Berlin, some minutes after ten."""
    operations = await quiet()
    operations.file(constraints=list(constraints), acceptance_criteria=HOLDS, **spec)
    await operations.watch(lambda: operations.reached(State.WAITING))
    return operations


def kinds(operations: Operations) -> list[str]:
    return [type(event).__name__ for event in operations.events(ticket_stream("INF-1"))]


def test_a_ticket_that_waits_is_shown_with_what_for_and_until_when() -> None:
    async def story() -> None:
        operations = await waiting("no changes during peak hours")
        document = ticket_document(operations.harness.record, "INF-1")
        (row,) = listed(operations.harness.record)
        for shown in (document, row):
            assert shown["waits_for"] == "no changes during peak hours"
            assert datetime.fromisoformat(shown["waits_until"]) == datetime(2026, 3, 2, 17, tzinfo=BERLIN)
        await operations.tell("cancel")
        (row,) = listed(operations.harness.record)
        assert (row["state"], row["waits_for"], row["waits_until"]) == ("cancelled", None, None)

    run(story())


def test_a_ticket_is_shown_the_end_of_all_hours_and_begins_no_sooner() -> None:
    async def story() -> None:
        operations = await waiting("no changes 08:00-10:10 Mon Europe/Berlin", "no changes 09:10-09:20 Mon-Fri UTC")
        await operations.carry_to_a_person()
        (awaited,) = [one for one in operations.events(ticket_stream("INF-1")) if isinstance(one, e.WindowAwaited)]
        assert awaited.until == datetime(2026, 3, 2, 10, 20, tzinfo=BERLIN)
        assert operations.ticket("INF-1").attempt.started_at >= awaited.until
        assert kinds(operations).count("DeliveryQueued") == 0 and operations.state("INF-1") is State.RESOLVED

    run(story())


def test_a_ticket_goes_on_at_once_when_a_person_lifts_its_constraint() -> None:
    async def story() -> None:
        operations = await waiting("no changes during peak hours")
        await healthy(operations, 30)
        assert operations.state("INF-1") is State.WAITING
        told = await operations.tell("constrain", constraints=(), text="it cannot wait")
        assert told == State.WAITING
        await operations.carry_to_a_person()
        ticket = operations.ticket("INF-1")
        assert ticket.state is State.RESOLVED
        changed = operations.last("INF-1", e.ConstraintsChanged)
        assert (changed.by, changed.constraints) == ("ada", ())
        assert ticket_document(operations.harness.record, "INF-1")["constraints"] == []
        assert ticket.attempt.started_at < datetime(2026, 3, 2, 11, tzinfo=BERLIN)

    run(story())


def test_a_ticket_that_is_given_other_hours_waits_for_those() -> None:
    async def story() -> None:
        operations = await waiting("no changes during peak hours")
        hours = "no changes 10:00-10:10 Mon-Fri Europe/Berlin"
        await operations.tell("constrain", constraints=(f" {hours.replace(' ', '  ')}",))
        await healthy(operations, 3)
        document = ticket_document(operations.harness.record, "INF-1")
        assert (document["waits_for"], document["constraints"]) == (hours, [hours])
        assert datetime.fromisoformat(document["waits_until"]) == datetime(2026, 3, 2, 10, 10, tzinfo=BERLIN)
        await operations.carry_to_a_person()
        assert operations.ticket("INF-1").attempt.started_at >= datetime(2026, 3, 2, 10, 10, tzinfo=BERLIN)
        assert kinds(operations).count("WindowAwaited") == 2

    run(story())


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        (("be nice",), "is not understood"),
        (("deadline 2020-01-01T00:00Z",), "is over"),
        (("no changes 00:00-24:00 Mon-Sun UTC",), "leaves no hour"),
    ],
)
def test_constraints_that_would_not_have_been_filed_are_refused_and_change_nothing(
    constraints: tuple[str, ...], said: str
) -> None:
    async def story() -> None:
        operations = await waiting("no changes during peak hours")
        with pytest.raises(ApplicationError, match=said):
            await operations.tell("constrain", constraints=constraints)
        assert operations.state("INF-1") is State.WAITING and "ConstraintsChanged" not in kinds(operations)

    run(story())


def test_a_ticket_goes_on_early_when_main_has_other_peak_hours() -> None:
    async def story() -> None:
        operations = await waiting("no changes during peak hours")
        # when main moves to a manifest whose peak hours are over soon, and the pump says that it moved
        hours = PeakHours(hours="08:00-10:05", days="Mon-Fri", zone="Europe/Berlin")
        other = MANIFEST.model_copy(update={"peak_hours": hours})
        operations.world.repository.declare(other)
        operations.wake()
        await healthy(operations, 3)
        until = ticket_document(operations.harness.record, "INF-1")["waits_until"]
        assert datetime.fromisoformat(until) == datetime(2026, 3, 2, 10, 5, tzinfo=BERLIN)
        await operations.carry_to_a_person()
        assert operations.state("INF-1") is State.RESOLVED

    run(story())


def test_a_ticket_whose_hours_never_end_any_more_is_handed_to_a_person() -> None:
    async def story() -> None:
        operations = await waiting("no changes during peak hours", "no changes 17:00-09:00 Mon-Sun Europe/Berlin")
        hours = PeakHours(hours="09:00-17:00", days="Mon-Sun", zone="Europe/Berlin")
        operations.world.repository.declare(MANIFEST.model_copy(update={"peak_hours": hours}))
        operations.wake()
        await operations.watch(lambda: operations.reached(State.ESCALATED), limit_s=5)
        assert "leaves no hour of any week" in operations.question()
        # and it can be mended
        await operations.tell("constrain", constraints=())
        await operations.tell("answer", text="go on")
        await operations.carry_to_a_person()
        assert operations.state("INF-1") is State.RESOLVED

    run(story())


def test_a_ticket_that_is_woken_for_nothing_waits_on() -> None:
    async def story() -> None:
        operations = await waiting("no changes during peak hours")
        before = kinds(operations)
        for _ in range(3):
            operations.wake()
            await healthy(operations, 2)
        assert kinds(operations) == before and operations.state("INF-1") is State.WAITING

    run(story())


def test_a_pause_of_one_that_waits_ends_where_it_was() -> None:
    async def story() -> None:
        operations = await waiting("no changes 08:00-10:10 Mon-Fri Europe/Berlin")
        assert await operations.tell("pause") == State.PAUSED
        assert await operations.tell("resume") == State.WAITING
        await operations.carry_to_a_person()
        assert operations.ticket("INF-1").attempt.started_at >= datetime(2026, 3, 2, 10, 10, tzinfo=BERLIN)

    run(story())


def test_a_delivery_that_its_hours_hold_in_the_queue_goes_on_when_they_are_lifted() -> None:
    async def story() -> None:
        # given a commit that waits for approval until its hours have begun
        operations = await quiet()
        commit = a_commit(operations, innocent(1))
        hours = "no changes 10:05-18:00 Mon-Fri Europe/Berlin"
        operations.file(change=commit, constraints=["requires approval", hours])
        await operations.watch(lambda: operations.reached(State.AWAITING_APPROVAL))
        await operations.world.clock.sleep(600)
        asked = operations.ticket("INF-1").asked
        assert asked is not None
        await operations.tell("approve", hash=asked.hash)
        await operations.watch(lambda: operations.reached(State.QUEUED))
        document = ticket_document(operations.harness.record, "INF-1")
        assert (document["waits_for"], document["waits_until"]) == (hours, "2026-03-02T18:00:00+01:00")
        (row,) = listed(operations.harness.record)
        assert row["waits_until"] == "2026-03-02T18:00:00+01:00"
        await operations.tell("constrain", constraints=("requires approval",))
        await operations.settle()
        assert operations.state("INF-1") is State.RESOLVED and operations.runs_everywhere(commit)

    run(story())


def test_constraints_of_a_delivery_that_waits_for_the_lock_are_looked_at_while_it_waits() -> None:
    async def story() -> None:
        # given a delivery that waits for another one
        operations = await quiet()
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        operations.file(change=a_commit(operations, innocent(1)))
        await operations.watch(lambda: operations.reached(State.QUEUED))
        # when a person gives it other hours, then that is done at once, and not when the other one is over
        hours = "no changes 08:00-18:00 Mon-Fri Europe/Berlin"
        telling = asyncio.create_task(operations.tell("constrain", constraints=(hours,)))
        await operations.watch(telling.done, limit_s=3)
        assert telling.result() == State.QUEUED and "ConstraintsChanged" in kinds(operations)

    run(story())


@pytest.mark.parametrize("priorities", [("P3", "P2"), ("P2", "P3")])
def test_of_two_deliveries_whose_hours_open_together_the_more_urgent_one_is_first(priorities: tuple[str, str]) -> None:
    async def story() -> None:
        # given two that were approved within their hours
        operations = await quiet()
        hours = "no changes 10:01-10:03 Mon-Fri Europe/Berlin"
        for number, priority in enumerate(priorities, start=1):
            operations.file(
                change=a_commit(operations, innocent(number)), constraints=["requires approval", hours],
                priority=priority,
            )  # fmt: skip
        both = ("INF-1", "INF-2")
        await operations.watch(lambda: all(operations.reached(State.AWAITING_APPROVAL, ticket_id=one) for one in both))
        await operations.world.clock.sleep(60)
        for ticket_id in both:
            asked = operations.ticket(ticket_id).asked
            assert asked is not None
            await operations.tell("approve", ticket_id, hash=asked.hash)
        await operations.watch(lambda: all(operations.reached(State.QUEUED, ticket_id=one) for one in both))
        waits = operations.events(queue_stream("ratelimiter"))
        opens_at = datetime(2026, 3, 2, 10, 3, tzinfo=BERLIN)
        assert [(one.ticket_id, one.since) for one in waits if isinstance(one, e.DeliveryWaits)] == [
            ("INF-1", opens_at), ("INF-2", opens_at),
        ]  # fmt: skip
        # when the hours are over
        await operations.watch(
            lambda: all(operations.reached(State.RESOLVED, ticket_id=one) for one in both), limit_s=300
        )  # fmt: skip
        tokens = {operations.ticket(one).filed.priority: operations.last(one, e.LockAcquired).token for one in both}
        assert tokens["P2"] < tokens["P3"]

    run(story())


# --- deadlines -----------------------------------------------------------------------------------------------------


def deadline(operations: Operations, after: timedelta) -> str:
    return f"deadline {(operations.world.clock.now() + after).isoformat()}"


def test_a_ticket_that_nobody_approves_in_time_is_handed_to_a_person_and_changes_nothing() -> None:
    async def story() -> None:
        operations = await quiet()
        commit = a_commit(operations, innocent(1))
        operations.file(
            change=commit, constraints=["requires approval", deadline(operations, timedelta(minutes=20))]
        )  # fmt: skip
        await operations.watch(lambda: operations.reached(State.AWAITING_APPROVAL))
        await operations.carry_to_a_person()  # it rests, for a word or for its deadline
        await operations.watch(lambda: operations.reached(State.ESCALATED), limit_s=1300)
        assert operations.question().startswith("The deadline 2026-03-02T09:20")
        assert operations.world.effects == []
        # and an answer alone does not give it time
        await operations.tell("answer", text="go on")
        await operations.carry_to_a_person()
        assert operations.state("INF-1") is State.ESCALATED
        # but another deadline does
        await operations.tell("constrain", constraints=(deadline(operations, timedelta(hours=1)),))
        await operations.tell("answer", text="go on")
        await operations.watch(lambda: operations.reached(State.RESOLVED))
        assert operations.runs_everywhere(commit)

    run(story())


def test_a_delivery_that_does_not_get_the_lock_in_time_is_handed_to_a_person() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        commit = a_commit(operations, innocent(1))
        operations.file(change=commit, constraints=[deadline(operations, timedelta(seconds=40))])
        await operations.watch(lambda: operations.reached(State.QUEUED))
        await operations.watch(lambda: operations.reached(State.ESCALATED), limit_s=60)
        assert operations.question().startswith("The deadline 2026-03-02T09:0")
        # and nobody waits behind it
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        operations.file(change=commit)
        await operations.watch(lambda: operations.reached(State.RESOLVED, ticket_id="INF-2"))

    run(story())


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("nth", "workflow_too"), [(1, False), (2, True), (3, False), (4, True)])
def test_a_process_that_dies_while_a_ticket_is_given_other_hours_loses_and_doubles_nothing(
    moment: str, nth: int, workflow_too: bool
) -> None:
    async def story() -> None:
        operations = await waiting("no changes during peak hours")
        operations.restart_workflow = workflow_too
        left = [nth]

        def die() -> None:
            left[0] -= 1
            if not left[0]:
                raise Crash

        setattr(operations.ledger, moment, die)
        hours = "no changes 10:00-10:05 Mon-Fri Europe/Berlin"
        await operations.tell("constrain", constraints=(hours,))
        await operations.carry_to_a_person()
        seen = kinds(operations)
        assert operations.state("INF-1") is State.RESOLVED and operations.restarts == 1
        assert [seen.count(kind) for kind in ("ConstraintsChanged", "WindowAwaited", "WindowOpened")] == [1, 2, 1]
        assert operations.ticket("INF-1").attempt.started_at >= datetime(2026, 3, 2, 10, 5, tzinfo=BERLIN)

    run(story())


def test_a_ticket_that_waits_for_hours_that_a_person_made_longer_than_its_deadline_is_refused_them() -> None:
    async def story() -> None:
        operations = await waiting("no changes 08:00-10:10 Mon-Fri Europe/Berlin", "deadline 2026-03-02T16:30Z")
        with pytest.raises(ApplicationError, match="and the deadline is at 2026-03-02T16:30"):
            await operations.tell(
                "constrain", constraints=("no changes 09:00-20:00 Mon UTC", "deadline 2026-03-02T16:30Z")
            )  # fmt: skip
        await operations.carry_to_a_person()
        assert operations.state("INF-1") is State.RESOLVED

    run(story())


# --- what a change may bring ---------------------------------------------------------------------------------------


LOCK = "requirements.lock"
BEFORE = "httptools==0.9.0 \\\n    --hash=sha256:02bc\nuvloop==0.22.1\n"


@pytest.mark.parametrize(
    ("lock", "new"),
    [
        (BEFORE.replace("0.9.0", "0.9.1"), None),
        (BEFORE + "left-pad==1.0 --hash=sha256:00\n", "left-pad"),
        (BEFORE + "-r more.txt\n", "-r more.txt"),
        (BEFORE.replace("uvloop==0.22.1", "uvloop @ https://example.org/uvloop.whl"),
         "uvloop from https://example.org/uvloop.whl"),
    ],
)  # fmt: skip
def test_a_change_that_brings_a_package_is_stopped_where_the_ticket_allows_none(lock: str, new: str | None) -> None:
    async def story() -> None:
        # given a service that does not protect its locks
        operations = Operations.on(World(MANIFEST.model_copy(update={"protected_paths": ()})))
        operations.world.release()
        await healthy(operations, 25)
        repository = operations.world.repository
        main = repository.main()
        with_lock = repository.write(LOCK, BEFORE, main, "lock", "lock", "Lock")
        repository.move_main(main, with_lock)
        commit = repository.write(LOCK, lock, with_lock, "more", "more", "Lock more")
        operations.file(change=commit, constraints=["no new dependencies"])
        await operations.watch(lambda: operations.happened(e.ChecksFailed) or operations.happened(e.ChecksPassed))
        if new is None:
            assert operations.happened(e.ChecksPassed), operations.last("INF-1", e.ChecksFailed)
        else:
            failed = operations.last("INF-1", e.ChecksFailed)
            assert failed.reason == f"the ticket's constraints forbid new dependencies: {new}"

    run(story())


class Watched:
    """The fleet as it is, and how many of its nodes were busy with an order at one time."""

    def __init__(self, nodes: Any) -> None:
        self._nodes, self._busy, self.most, self.orders = nodes, set[str](), 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nodes, name)

    async def order(self, node: str, order: NodeOrder) -> NodeAnswer:
        self._busy.add(node)
        self.most, self.orders = max(self.most, len(self._busy)), self.orders + 1
        try:
            answer: NodeAnswer = await self._nodes.order(node, order)
            return answer
        finally:
            self._busy.discard(node)


def test_a_delivery_takes_one_node_after_the_other_and_so_does_the_way_back() -> None:
    async def story() -> None:
        operations = await quiet()
        nodes = Watched(operations.world.nodes)
        operations.harness = replace(operations.harness, nodes=cast(Any, nodes))
        main = operations.world.repository.main()
        operations.file(change=a_commit(operations, innocent(1)), constraints=["at most 1 node at once"])
        await operations.watch(lambda: operations.reached(State.VERIFYING))
        delivered = nodes.orders
        await operations.tell("cancel")
        assert operations.world.repository.tree(operations.world.repository.main()) == (
            operations.world.repository.tree(main)
        )
        assert delivered >= 3 and nodes.orders >= delivered + 3
        assert nodes.most == AT_ONCE == 1

    run(story())


@pytest.mark.parametrize("state", [State.TESTING, State.DEPLOYING])
def test_a_delivery_that_is_paused_takes_no_constraint_that_nothing_would_keep_to(state: State) -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.reached(state) and operations.ticket("INF-1").life.token is not None)
        await operations.tell("pause")
        with pytest.raises(ApplicationError, match="its change is being delivered"):
            await operations.tell("constrain", constraints=("requires approval",))

    run(story())
