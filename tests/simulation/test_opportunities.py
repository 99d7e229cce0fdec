"""Nothing is wrong, and a setting could be better: offered within policy's number, tried by the probe, delivered as any
change is; or left alone. On a modelled world in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from random import Random

import pytest

from harness.ahead import Sources
from harness.cli.signal import listed
from harness.core import events as e
from harness.core.errors import Forbidden, Invalid, Refused
from harness.core.ids import opportunities_stream, ticket_stream
from harness.core.lifecycle import State
from harness.core.tunable import value_in
from harness.simulation.clock import run
from harness.simulation.effects import Effect
from harness.simulation.service import Behaviour, Change
from harness.stages import file
from harness.stages.offer import Stage, look, note, offer
from tests.simulation.operations import MANIFEST, RULES, Crash, Operations, days_work, healthy, incident

(TUNABLE,) = MANIFEST.tunables
ENDED = (State.RESOLVED, State.CANCELLED, State.ESCALATED)
OFFERS = opportunities_stream("ratelimiter")


def setting(value: int, behaviour: Behaviour | None = None) -> Change:
    """The file of the tunable, as somebody released it."""
    return Change(TUNABLE.file, replace(behaviour or Behaviour(), answers_per_connection=value))


def stage(operations: Operations) -> Stage:
    """Looks at tunables alone: for a look at the last week each of its requests would have to be made up."""
    rules, world = operations.harness.rules, operations.world
    return Stage(
        manifest=MANIFEST, policy=rules.opportunities.model_copy(update={"ahead": None}), repository=world.repository,
        checks=world.checks, ledger=operations.ledger, blobs=operations.blobs, clock=world.clock,
        sources=Sources(slos=rules.slos, invariants=rules.invariants, catalog=rules.catalog, metrics=world.metrics),
    )  # fmt: skip


async def offered(operations: Operations) -> str | None:
    """What `harness opportunity file` does; the ticket's id."""
    desk, rules = stage(operations), operations.harness.rules
    found = await offer(desk)
    if found is None:
        return None
    return file.file(
        found.signal, slos=rules.slos, invariants=rules.invariants, sustained_s=rules.profile.verify.window_s,
        policy=rules.profile.causes, ledger=operations.ledger, blobs=operations.blobs, clock=operations.world.clock,
        beside=partial(note, desk, found),
    )  # fmt: skip


async def night(value: int, *, seed: int = 1, behaviour: Behaviour | None = None) -> Operations:
    """A service that is well, with this value released among other commits, and one offer that ran to its end."""
    operations = await incident([Change("a"), setting(value, behaviour), Change("b")], seed=seed)
    await healthy(operations, 40)
    assert operations.tickets() == []
    ticket_id = await offered(operations)
    assert ticket_id is not None
    await operations.watch(lambda: operations.reached(*ENDED, ticket_id=ticket_id))
    return operations


def stands_at(operations: Operations) -> int:
    main = operations.world.repository.main()
    return value_in(operations.world.repository.read(main, TUNABLE.file), TUNABLE.file, TUNABLE.key)


@pytest.mark.parametrize(("value", "seed"), [(2, 1), (2, 2), (3, 3), (4, 4), (3, 5), (2, 6)])
def test_a_value_that_costs_is_replaced_by_one_that_wins_and_the_ticket_is_resolved(value: int, seed: int) -> None:
    async def story() -> None:
        # given a release with a costly value, and no alarm; when one offer is filed and the harness left alone
        operations = await night(value, seed=seed)
        # then it is an improvement ticket of the lowest priority, resolved at the first attempt, with what it promised
        ticket = operations.ticket("INF-1")
        assert (ticket.state, len(ticket.attempts)) == (State.RESOLVED, 1)
        assert (ticket.filed.type, ticket.filed.priority, ticket.filed.source) == ("improvement", "P3", "opportunity")
        met = operations.last("INF-1", e.CriteriaMet)
        goal, *others = met.criteria
        assert (goal.metric, goal.condition, goal.met) == ("check_cost", "at least 10% better", True)
        assert {one.metric for one in others} == {"slow_share", "error_share", "wrong_denial_share", "available"}
        # by a value further up, that went through test, canary and deploy, and one step on nothing won any more
        assert stands_at(operations) in (value * 8, value * 64) and operations.happened(e.CanaryPassed)
        assert operations.runs_everywhere(operations.world.repository.main())
        # and every pair of measurements is on record, with its repetitions
        compared = [one for one in ticket.attempt.steps if one.tool == "compare_values"]
        seen = [operations.blobs.get_json(one.body) for one in compared if isinstance(one, e.ObservationRecorded)]
        assert len(seen) >= 10 and all(len(one["repetitions"]["challenger"]) == 7 for one in seen)
        assert operations.ledger.verify().ok
        # and it is no signal that goes on for ever
        assert [row["state"] for row in listed(operations.harness.record)] == ["ended"]

    run(story())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_machine_that_became_slower_for_all_is_no_argument_against_a_change(seed: int) -> None:
    async def story() -> None:
        # given a costly value, and others who begin to use the machine while its repair is deployed
        operations = await incident([setting(2)], seed=seed)
        await healthy(operations, 40)
        assert await offered(operations) is not None
        await operations.watch(lambda: operations.reached(State.DEPLOYING))
        operations.world.checks.slowed = 2.0
        await operations.watch(lambda: operations.reached(*ENDED))
        # then it is resolved, by what the same minute showed with the change and without it
        assert operations.ticket("INF-1").state is State.RESOLVED
        goal = operations.last("INF-1", e.CriteriaMet).criteria[0]
        frozen = operations.ticket("INF-1").admitted
        assert frozen is not None and frozen.criteria[0].baseline is not None and goal.beside is not None
        assert goal.measured.value and goal.beside.value and goal.measured.value < 0.9 * goal.beside.value
        assert goal.measured.value > 0.9 * (frozen.criteria[0].baseline.value or 0.0)

    run(story())


