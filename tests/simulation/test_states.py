"""Every change of state of an objective or an invariant is told once, whatever dies. On a modelled world."""

from __future__ import annotations

from itertools import pairwise

from harness.core import events as e
from harness.core.ids import fingerprint, state_stream
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.metrics import STALE_S
from harness.stages.observe import Memory
from harness.states import last_told
from tests.simulation.operations import Crash, Operations, days_work, healthy, incident

LATENCY = state_stream(fingerprint("slo", "ratelimiter", "latency"))
HEADROOM = state_stream(fingerprint("invariant", "ratelimiter", "capacity_headroom"))


def told(operations: Operations, stream: str) -> list[tuple[str | None, str]]:
    return [(event.before, event.after) for event in operations.events(stream) if isinstance(event, e.StateChanged)]


def test_an_incident_is_told_as_its_states_change_and_quiet_time_writes_nothing() -> None:
    async def story() -> None:
        # given a watch that finds all well
        operations = await incident(days_work(1))
        assert told(operations, LATENCY) == told(operations, HEADROOM) == [(None, "ok")]
        # when a slow release comes, is found and taken back
        await operations.settle()
        assert operations.reached(State.RESOLVED)
        # then that is what was told, with why and since when
        assert told(operations, LATENCY)[:2] == [(None, "ok"), ("ok", "burning")]
        burning = next(event for event in operations.events(LATENCY) if getattr(event, "after", "") == "burning")
        assert isinstance(burning, e.StateChanged) and "burns" in burning.reason and burning.untold == 0
        # and that all is well again, which is not told again while it holds on
        await healthy(operations, 30)
        before = told(operations, LATENCY)
        await healthy(operations, 60)
        assert before[-1][1] == "ok" and told(operations, LATENCY) == before
        assert told(operations, HEADROOM) == [(None, "ok")]

    run(story())


def test_what_cannot_be_seen_is_told_as_that() -> None:
    async def story() -> None:
        operations = await incident([], healthy_s=20)
        operations.world.metrics.blind = True
        await healthy(operations, STALE_S + 3)
        operations.world.metrics.failing = True
        await healthy(operations, 3)
        assert [after for _, after in told(operations, HEADROOM)] == ["ok", "no_data", "query_failed"]
        last = last_told(operations.ledger, "invariant", "ratelimiter", "capacity_headroom")
        assert last is not None and "no answer" in last.reason and last.at <= operations.world.clock.now()

    run(story())


def test_a_tick_that_dies_after_it_told_tells_nothing_twice() -> None:
    async def story() -> None:
        # given a process that dies right after every change that it told
        operations = await incident(days_work(1))
        seen = len(operations.events(LATENCY)) + len(operations.events(HEADROOM))

        def die() -> None:
            nonlocal seen
            now = len(operations.events(LATENCY)) + len(operations.events(HEADROOM))
            if now > seen:
                seen = now
                raise Crash

        operations.ledger.after = die
        await operations.settle()
        # then each change was told once, and the next begins where the last one ended
        assert operations.restarts
        changes = told(operations, LATENCY)
        assert ("ok", "burning") in changes
        assert all(one[1] == two[0] for one, two in pairwise(changes))

    run(story())


def test_a_watch_that_remembers_nothing_goes_on_from_the_ledger() -> None:
    async def story() -> None:
        operations = await incident([], healthy_s=20)
        before = told(operations, LATENCY)
        operations.memory = Memory()
        await healthy(operations, 5)
        assert told(operations, LATENCY) == before

    run(story())
