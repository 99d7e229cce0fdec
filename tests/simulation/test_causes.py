"""From many signals to few tickets: grouped, taken apart, flapping, come back. On a modelled world, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from harness.cause import standing
from harness.cli.explain import explained
from harness.cli.ticket import explanation, ticket_document
from harness.cli.ticket_list import listed
from harness.core import events as e
from harness.core.ids import cause_stream, fingerprint, signal_stream
from harness.core.lifecycle import ENDS, State
from harness.simulation.clock import run
from harness.simulation.service import Behaviour, Change
from tests.simulation.operations import RULES, SLOW, Operations, days_work, healthy, incident, innocent

LATENCY = fingerprint("slo", "ratelimiter", "latency")
AVAILABILITY = fingerprint("slo", "ratelimiter", "availability")
ERRORS = Behaviour(error_share=0.3)
SLOW_AND_WRONG = replace(SLOW, error_share=0.3)


async def all_over(operations: Operations, tickets: int) -> list[State]:
    """Where so many tickets are, once each is at an end or with a person."""

    def over() -> bool:
        return len(operations.tickets()) >= tickets and all(
            operations.reached(*ENDS, State.ESCALATED, ticket_id=one) for one in operations.tickets()
        )

    await operations.watch(over, limit_s=600)
    return [operations.ticket(one).state for one in operations.tickets()]


def test_two_objectives_that_one_release_breaks_are_one_ticket_which_asks_for_both() -> None:
    async def story() -> None:
        operations = await incident(days_work(3, SLOW_AND_WRONG))
        await operations.watch(lambda: len(operations.events(cause_stream(AVAILABILITY))) == 1)
        # given two signals that begin within seconds, the second one is grouped, with the reason
        (event,) = operations.events(cause_stream(AVAILABILITY))
        assert isinstance(event, e.SignalGrouped) and event in operations.events(cause_stream(LATENCY))
        assert (event.ticket_id, event.lead, event.signal) == ("INF-1", LATENCY, "slo:availability")
        # and the ticket's criteria hold what it is about
        wanted = {one.metric for one in operations.journal("INF-1").spec().acceptance_criteria}
        assert {"slow_share", "error_share", "wrong_denial_share"} <= wanted
        # when it is repaired, then one ticket with one attempt was all
        assert await all_over(operations, 1) == [State.RESOLVED]
        assert len(operations.ticket("INF-1").attempts) == 1
        met = {one.metric: one for one in operations.last("INF-1", e.CriteriaMet).criteria}
        assert met["error_share"].met and met["error_share"].left_to is None
        # and it is shown with both signals, and why
        record, ticket = operations.harness.record, operations.ticket("INF-1")
        own, other = ticket_document(record, "INF-1")["signals"]
        assert (own["name"], own["grouped"], other["name"], other["apart"]) == ("latency", None, "availability", None)
        assert "began" in other["grouped"]
        told = "\n".join(explained(explanation(record, ticket)))
        assert "slo:availability is grouped into INF-1, for it began" in told
        # and both causes have no ticket any more, so that the next firing of either opens one
        assert {standing(operations.ledger, one).living for one in (LATENCY, AVAILABILITY)} == {None}
        await healthy(operations, 30)
        assert operations.tickets() == ["INF-1"]

    run(story())


@pytest.mark.parametrize("seed", [1, 2])
def test_two_causes_that_look_like_one_are_taken_apart_after_the_first_attempt_and_both_repaired(seed: int) -> None:
    async def story() -> None:
        # given two bad commits of one release, so that both objectives begin to burn together
        changes = [innocent(number) for number in range(10)]
        changes[3 * seed], changes[3 * seed - 2] = Change("slow", SLOW), Change("wrong", ERRORS)
        operations = await incident(changes, seed=seed)
        await operations.watch(lambda: len(operations.events(cause_stream(AVAILABILITY))) == 1)
        assert operations.tickets() == ["INF-1"]
        # when the repair of the one leaves the other as it is
        states = await all_over(operations, 2)
        # then that got a ticket of its own, which is no recurrence, and both are resolved
        assert states == [State.RESOLVED] * 2
        first, second = operations.ticket("INF-1"), operations.ticket("INF-2")
        assert first.attempts[0].failure is not None and second.filed_at > first.attempts[0].started_at
        assert (second.filed.fingerprint, second.filed.recurrence_of) == (AVAILABILITY, None)
        apart = {one["name"]: one["apart"] for one in ticket_document(operations.harness.record, "INF-1")["signals"]}
        assert apart == {"latency": None, "availability": "INF-2"}
        main = operations.world.repository.main()
        behaviour = operations.world.repository.behaviour(main)
        assert (behaviour.slow_share, behaviour.error_share) == (0, 0) and operations.runs_everywhere(main)

    run(story())


def test_what_still_fires_when_the_ticket_that_it_was_grouped_into_ends_gets_a_ticket_of_its_own() -> None:
    async def story() -> None:
        # given a ticket for two signals, which a person cancels
        operations = await incident([])
        operations.world.disturb(SLOW_AND_WRONG)

        def groups() -> set[e.Event]:
            told = [event for cause in (AVAILABILITY, LATENCY) for event in operations.events(cause_stream(cause))]
            return {event for event in told if isinstance(event, e.SignalGrouped)}

        await operations.watch(lambda: bool(groups()), limit_s=20)
        assert operations.tickets() == ["INF-1"]
        (group,) = groups()
        assert isinstance(group, e.SignalGrouped)
        await operations.tell("cancel")
        # when both go on, then the one that was grouped has another ticket soon, linked to that one
        await operations.watch(lambda: standing(operations.ledger, group.fingerprint).living is not None, limit_s=30)
        now = standing(operations.ledger, group.fingerprint).living
        assert now != "INF-1" and operations.ticket(str(now)).filed.recurrence_of == "INF-1"

    run(story())


def test_a_signal_of_another_kind_is_not_grouped_however_close_it_is() -> None:
    async def story() -> None:
        operations = await incident(days_work(3))
        operations.world.kill("n2")
        await operations.watch(lambda: len(operations.tickets()) == 2)
        kinds = {operations.ticket(one).filed.source for one in operations.tickets()}
        assert kinds == {"slo", "invariant"}

    run(story())


async def flap(operations: Operations) -> None:
    """Requests are slow for a while, by nobody's release."""
    operations.world.disturb(SLOW)
    await healthy(operations, 15)
    operations.world.disturb(Behaviour())
    await healthy(operations, 45)


