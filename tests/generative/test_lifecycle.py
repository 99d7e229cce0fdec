"""Lives of tickets by chance: none leaves the table, ends are ends, and time adds up. Touches nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.core import events as e
from harness.core.errors import Forbidden
from harness.core.lifecycle import BACK, ENDS, LIVE, NOTES, TABLE, Life, State, evolve, possible
from harness.core.timeline import PHASE_OF, overhead_s, phases

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KINDS = sorted(e.EVENTS.values(), key=lambda kind: kind.__name__)


def event(kind: type[e.Event], **fields: Any) -> e.Event:
    return kind.model_construct(**{"attempt": 1, "token": 7, "final": False, **fields})


@st.composite
def lives(draw: st.DrawFn, longest: int = 25) -> list[tuple[Life, e.Event]]:
    """Steps (life before, event) of a ticket, each by chance one of those that are possible."""
    life, steps = Life(), []
    for _ in range(draw(st.integers(0, longest))):
        if not (names := possible(life.state)):
            break
        chosen = event(e.EVENTS[draw(st.sampled_from(names))], final=draw(st.booleans()))
        steps.append((life, chosen))
        life = evolve(life, chosen)
    return steps


def after(steps: list[tuple[Life, e.Event]]) -> Life:
    return evolve(*steps[-1]) if steps else Life()


@given(st.lists(st.sampled_from(KINDS), max_size=40), st.booleans())
def test_no_order_of_events_leaves_the_table(kinds: list[type[e.Event]], final: bool) -> None:
    life = Life()
    for kind in kinds:
        try:
            following = evolve(life, event(kind, final=final))
        except Forbidden:
            assert (life.state, kind) not in TABLE and life.state not in NOTES.get(kind, frozenset())
            continue
        assert kind.__name__ in possible(life.state)
        if (life.state, kind) not in TABLE:
            assert following.state is life.state
        life = following


@given(lives())
def test_whoever_is_held_knows_where_to_go_back_to(steps: list[tuple[Life, e.Event]]) -> None:
    for life in [*(before for before, _ in steps), after(steps)]:
        assert bool(life.held) == (life.state in {State.PAUSED, State.AWAITING_APPROVAL}) or life.state in ENDS
        assert set(life.held) <= LIVE - {State.PAUSED}


@given(lives())
def test_an_end_is_an_end(steps: list[tuple[Life, e.Event]]) -> None:
    for life, chosen in steps:
        if life.state in ENDS:
            reverted = life.state is State.RESOLVED and isinstance(chosen, e.ChangeReverted)
            assert evolve(life, chosen).state is (State.REVERTED if reverted else life.state)


@given(lives(), st.lists(st.booleans(), max_size=6))
def test_after_any_holds_and_pauses_a_ticket_is_where_it_was(
    steps: list[tuple[Life, e.Event]], holds: list[bool]
) -> None:
    """True: held for an approval, False: paused; each only where it is possible. Undone in the opposite order."""
    life = now = after(steps)
    undone: list[type[e.Event]] = []
    undo: type[e.Event]
    for approval in holds:
        hold, undo = (e.ApprovalRequested, e.ApprovalGranted) if approval else (e.TicketPaused, e.TicketResumed)
        if hold.__name__ in possible(now.state):
            now = evolve(now, event(hold))
            undone.append(undo)
    for undo in reversed(undone):
        now = evolve(now, event(undo))
    assert now == life


def test_every_live_state_has_a_way_to_be_resolved() -> None:
    """Not only by cancelling."""
    ways: dict[State, set[State]] = {state: set() for state in State}
    for (state, _), target in TABLE.items():
        ways[state] |= LIVE - {State.PAUSED} if target == BACK else {State(target)}
    resolving = {State.RESOLVED}
    while more := {state for state, targets in ways.items() if targets & resolving} - resolving:
        resolving |= more
    assert resolving >= LIVE


@given(lives(), st.data())
def test_the_phases_of_a_ticket_sum_to_its_time_and_waiting_is_a_part_of_each(
    steps: list[tuple[Life, e.Event]], data: st.DataObject
) -> None:
    """Every second between two events is in exactly one phase, but for those in which a person has the ticket."""
    seconds = st.floats(0, 100)
    began_at, at = NOON, NOON + timedelta(seconds=data.draw(seconds))
    history: list[tuple[datetime, e.Event]] = [(at, event(e.TicketFiled))]
    expected = (at - began_at).total_seconds()
    if after(steps).state in LIVE:
        steps = [*steps, (after(steps), event(e.TicketCancelled))]
    for life, chosen in steps:
        if isinstance(chosen, e.TicketFiled):
            continue
        before, at = at, at + timedelta(seconds=data.draw(seconds))
        expected += (at - before).total_seconds() if life.state in PHASE_OF else 0.0
        opened_at = NOON + timedelta(seconds=data.draw(seconds))
        wait = e.Wait(
            kind="check", what="x", opened_at=opened_at, closed_at=opened_at + timedelta(seconds=data.draw(seconds))
        )
        history.append((at, chosen.model_copy(update={"waits": (wait,)})))
    told = phases(history, began_at=began_at, signal_waits=())
    assert abs(sum(phase.seconds for phase in told) - expected) < 1e-3
    assert all(-1e-6 <= phase.waiting_s <= phase.seconds + 1e-6 for phase in told)
    assert overhead_s(told) >= -1e-6