@pytest.mark.parametrize("seed", range(1, 6))
def test_where_no_other_value_wins_nothing_is_changed_and_nobody_is_called(seed: int) -> None:
    async def story() -> None:
        # given the value that the service ships with
        operations = await night(1000, seed=seed)
        # then nothing was touched: no commit on main, no order to a node, no share of the traffic
        assert operations.ticket("INF-1").state is State.CANCELLED and not operations.happened(e.ChangeProposed)
        assert {effect.kind for effect in operations.world.effects} == {"commit"}
        assert not operations.happened(e.HelpRequested)
        # and the end says why, by what was measured
        ended = operations.last("INF-1", e.TicketCancelled)
        assert ended.by == "harness" and "nothing won against it" in operations.blobs.get_json(ended.why)["text"]
        # the same value is not offered again until policy says so
        assert await offered(operations) is None
        (prospect,), _ = look(stage(operations))
        assert prospect.state == "known" and prospect.reason.startswith("INF-1 left it there")

    run(story())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_machine_that_became_faster_for_all_is_nobodys_improvement(seed: int) -> None:
    async def story() -> None:
        # given a value that stands well, measured at admission while others use the machine, until an agent looks
        operations = await incident([setting(1000)], seed=seed)
        await healthy(operations, 40)
        operations.world.checks.slowed = 2.0
        assert await offered(operations) is not None
        await operations.watch(lambda: operations.reached(State.WORKING))
        operations.world.checks.slowed = 1.0
        await operations.watch(lambda: operations.reached(*ENDED))
        # then nothing is called better for it: what is served was measured beside itself
        assert operations.ticket("INF-1").state is State.CANCELLED
        goal = operations.last("INF-1", e.CriteriaNotMet).criteria[0]
        frozen = operations.ticket("INF-1").admitted
        assert frozen is not None and frozen.criteria[0].baseline is not None and goal.beside is not None
        assert goal.measured.value and goal.measured.value < 0.9 * (frozen.criteria[0].baseline.value or 0.0)

    run(story())


def test_a_value_that_wins_on_the_probe_and_hurts_users_is_stopped_by_the_canary_and_not_tried_again() -> None:
    async def story() -> None:
        # given a service in which every other value of the file comes with errors, which the probe does not see
        operations = await incident([setting(2)], seed=3)
        await healthy(operations, 40)
        write = operations.world.repository.write

        def with_errors(path: str, text: str, onto: str, branch: str, key: str, message: str) -> str:
            return write(path, f"{text}error_share = 0.3\n", onto, branch, key, message)

        operations.world.repository.write = with_errors  # type: ignore[method-assign]
        before = operations.world.repository.main()
        # when it is tried
        await offered(operations)
        await operations.watch(lambda: operations.reached(*ENDED))
        # then users kept what they had, the second attempt let it be, and nobody was called
        ticket = operations.ticket("INF-1")
        assert (ticket.state, len(ticket.attempts)) == (State.CANCELLED, 2)
        assert isinstance(ticket.attempts[0].canary, e.CanaryFailed)
        assert operations.runs_everywhere(before)

    run(story())


