"""The harness dies at any point of an incident and goes on: the end is the same, and nothing is done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import pytest

from harness.bootstrap import Rules
from harness.core import events as e
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.effects import Effect
from harness.simulation.service import HEALTHY, Behaviour, Change
from harness.simulation.world import World
from harness.stages.observe import BEAT_TICKS
from tests.simulation.operations import MANIFEST, RULES, SLOW, Crash, Operations, days_work, healthy, incident

SAMPLE = 60
"""Points at which the process dies just once; the runs in which it keeps dying cover the others."""


@dataclass
class Saboteur:
    """Counts the points at which a process can die: before and after each append, and after each effect."""

    dies_at: Callable[[int], bool]
    points: int = 0

    def point(self) -> None:
        self.points += 1
        if self.dies_at(self.points):
            raise Crash(f"at point {self.points}")


@dataclass(frozen=True)
class Outcome:
    """What a run left behind, in words that don't depend on when it happened."""

    state: State | None
    effects: Counter[str]
    events: Counter[str]
    points: int
    restarts: int
    sound: bool


@dataclass(frozen=True)
class Plot:
    """What somebody releases, machines that die, and trouble from outside that begins with a named effect: the last
    swap of the first delivery, if nothing else is said."""

    changes: tuple[Change, ...] = ()
    trouble: Behaviour = HEALTHY
    attempts: int = 1
    lost: tuple[str, ...] = ()
    trouble_with: str = "n3 INF-1/1/deploy/n3"
    runbooks: bool = True


def breaking(without: Behaviour) -> tuple[Change, ...]:
    return (*days_work(1, of=4), Change("on-it", needs="change-1", without=without))


PLOTS = {
    "repaired": Plot(tuple(days_work(1, of=4))),
    "checks fail": Plot(breaking(Behaviour(checks_pass=False))),
    "release does not start": Plot(breaking(Behaviour(starts=False))),
    "canary fails": Plot(breaking(Behaviour(error_share=0.5))),
    "rolled back": Plot(tuple(days_work(1, of=4)), trouble=SLOW, attempts=2),
    "nodes replaced": Plot(lost=("n1", "n3")),
    "operation taken back": Plot(lost=("n1", "n3"), trouble=SLOW, trouble_with="INF-1/1/unit-2"),
    "misled at first": Plot(
        (Change(MANIFEST.configuration[0]), Change("denying", Behaviour(wrong_denial_share=0.3)), Change("innocent")),
        attempts=2,
    ),
    "nobody knows how": Plot((Change("denying", Behaviour(wrong_denial_share=0.3)),), runbooks=False),
}


def rules_of(plot: Plot) -> Rules:
    admission = RULES.profile.admission.model_copy(update={"attempts": plot.attempts})
    profile = RULES.profile.model_copy(update={"admission": admission})
    return replace(RULES, profile=profile, runbooks=RULES.runbooks if plot.runbooks else ())


async def incident_under_sabotage(
    plot: Plot, dies_at: Callable[[int], bool], *, restart_workflow: bool = False
) -> Outcome:
    """From the tick that files the ticket to its end; the process dies at the points of this incident."""
    operations = Operations.on(World(MANIFEST, seed=3), rules=rules_of(plot))
    operations.restart_workflow = restart_workflow
    world, saboteur = operations.world, Saboteur(dies_at)

    def after_effect(effect: Effect) -> None:
        if effect.key == plot.trouble_with:
            world.disturb(plot.trouble)
        saboteur.point()

    world.release()
    await world.clock.sleep(14)
    memory = await operations.do("watch_tick", None)
    world.release(plot.changes)
    for node in plot.lost:
        world.kill(node)
    for _ in range(3 if plot.lost else 0):  # an invariant has to be seen broken for as long as it may be
        await world.clock.sleep(1)
        memory = await operations.do("watch_tick", memory)
    await world.clock.sleep(1 if plot.lost else 6)
    world.after_effect = after_effect
    operations.ledger.before = operations.ledger.after = saboteur.point
    await operations.do("watch_tick", memory if plot.lost else None)
    await operations.carry_to_a_person("INF-1")
    return Outcome(
        state=operations.state("INF-1"),
        effects=Counter(_what(effect) for effect in world.effects),
        events=Counter(row.type for row in operations.ledger.read_all() if row.type != e.CanaryLooked.__name__),
        points=saboteur.points,
        restarts=operations.restarts,
        sound=(
            operations.ledger.verify().ok
            and operations.runs_everywhere(world.repository.main())
            and len({(effect.kind, effect.key) for effect in world.effects}) == len(world.effects)
        ),
    )


def _what(effect: Effect) -> str:
    """Main's moves are named by commits, whose ids depend on the time: how many there were has to do."""
    return effect.kind if effect.kind == "main" else f"{effect.kind} {effect.key}"


@cache
def undisturbed(plot: str) -> Outcome:
    return run(incident_under_sabotage(PLOTS[plot], lambda point: False))