def test_a_signal_that_comes_and_goes_makes_one_ticket_that_says_so_and_not_one_each_time() -> None:
    async def story() -> None:
        # given slow requests that begin and end by themselves, again and again
        operations = await incident([])
        policy = RULES.profile.causes.flapping
        for number in range(1, 7):
            await flap(operations)
            # and somebody who takes the first tickets for done, as it is over each time
            if number <= policy.transitions // 2:
                await operations.tell("cancel", operations.tickets()[-1])
        # then after those there is one that asks for peace
        changes = [type(event) for event in operations.events(signal_stream(LATENCY))]
        assert changes.count(e.SignalStarted) == 6
        before, last = operations.tickets()[:-1], operations.tickets()[-1]
        assert len(before) == policy.transitions // 2
        spec = operations.journal(last).spec()
        assert "it flaps, 6 changes within 600s" in spec.objective.description
        durations = {one.duration for one in spec.acceptance_criteria}
        assert durations == {"600s sustained"} and policy.within_s == 600
        # and it lives, with every firing since
        assert operations.reached(State.ESCALATED, ticket_id=last)
        (signal,) = ticket_document(operations.harness.record, last)["signals"]
        assert signal["count"] == 6 - len(before)
        # and each ticket says which one it came back from
        again = [operations.ticket(one).filed.recurrence_of for one in operations.tickets()]
        assert again == [None, *operations.tickets()[:-1]]
        rows = {row["id"]: row["recurrence_of"] for row in listed(operations.harness.record)}
        assert rows == dict(zip(operations.tickets(), again, strict=True))
        document = ticket_document(operations.harness.record, operations.tickets()[0])
        assert (document["recurrence_of"], document["recurrences"]) == (None, [operations.tickets()[1]])
        # and that it is quiet for a moment is not enough to resolve it
        await operations.tell("answer", last, text="It has gone by itself.")
        await operations.watch(lambda: operations.reached(State.VERIFYING, ticket_id=last))
        while not operations.happened(e.CriteriaNotMet, last) and operations.reached(State.VERIFYING, ticket_id=last):
            await flap(operations)
        assert operations.last(last, e.CriteriaNotMet).window_s == policy.within_s and len(operations.tickets()) == 4

    run(story())


def test_one_bad_release_after_the_other_each_repaired_is_no_flapping() -> None:
    async def story() -> None:
        operations = await incident(days_work(5))
        policy = RULES.profile.causes.flapping
        # given as many repairs within the while as would be flapping if nobody had done anything
        for number in range(1, policy.transitions // 2 + 2):
            await operations.watch(lambda n=number: operations.reached(State.RESOLVED, ticket_id=f"INF-{n}"))
            operations.world.release([Change(f"again {number}", SLOW)])
        events = operations.events(signal_stream(LATENCY))
        assert len(events) >= policy.transitions
        assert operations.world.clock.now() - operations.ticket("INF-1").filed_at < timedelta(seconds=policy.within_s)
        # then each is a recurrence of the one before it, and none is asked to be quiet for that long
        for ticket_id in operations.tickets():
            spec = operations.journal(ticket_id).spec()
            assert "flaps" not in spec.objective.description
        again = [operations.ticket(one).filed.recurrence_of for one in operations.tickets()]
        assert again == [None, *operations.tickets()[:-1]]

    run(story())


def test_a_cause_that_fires_again_long_after_its_ticket_ended_is_no_recurrence() -> None:
    async def story() -> None:
        causes = RULES.profile.causes.model_copy(update={"quiet_period_s": 20.0})
        rules = replace(RULES, profile=RULES.profile.model_copy(update={"causes": causes}))
        operations = await incident(days_work(5), rules=rules)
        await operations.settle()
        await healthy(operations, 25)
        operations.world.release([Change("again", SLOW)])
        await operations.watch(lambda: "INF-2" in operations.tickets())
        assert operations.ticket("INF-2").filed.recurrence_of is None

    run(story())