def test_a_change_that_was_taken_back_is_no_other_tree_to_compare_with() -> None:
    async def story() -> None:
        # given a better value whose delivery was taken back, as far too much was admitted meanwhile
        operations = await incident([setting(2)], seed=3)
        await healthy(operations, 40)
        assert await offered(operations) is not None
        await operations.watch(lambda: operations.reached(State.VERIFYING))
        operations.world.disturb(Behaviour(over_admission_share=0.05))
        await operations.watch(lambda: operations.happened(e.RolledBack))
        # when the next attempt finds nothing to change
        await operations.watch(lambda: operations.reached(*ENDED))
        # then what is served is what was served at the begin, under another commit, and one run is both
        ticket = operations.ticket("INF-1")
        assert operations.happened(e.NothingToChange) and ticket.attempts[0].base != operations.world.repository.main()
        goal = operations.last("INF-1", e.CriteriaNotMet).criteria[0]
        assert goal.beside == goal.measured and ticket.state is State.CANCELLED

    run(story())


def test_policy_counts_offers_of_seven_days_from_the_ledger() -> None:
    async def story() -> None:
        # given a value that somebody sets anew after each offer
        operations = await night(1000)
        for number in range(2, RULES.opportunities.per_week + 1):
            operations.world.release([setting(1000 + number)])
            assert await offered(operations) == f"INF-{number}"
            await operations.watch(lambda n=number: operations.reached(*ENDED, ticket_id=f"INF-{n}"))  # type: ignore[misc]
        # then one more is refused, by name of the rule, and writes nothing
        operations.world.release([setting(900)])
        head = operations.ledger.head()
        with pytest.raises(Forbidden, match="per_week: 3"):
            await offered(operations)
        assert operations.ledger.head() == head
        # and allowed when the first is a week old
        await operations.world.clock.sleep(timedelta(days=7).total_seconds())
        assert await offered(operations) == f"INF-{RULES.opportunities.per_week + 1}"

    run(story())


def test_while_an_incident_is_worked_on_nothing_is_offered() -> None:
    async def story() -> None:
        # given a slow release, and its ticket under way
        operations = await incident([setting(2), *days_work(2, of=4)])
        await operations.watch(lambda: operations.reached(State.WORKING))
        # then what could be better has to wait
        with pytest.raises(Forbidden, match="INF-1 is an incident and working"):
            await offered(operations)
        # until it is over
        await operations.settle()
        assert await offered(operations) == "INF-2"

    run(story())


def test_of_many_filers_at_once_one_makes_the_ticket() -> None:
    async def story() -> None:
        operations = await incident([setting(2)])
        ids = await asyncio.gather(*(offered(operations) for _ in range(20)))
        assert set(ids) == {"INF-1"} and operations.tickets() == ["INF-1"]
        assert len(operations.events(OFFERS)) == 1

    run(story())


def test_what_cannot_be_measured_is_not_offered() -> None:
    async def story() -> None:
        operations = await incident([setting(2)])
        operations.world.repository.push(Change("broken", Behaviour(starts=False)), "people")
        with pytest.raises(Refused, match=r"check_cost of [0-9a-f]{12} cannot be measured"):
            await offered(operations)
        assert operations.tickets() == []

    run(story())


def test_an_undeclared_tunable_is_refused_with_the_nearest_name() -> None:
    async def story() -> None:
        operations = await incident([setting(2)])
        with pytest.raises(Invalid, match="answers-per-connection"):
            await offer(stage(operations), "answers-per-conection")

    run(story())


@pytest.mark.parametrize("seed", range(1, 5))
def test_it_goes_on_after_the_process_was_killed_anywhere_and_no_candidate_is_made_twice(seed: int) -> None:
    async def story() -> tuple[str, int, int]:
        operations = await incident([setting(2)], seed=1)
        await healthy(operations, 40)
        await offered(operations)
        chance = Random(seed)

        def maybe() -> None:
            if seed and chance.random() < 0.08:
                raise Crash

        def after_effect(effect: Effect) -> None:
            maybe()

        if seed:
            operations.ledger.before = operations.ledger.after = maybe
            operations.world.after_effect = after_effect
            operations.restart_workflow = seed % 2 == 0
        await operations.watch(lambda: operations.reached(*ENDED))
        assert operations.ticket("INF-1").state is State.RESOLVED
        commits = [effect.key for effect in operations.world.effects if effect.kind == "commit"]
        assert len(commits) == len(set(commits))
        assert operations.restarts > 3 and operations.ledger.verify().ok
        return operations.ticket("INF-1").attempt.runbook or "", stands_at(operations), len(commits)

    assert run(story())[1] in (16, 128)


def test_a_ledger_tells_why_each_pair_was_measured() -> None:
    async def story() -> None:
        operations = await night(2)
        rows = operations.ledger.read_stream(ticket_stream("INF-1"))
        told = [operations.blobs.get_json(row.data["call"]) for row in rows if row.type == e.ActionTaken.__name__]
        assert [one["tool"] for one in told[:2]] == ["read_tunable", "service_health"]
        assert told[2]["why"] == "pair 1: is 16 better than 2?"
        assert "wins by" in told[-2]["why"]

    run(story())