def same(outcome: Outcome, expected: Outcome, *, restart_workflow: bool) -> bool:
    """A workflow that begins anew does not go back to a session that has ended: its last answer may be missing."""
    lost = Counter({e.ObservationRecorded.__name__: 1_000 if restart_workflow else 0})
    return (
        outcome.sound
        and outcome.state is expected.state
        and outcome.effects == expected.effects
        and outcome.events - lost == expected.events - lost
    )


def test_an_undisturbed_incident_does_each_thing_once() -> None:
    outcome = undisturbed("repaired")
    assert outcome.state is State.RESOLVED and outcome.sound and outcome.restarts == 0
    assert set(outcome.effects.values()) == {1}
    kinds = Counter(what.split()[0] for what in outcome.effects)
    assert kinds == {"commit": 1, "weights": 3, "main": 1, "order": 7}


@pytest.mark.parametrize("restart_workflow", [False, True], ids=["activity-retried", "workflow-begun-anew"])
def test_a_crash_at_any_point_changes_nothing_and_does_nothing_twice(
    restart_workflow: bool, record_property: Callable[[str, object], None]
) -> None:
    expected = undisturbed("repaired")
    chosen = sorted(Random(11 + restart_workflow).sample(range(1, expected.points + 1), SAMPLE // 2))
    broken = {}
    for point in chosen:
        outcome = run(incident_under_sabotage(PLOTS["repaired"], point.__eq__, restart_workflow=restart_workflow))
        if outcome.restarts != 1 or not same(outcome, expected, restart_workflow=restart_workflow):
            broken[point] = outcome
    record_property("points", expected.points)
    record_property("crashes", len(chosen))
    assert broken == {}


@pytest.mark.parametrize("plot", PLOTS)
def test_a_process_that_dies_at_every_third_point_reaches_the_same_end(plot: str) -> None:
    """Three, because points come in pairs around an append: so it dies before some and after others."""
    expected = undisturbed(plot)
    outcome = run(incident_under_sabotage(PLOTS[plot], lambda point: point % 3 == 0))
    assert outcome.restarts >= expected.points // 3
    assert same(outcome, expected, restart_workflow=False)


@pytest.mark.parametrize("plot", ["repaired", "rolled back", "nodes replaced"])
def test_a_workflow_that_begins_anew_again_and_again_reaches_the_same_end(plot: str) -> None:
    expected = undisturbed(plot)
    outcome = run(incident_under_sabotage(PLOTS[plot], lambda point: point % 11 == 4, restart_workflow=True))
    assert outcome.restarts >= expected.points // 14
    assert same(outcome, expected, restart_workflow=True)


@pytest.mark.parametrize("away_s", [7.6, 30.0])
def test_a_process_that_is_away_in_a_canary_takes_no_time_from_it(away_s: float) -> None:
    async def story() -> None:
        # given a canary that had its first looks when the process dies
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.happened(e.CanaryLooked))

        def dies() -> None:
            operations.ledger.before = lambda: None
            operations.restart_s = away_s
            raise Crash

        operations.ledger.before = dies
        # when it comes back only after a while
        await operations.settle()
        # then the steps that were left are held for their whole time, and the change is judged as without the crash
        (attempt,) = operations.ticket("INF-1").attempts
        assert operations.restarts == 1 and operations.reached(State.RESOLVED)
        first, last = attempt.canary_steps
        assert (last.at - first.at).total_seconds() > away_s
        judged_after_s = (attempt.looks[-1].window_to - last.at).total_seconds()
        assert judged_after_s >= RULES.profile.canary.steps[-1].hold_s - 1
        # and only the steps are told as waiting for evidence: nobody waited for anything while the process was away
        assert attempt.canary is not None
        windows = [wait for wait in attempt.canary.waits if wait.kind == "query_window"]
        waited_s = sum((wait.closed_at - wait.opened_at).total_seconds() for wait in windows)
        policy = RULES.profile.canary
        assert waited_s <= sum(step.hold_s for step in policy.steps) + policy.extension_s

    run(story())


def test_a_watch_that_dies_at_its_heartbeat_tells_it_once() -> None:
    async def story() -> None:
        # given a watch whose process dies right after its heartbeat was recorded
        operations = Operations.on(World(MANIFEST))
        operations.world.release()
        await healthy(operations, BEAT_TICKS)

        def dies() -> None:
            if operations.events("watch") and operations.restarts == 0:
                raise Crash

        operations.ledger.after = dies
        # when it goes on
        await healthy(operations, 5)
        # then the same minute is not told twice, nor told differently
        (beat,) = operations.events("watch")
        assert operations.restarts == 1
        assert isinstance(beat, e.WatchBeat) and beat.ticks == BEAT_TICKS
        assert beat.requests == pytest.approx(400 * (BEAT_TICKS - 1), rel=0.02)

    run(story())
