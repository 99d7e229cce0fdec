"""Nothing that is declared is broken, and a metric is worse than it used to be: from there to a ticket, one a cause. On
a modelled world in virtual time, with windows of two seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.bootstrap import Rules
from harness.core import events as e
from harness.core.anomaly_policy import Anomalies
from harness.core.ids import fingerprint, signal_stream
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.service import Behaviour
from harness.simulation.world import World
from tests.simulation.operations import MANIFEST, RULES, SLOW, Operations, days_work, healthy

POLICY = {
    "enabled": True, "window": "2s", "reference": "160s", "guard": "30s", "warm_up": "80s", "false_alarm_every": "28d",
    "per_day": 2, "priority": "P3", "left_open": "60s",
    "leave_out": {"available": "demand", "throughput": "twice"},
}  # fmt: skip
LEARNT_S = 150.0
ODD = Behaviour(wait_ms=85.0, wait_share=0.05)
"""Slower than it used to be, and far from burning the objective of 90 %."""
ENDED = (State.RESOLVED, State.CANCELLED, State.ESCALATED)


def rules(**policy: object) -> Rules:
    return replace(RULES, anomalies=Anomalies.parse({**POLICY, **policy}, "anomalies.yaml"))


async def usual(*, seed: int = 1, **policy: object) -> Operations:
    """A service that has been well for long enough to know what is usual, and nothing was filed."""
    operations = Operations.on(World(MANIFEST, seed=seed), rules=rules(**policy))
    operations.world.release()
    await operations.world.clock.sleep(LEARNT_S)
    await healthy(operations, 10)
    assert operations.tickets() == []
    return operations


def signal_of(operations: Operations, metric: str) -> list[e.Event]:
    return operations.events(signal_stream(fingerprint("anomaly", "ratelimiter", metric)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_no_objective_tells_of_becomes_one_investigation_and_a_person_is_asked(seed: int) -> None:
    async def story() -> None:
        # given a service that is a little slower than it used to be, for a reason that no commit is to blame for
        operations = await usual(seed=seed)
        began_at = operations.world.clock.now()
        operations.world.disturb(ODD)
        # when it is watched
        await operations.watch(lambda: operations.reached(*ENDED))
        # then there is one ticket, of the lowest priority, which wants the metric back to where it was
        ticket = operations.ticket("INF-1")
        assert (ticket.filed.type, ticket.filed.priority, ticket.filed.source) == ("investigation", "P3", "anomaly")
        assert ticket.filed.signal == "anomaly:slow_share" and operations.tickets() == ["INF-1"]
        assert ticket.filed.signal_began_at is not None
        assert abs((ticket.filed.signal_began_at - began_at).total_seconds()) < 30
        assert ticket.admitted is not None
        goal, *others = ticket.admitted.criteria
        assert goal.metric == "slow_share" and goal.condition.startswith("<= ") and goal.baseline is not None
        assert {one.metric for one in others} == {"slow_share", "error_share", "wrong_denial_share", "available"}
        # and its agent finds that it holds no longer, and nothing that it could take back
        assert ticket.state is State.ESCALATED and "slow_share" in operations.question()
        # and it goes on being so without another ticket, or another word of it
        await healthy(operations, 60)
        assert operations.tickets() == ["INF-1"] and len(signal_of(operations, "slow_share")) == 1

    run(story())


def test_what_a_person_lets_be_is_usual_from_then_on_and_what_changes_later_is_filed_again() -> None:
    async def story() -> None:
        # given an anomaly of which a person says that it is meant to be so
        operations = await usual()
        operations.world.disturb(ODD)
        await operations.watch(lambda: operations.reached(*ENDED))
        await operations.tell("cancel", text="more work a request since today")
        # then it is no longer told of, neither while it is learnt what is usual now nor after
        await healthy(operations, 60 + LEARNT_S)
        assert operations.tickets() == ["INF-1"]
        assert isinstance(signal_of(operations, "slow_share")[-1], e.SignalEnded)
        # and what changes after that is an anomaly again, that knows of the first
        operations.world.disturb(Behaviour(wait_ms=85.0, wait_share=0.15))
        await operations.watch(lambda: len(operations.tickets()) == 2)
        assert operations.ticket("INF-2").filed.recurrence_of == "INF-1"

    run(story())


def test_it_is_found_all_the_same_by_a_watch_that_remembers_nothing() -> None:
    async def story() -> None:
        operations = await usual()
        operations.world.disturb(ODD)
        for _ in range(8):
            await healthy(operations, 3)
            operations.memory = None
        await operations.watch(lambda: operations.tickets() == ["INF-1"])
        assert len(signal_of(operations, "slow_share")) == 1

    run(story())


def test_an_incident_is_not_told_twice_nor_does_it_become_usual() -> None:
    async def story() -> None:
        # given a release that burns the objective
        operations = await usual()
        operations.world.release(days_work(2, SLOW, of=4))
        await operations.watch(lambda: operations.reached(*ENDED))
        # then it has its own ticket, and no anomaly beside it, while it lives and after it
        assert operations.ticket("INF-1").filed.source == "slo" and operations.ticket("INF-1").state is State.RESOLVED
        await healthy(operations, 60)
        assert operations.tickets() == ["INF-1"]
        # and what is usual is what was so before: less than the incident is strange
        operations.world.disturb(ODD)
        await operations.watch(lambda: len(operations.tickets()) == 2)
        assert operations.ticket("INF-2").filed.source == "anomaly"

    run(story())


def test_an_incident_that_is_left_open_silences_for_a_while_and_then_what_it_left_is_usual() -> None:
    async def story() -> None:
        # given an incident for which nobody has a runbook, and nobody who answers
        operations = await usual()
        operations.harness = replace(operations.harness, rules=replace(rules(), runbooks=()))
        operations.world.disturb(SLOW)
        await operations.watch(lambda: operations.reached(State.ESCALATED))
        # when another metric becomes worse soon after, then nothing is raised: it may be the incident's doing
        operations.world.disturb(replace(SLOW, error_share=0.002))
        await healthy(operations, 50)
        assert operations.tickets() == ["INF-1"]
        # nor when people have had it for too long, of what is so by then
        await healthy(operations, 10 + LEARNT_S)
        assert operations.tickets() == ["INF-1"] and operations.reached(State.ESCALATED)
        # but what becomes worse after that is an anomaly
        operations.world.disturb(replace(SLOW, error_share=0.006))
        await operations.watch(lambda: len(operations.tickets()) == 2)
        assert operations.ticket("INF-2").filed.signal == "anomaly:error_share"

    run(story())


@pytest.mark.parametrize("policy", [{"per_day": 0}, {"enabled": False}])
def test_policy_says_how_many_a_day_and_whether_at_all(policy: dict[str, object]) -> None:
    async def story() -> None:
        operations = await usual(**policy)
        operations.world.disturb(ODD)
        await healthy(operations, 60)
        assert operations.tickets() == []

    run(story())


def test_no_data_is_no_anomaly_of_its_own_kind() -> None:
    async def story() -> None:
        operations = await usual()
        operations.world.metrics.blind = True
        await healthy(operations, 60)
        assert not [one for one in operations.tickets() if operations.ticket(one).filed.source == "anomaly"]

    run(story())
