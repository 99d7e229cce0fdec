"""The view of a ticket, folded from real histories: what a person sees at each moment of an incident."""

from __future__ import annotations

import io
from datetime import timedelta

from rich.console import Console

from harness.cli.live import Watching, screen, watch_ticket
from harness.cli.signal import listed
from harness.core.ids import ticket_stream
from harness.core.lifecycle import State
from harness.core.timeline import phases
from harness.core.view import View
from harness.simulation.clock import START, run
from tests.simulation.histories import given_up, repaired_at_the_second_try, replaced
from tests.simulation.operations import SLOW, Operations, days_work, incident


def moments(operations: Operations, ticket_id: str | None = "INF-1") -> list[View]:
    """The view after each row of the ledger."""
    watching, seen = Watching(operations.harness.record, View(ticket_id=ticket_id)), []
    for row in operations.ledger.read_all(limit=100_000):
        watching.see(row)
        seen.append(watching.view)
    return seen


def test_each_phase_is_under_way_once_and_its_seconds_are_those_of_the_timeline() -> None:
    async def story() -> None:
        operations = await incident(days_work(4))
        await operations.settle()
        seen = moments(operations)
        # one phase at a time, in the order of the life of a ticket
        going = [one.name for view in seen for one in view.phases() if one.since]
        assert list(dict.fromkeys(going)) == ["admit", "work", "test", "canary", "deploy", "verify"]
        assert all(sum(one.since is not None for one in view.phases()) <= 1 for view in seen)
        # at the end all of them are over, and add up to what the demo reports
        last = seen[-1]
        assert last.over and last.state is State.RESOLVED and last.began_at is not None
        timeline = phases(last.history, began_at=last.began_at, signal_waits=())
        assert [(one.name, one.seconds) for one in last.phases()] == [(one.name, one.seconds) for one in timeline]
        ticket = operations.ticket("INF-1")
        assert ticket.closed_at is not None
        total = timedelta(seconds=sum(one.seconds for one in last.phases()))
        assert abs(total - (ticket.closed_at - last.began_at)) < timedelta(milliseconds=1)

    run(story())


def test_what_burns_who_serves_what_and_the_arms_are_seen_while_they_are_so() -> None:
    async def story() -> None:
        operations = await incident(days_work(4))
        await operations.settle()
        seen, main = moments(operations), operations.world.repository.main()
        # the objective burns from its signal on, and does no more in the end
        assert any(one.reason.startswith("SLO latency burns") for view in seen for one in view.fires)
        assert seen[-1].fires == ()
        # every node is known with the hand that brought its release; in the end the harness did
        assert {one.by for view in seen for _, one in view.nodes} == {"people", "harness"}
        assert [(name, one.commit, one.by) for name, one in seen[-1].nodes] == [
            (name, main, "harness") for name in ("n1", "n2", "n3")
        ]
        # the arms' counts only grow, and the verdicts come last
        looks = [view.canary for view in seen if view.canary]
        totals = [sum(count.canary_total for count in one.counts) for one in looks]
        assert totals == sorted(totals) and totals[-1] > 0
        assert not looks[0].counts and looks[-1].passed is True and looks[-1].verdicts
        assert [one.met for one in seen[-1].criteria] == [True] * 4

    run(story())


def test_a_signal_is_listed_with_its_ticket_while_it_fires_and_after() -> None:
    async def story() -> None:
        # given a ticket that was just filed, then what burns is firing
        operations = await incident(days_work(4))
        assert listed(operations.harness.record) == []
        await operations.watch(lambda: bool(operations.ledger.read_stream(ticket_stream("INF-1"))))
        (row,) = listed(operations.harness.record)
        assert (row["kind"], row["name"], row["state"], row["ticket"], row["count"]) == (
            "slo", "latency", "firing", "INF-1", 1,
        )  # fmt: skip
        assert row["reason"].startswith("SLO latency burns") and row["since"] == row["first_seen"]
        # and when it is repaired, it has ended
        await operations.settle()
        (after,) = listed(operations.harness.record)
        assert (after["state"], after["ticket"], after["first_seen"]) == ("ended", "INF-1", row["first_seen"])
        assert after["since"] > row["since"]

    run(story())


def test_an_attempt_that_is_stopped_is_marked_where_it_was_and_the_question_is_shown() -> None:
    async def story() -> None:
        operations = await given_up()
        last = moments(operations)[-1]
        assert last.over and last.state is State.ESCALATED
        assert [(one.attempt, one.phase) for one in last.stops] == [(1, "canary")]
        assert [one.name for one in last.phases() if one.stopped] == ["canary"]
        assert "attempts are used up" in last.question
        assert watch_ticket(operations.harness.record, "INF-1", silent=True) is State.ESCALATED

    run(story())


def test_a_second_attempt_that_succeeds_keeps_the_first_ones_stop_in_view_and_no_mark() -> None:
    async def story() -> None:
        last = moments(await repaired_at_the_second_try())[-1]
        assert last.state is State.RESOLVED and [(one.attempt, one.phase) for one in last.stops] == [(1, "canary")]
        assert [one.name for one in last.phases() if one.stopped] == [] and last.question == ""

    run(story())


def test_a_lost_node_leaves_the_view_and_the_new_one_is_watched_alone() -> None:
    async def story() -> None:
        seen = moments(await replaced())
        fleets = [tuple(name for name, _ in view.nodes) for view in seen]
        assert ("n1", "n3") in fleets and fleets[-1] == ("n1", "n3", "n4")
        watched = [view.canary for view in seen if view.canary]
        assert watched[0].alone and watched[0].node == "n4" and watched[-1].passed is True
        text = drawn_text(seen[-1])
        assert "canary on n4: passed" in text and "without" not in text

    run(story())


def drawn_text(view: View) -> str:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(screen(view, START, 100, 4))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_ticket_that_has_ended_is_seen_as_it_ended_whatever_came_later() -> None:
    async def story() -> None:
        # given a repaired incident, and another release by people afterwards
        operations = await incident(days_work(4))
        await operations.settle()
        repaired = operations.world.repository.main()
        operations.world.disturb(SLOW)
        await operations.watch(lambda: "INF-2" in operations.tickets())
        first, second = moments(operations)[-1], moments(operations, "INF-2")[-1]
        assert {one.commit for _, one in first.nodes} == {repaired} and first.fires == ()
        assert second.filed is not None and second.filed.ticket_id == "INF-2" and second.fires
        # and the second one's story does not begin before its cause
        assert second.began_at is not None and all(one.at >= second.began_at for one in second.lines)

    run(story())


def test_while_no_ticket_is_watched_the_next_one_that_is_filed_is() -> None:
    async def story() -> None:
        operations = await incident(days_work(4))
        await operations.settle()
        seen = moments(operations, ticket_id=None)
        assert seen[0].filed is None and not seen[0].over and [one.since for one in seen[0].phases()] == [None] * 7
        assert seen[-1].filed is not None and seen[-1].filed.ticket_id == "INF-1"

    run(story())
