"""Incidents from the first slow request to the end of the ticket, on a modelled world in virtual time."""

from __future__ import annotations

import pytest

from harness.core import events as e
from harness.core.ids import cause_stream, fingerprint, service_stream, signal_stream
from harness.core.lifecycle import State
from harness.core.timeline import overhead_s, phases
from harness.journal import decode
from harness.simulation.clock import run
from harness.simulation.service import Change
from tests.simulation.operations import SLOW, days_work, healthy, incident, innocent

LATENCY = fingerprint("slo", "ratelimiter", "latency")
OFF = {"canary": 0.0, "baseline": 0.0}


@pytest.mark.parametrize(("place", "seed"), [(0, 1), (3, 2), (5, 3), (8, 4), (9, 5)])
def test_a_slow_release_is_found_taken_back_and_verified_wherever_the_bad_commit_is(place: int, seed: int) -> None:
    async def story() -> None:
        # given a service under watch, and a day's work with one slow commit in it
        operations = await incident([], seed=seed)
        commits = operations.world.release(days_work(place))
        released_at = operations.world.clock.now()
        # when the harness is left alone with it
        await operations.settle()
        # then exactly that commit was taken back, and everything serves main again
        ticket = operations.ticket("INF-1")
        assert ticket.state is State.RESOLVED and len(ticket.attempts) == 1
        main = operations.world.repository.main()
        assert operations.world.repository.diff(commits[-1], main) == f"-change-{place}\n"
        assert operations.runs_everywhere(main) and operations.world.router.shares == OFF
        # and the criteria hold on what was measured, in about a minute, most of which was evidence being gathered
        met = operations.last("INF-1", e.CriteriaMet)
        assert met.samples >= 3000 and all(one.met for one in met.criteria)
        assert ticket.closed_at is not None and (ticket.closed_at - released_at).total_seconds() < 75
        history = [(row.occurred_at, decode(row)) for row in operations.ledger.read_stream("ticket-INF-1")]
        (started,) = [one for one in operations.events(signal_stream(LATENCY)) if isinstance(one, e.SignalStarted)]
        began_at = ticket.filed.signal_began_at
        assert began_at is not None
        assert overhead_s(phases(history, began_at=began_at, signal_waits=started.waits)) < 4
        assert operations.ledger.verify().ok

    run(story())


def test_a_service_that_is_well_gets_no_ticket_and_no_effect() -> None:
    async def story() -> None:
        # given ten harmless commits
        operations = await incident([innocent(n) for n in range(10)])
        # when the watch looks on for 200 s
        await healthy(operations, 200)
        # then nothing was filed, nothing was done, and every look since the windows were full said so
        assert operations.tickets() == [] and operations.world.effects == []
        beats = [event for event in operations.events("watch") if isinstance(event, e.WatchBeat)]
        assert [beat.ticks for beat in beats] == [60, 60, 60]
        assert all(set(beat.states["latency"]) == {"ok"} for beat in beats[1:])
        assert beats[-1].requests == pytest.approx(24_000, rel=0.02)
        # and whose hand changed the release on which node is on record
        seen = [event for event in operations.events(service_stream("ratelimiter"))]
        assert len(seen) == 6 and {event.actor for event in seen if isinstance(event, e.ReleaseObserved)} == {"people"}

    run(story())


def test_the_same_seed_gives_the_same_ledger() -> None:
    async def story() -> str:
        operations = await incident(days_work(4), seed=7)
        await operations.settle()
        return operations.ledger.head().hash

    assert run(story()) == run(story())


def test_two_firings_of_one_cause_are_one_ticket() -> None:
    async def story() -> None:
        # given an incident whose repair has to wait for another delivery
        operations = await incident([])
        world, good = operations.world, operations.world.repository.main()
        operations.note_in_lock(e.LockTaken(ticket_id="INF-99", attempt=1))
        bad = world.release(days_work(5))[-1]
        await operations.watch(lambda: operations.reached(State.QUEUED))
        # when a person goes back on the nodes alone, the signal ends, and then it starts once more
        world.nodes.place(good, "people")
        await operations.watch(lambda: isinstance(operations.events(signal_stream(LATENCY))[-1], e.SignalEnded))
        world.nodes.place(bad, "people")
        await operations.watch(lambda: len(operations.events(cause_stream(LATENCY))) == 2)
        # then the evidence is with the one ticket, which is resolved when its turn comes
        attached = operations.events(cause_stream(LATENCY))[-1]
        assert isinstance(attached, e.SignalAttached) and attached.ticket_id == "INF-1"
        operations.note_in_lock(e.LockFreed(ticket_id="INF-99", attempt=1))
        await operations.settle()
        assert operations.reached(State.RESOLVED) and operations.tickets() == ["INF-1"]

    run(story())


def test_a_cause_that_comes_back_after_its_ticket_closed_gets_a_new_one_that_names_the_first() -> None:
    async def story() -> None:
        # given an incident that was resolved
        operations = await incident(days_work(5))
        await operations.settle()
        # when somebody releases something slow again
        operations.world.release([Change("again", SLOW)])
        await operations.watch(lambda: operations.reached(State.RESOLVED, ticket_id="INF-2"))
        # then a second ticket was opened, linked to the first, and resolved in its turn
        assert operations.ticket("INF-2").filed.recurrence_of == "INF-1"
        kinds = [type(event) for event in operations.events(cause_stream(LATENCY))]
        assert kinds == [e.CauseOpened, e.CauseClosed, e.CauseOpened, e.CauseClosed]
        assert operations.tickets() == ["INF-1", "INF-2"]

    run(story())
