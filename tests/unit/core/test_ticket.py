"""Ticket files as they are read, and tickets as their events tell them. Touches nothing."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.core import events as e
from harness.core.criteria import CriterionSpec
from harness.core.errors import Broken, Forbidden, Invalid
from harness.core.lifecycle import State
from harness.core.record import Recorded
from harness.core.ticket import Ticket, apply, fold
from harness.core.ticket_spec import TicketSpec
from harness.journal import decode

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILE: dict[str, Any] = {
    "ticket": {
        "type": "incident",
        "service": "ratelimiter",
        "objective": {"description": "Answer in time again"},
        "acceptance_criteria": [{"metric": "slow_share", "condition": "< 10%", "duration": "10s sustained"}],
    }
}


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    document = deepcopy(FILE)
    inner: Any = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return document


def test_a_ticket_file_says_what_has_to_hold() -> None:
    spec = TicketSpec.read(FILE, "ticket.yaml")
    assert spec.priority == "P2" and spec.context.notes == ""
    (criterion,) = spec.acceptance_criteria
    assert criterion.spec().condition.holds(0.09) is True and criterion.spec().condition.holds(0.11) is False


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "ticket.yaml: a ticket file has exactly one key, `ticket`"),
        (changed(("ticket", "type"), "wish"), "ticket.yaml: ticket: type"),
        (changed(("ticket", "objective", "description"), ""), "objective.description"),
        (changed(("ticket", "acceptance_criteria"), []), "acceptance_criteria"),
        (changed(("ticket", "acceptance_criteria", 0, "metrics"), "x"), "metrics"),
    ],
)
def test_a_bad_ticket_file_is_refused_with_the_place(document: Any, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        TicketSpec.read(document, "ticket.yaml")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"budget": {"tokens": True}}, "budget.tokens: true is no number; write it like `2`, without quotes"),
        ({"budget": {"usd": "2"}}, 'budget.usd: "2" is no number; write it like `2`, without quotes'),
        ({"acceptance_criteria": 3}, "acceptance_criteria: should be a list, not 3"),
        ({"children": [3]}, "children[0]: should be keys, each with its value, not 3"),
        ({"labels": []}, "labels: should be keys, each with its value"),
    ],
)
def test_what_is_of_another_form_is_told_in_words_of_the_document(changed: dict[str, Any], said: str) -> None:
    given = {
        "type": "incident", "service": "s", "objective": {"description": "x"},
        "acceptance_criteria": [{"metric": "m", "condition": "< 1"}], **changed,
    }  # fmt: skip
    with pytest.raises(Invalid) as refused:
        TicketSpec.read({"ticket": given}, "f")
    assert str(refused.value) == f"f: ticket: {said}"


def test_a_value_that_would_be_read_as_zero_is_refused_and_zero_is_not() -> None:
    for text, written in (("< 0ms", "< 0ms"), ("< 0.00e-9ms", "< 0ms"), ("< 1e-300ms", "< 1e-300ms")):
        assert CriterionSpec.parse(metric="m", condition=text, duration=None).condition.text == written
    with pytest.raises(Invalid, match="'1e-400ms' is so small that nothing tells it from 0"):
        CriterionSpec.parse(metric="m", condition="< 1e-400ms", duration=None)


def test_a_criterion_that_is_not_understood_names_its_field() -> None:
    spec = TicketSpec.read(changed(("ticket", "acceptance_criteria", 0, "condition"), "lower"), "ticket.yaml")
    with pytest.raises(Invalid, match=r"condition: .*lower"):
        spec.acceptance_criteria[0].spec()


def told(*events: e.Event) -> Ticket:
    filed = event(e.TicketFiled, ticket_id="INF-1", signal_began_at=None)
    ticket = fold((f"id-{n}", NOON + timedelta(seconds=n), event) for n, event in enumerate((filed, *events)))
    assert ticket is not None
    return ticket


def event(kind: type[e.Event], **fields: Any) -> e.Event:
    return kind.model_construct(**{"attempt": 1, "token": 1, **fields})


STARTED = (
    event(e.TicketAdmitted), event(e.AttemptStarted, agent="runbook", base="a", runbook=None),
)  # fmt: skip
DELIVERED = (
    event(e.ChangeProposed), event(e.LockAcquired), event(e.ChecksPassed), event(e.CanaryPassed),
    event(e.MainMoved, before="a", after="b"), event(e.NodeSwapped, node="n1"), event(e.ReleaseDeployed),
)  # fmt: skip


def test_a_ticket_is_what_its_events_say() -> None:
    ticket = told(*STARTED, *DELIVERED, event(e.CriteriaMet))
    assert ticket.state is State.RESOLVED and ticket.version == 11
    assert ticket.closed_at == NOON + timedelta(seconds=10)
    assert ticket.attempt.deployed_at == NOON + timedelta(seconds=9)
    assert ticket.recorded["id-8"] == DELIVERED[5]


def test_an_attempt_remembers_the_first_move_of_main_when_it_is_taken_back() -> None:
    back = event(e.MainMoved, before="b", after="c")
    ticket = told(*STARTED, *DELIVERED, back, event(e.RolledBack), event(e.CriteriaNotMet))
    assert ticket.attempt.main_moved == DELIVERED[4]
    assert ticket.attempt.rolled_back is not None and ticket.closed_at is None


def test_each_attempt_has_its_own_story() -> None:
    again = event(e.AttemptStarted, attempt=2, agent="runbook", base="b", runbook=None)
    ticket = told(*STARTED, event(e.ChangeProposed), event(e.ChecksFailed), again)
    first, second = ticket.attempts
    assert first.checks is not None and second.checks is None and second.started_at == NOON + timedelta(seconds=5)


def test_a_ticket_that_is_reverted_keeps_the_time_at_which_it_closed() -> None:
    ticket = told(*STARTED, *DELIVERED, event(e.CriteriaMet), event(e.ChangeReverted))
    assert ticket.state is State.REVERTED and ticket.closed_at == NOON + timedelta(seconds=10)


def test_no_events_are_no_ticket_and_a_story_begins_at_its_beginning() -> None:
    assert fold([]) is None
    with pytest.raises(Invalid, match="begins with TicketFiled, not with TicketAdmitted"):
        fold([("id-1", NOON, STARTED[0])])
    with pytest.raises(Forbidden, match="CriteriaMet cannot happen"):
        told(event(e.CriteriaMet))


def test_an_event_of_another_shape_is_told_by_its_position() -> None:
    row = Recorded(
        id="0" * 8 + "-0000-0000-0000-" + "0" * 12, type="MainMoved", schema_version=1, data={"before": "a"},
        actor="harness", causation_id=None, correlation_id=None, occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        stream="ticket-INF-1", version=1, position=7, recorded_at=datetime(2026, 1, 1, tzinfo=UTC), prev_hash="",
        hash="",
    )  # fmt: skip

    with pytest.raises(Broken, match="position 7: MainMoved"):
        decode(row)


def test_a_folded_stream_is_what_one_event_after_the_other_makes_of_it() -> None:
    steps = [event(e.ActionTaken, step=1), event(e.ObservationRecorded, step=1), event(e.ActionTaken, step=2)]
    again = [event(e.AttemptStarted, attempt=2, agent="runbook", base="a", runbook=None), *steps]
    lived = [event(e.TicketFiled, ticket_id="INF-1"), *STARTED, *steps, event(e.ChangeProposed), steps[1]]
    lived += [event(e.LockAcquired), event(e.ChecksFailed), event(e.LockReleased), *again]
    history = [(f"id-{n}", NOON + timedelta(seconds=n), one) for n, one in enumerate(lived)]

    one_by_one = None
    for seen, (identity, at, one) in enumerate(history, 1):
        one_by_one = apply(one_by_one, identity, at, one)
        assert fold(history[:seen]) == one_by_one

    assert one_by_one is not None
    assert [len(attempt.steps) for attempt in one_by_one.attempts] == [4, 3]


def test_nobody_can_change_what_a_ticket_says_is_recorded() -> None:
    ticket = told()
    with pytest.raises(TypeError):
        ticket.recorded["id-1"] = DELIVERED[0]  # type: ignore[index]
