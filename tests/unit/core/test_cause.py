"""What is grouped, what flaps, what has come back; and labels in the name of a cause. Values only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from harness.bootstrap import read_rules
from harness.core import events as e
from harness.core.cause import failed, recurrence_of, transitions, why_together
from harness.core.ids import fingerprint
from harness.core.lifecycle import Life, State
from harness.core.signal import Signal, ticket_for
from harness.core.ticket import Attempt, Ticket
from harness.core.ticket_spec import Criterion

RULES = read_rules()
POLICY = RULES.profile.causes
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BLOB = "sha256:" + "0" * 64
ATTEMPT = Attempt(1, "runbook", "b", None, NOON)


def signal(kind: Literal["slo", "invariant"] = "slo", name: str = "availability", **more: Any) -> Signal:
    given = {"service": "ratelimiter", "sampled_at": NOON + timedelta(seconds=3), "began_at": NOON, **more}
    return Signal(kind=kind, name=name, **given)


LEAD = signal(name="latency")
SPEC = ticket_for(LEAD, RULES.slos, RULES.invariants, 10)


def lead(priority: str = "P1", state: State = State.WORKING, attempts: tuple[Attempt, ...] = (ATTEMPT,)) -> Ticket:
    filed = e.TicketFiled.model_validate(
        {"ticket_id": "INF-1", "type": "incident", "service": "ratelimiter", "priority": priority, "source": "slo",
         "spec": BLOB, "fingerprint": LEAD.fingerprint, "signal": "slo:latency"}
    )  # fmt: skip
    return Ticket("INF-1", filed, NOON, life=Life(state=state, attempt=len(attempts)), attempts=attempts)


def why(one: Signal, ticket: Ticket) -> str | None:
    return why_together(
        one, ticket_for(one, RULES.slos, RULES.invariants, 10), ticket, SPEC, POLICY.together_s
    )  # fmt: skip


def test_what_begins_together_and_asks_for_the_same_is_grouped_with_the_reason() -> None:
    assert why(signal(), lead()) == (
        "it began 3s after slo:latency of the same service, and the criteria of INF-1 hold all that a ticket of its "
        "own would ask"
    )


STARTED = e.StartMeasured(attempt=1, measured=(), waits=())
FAILED = e.ChecksFailed(attempt=1, commit="c", tree=None, outcomes=(), reason="r", waits=())


@pytest.mark.parametrize(
    ("one", "ticket"),
    [
        (signal("invariant", "capacity_headroom"), lead()),
        (signal(service="another"), lead()),
        (signal(sampled_at=NOON + timedelta(seconds=POLICY.together_s + 1)), lead()),
        (signal(), lead(priority="P2")),
        (signal(), lead(state=State.RESOLVED)),
        (signal(), lead(state=State.ESCALATED, attempts=())),
        (signal(), lead(state=State.VERIFYING, attempts=(replace(ATTEMPT, start=STARTED),))),
        (signal(), lead(attempts=(replace(ATTEMPT, checks=FAILED),))),
    ],
    ids=[
        "other kind", "other service", "too late", "more urgent", "over", "left to people", "its own doing", "given up",
    ],
)  # fmt: skip
def test_what_may_have_another_cause_or_would_lose_by_it_is_not_grouped(one: Signal, ticket: Ticket) -> None:
    assert why(one, ticket) is None


def test_what_asks_for_more_than_the_ticket_is_not_grouped() -> None:
    spec = ticket_for(signal(), RULES.slos, RULES.invariants, 10)
    more = spec.model_copy(
        update={"acceptance_criteria": (*spec.acceptance_criteria, Criterion(metric="slow_share", condition="< 1%"))}
    )
    assert why_together(signal(), more, lead(), SPEC, POLICY.together_s) is None


def test_a_group_is_given_up_with_the_first_attempt_that_fails() -> None:
    assert not failed(lead())
    assert failed(lead(attempts=(replace(ATTEMPT, checks=FAILED), replace(ATTEMPT, n=2))))


def test_changes_are_counted_within_the_window_alone() -> None:
    changed_at = [NOON - timedelta(seconds=POLICY.flapping.within_s * share) for share in (2, 1.01, 1, 0.5, 0)]
    assert transitions(changed_at, POLICY.flapping, NOON) == 3
    # what began and ended until a repair did so for a reason that is gone
    assert transitions(changed_at, POLICY.flapping, NOON, repaired_at=changed_at[3]) == 1


def test_a_cause_has_come_back_within_the_quiet_period_and_not_after_it() -> None:
    closed_at = NOON - timedelta(seconds=POLICY.quiet_period_s)
    assert recurrence_of("INF-1", closed_at, POLICY, NOON) == "INF-1"
    assert recurrence_of("INF-1", closed_at, POLICY, NOON + timedelta(seconds=1)) is None
    assert recurrence_of(None, None, POLICY, NOON) is None


def test_labels_name_another_cause_whatever_their_order_and_none_leave_the_name_as_it_was() -> None:
    plain, disk = signal().fingerprint, signal(labels={"node": "n1", "disk": "sda"}).fingerprint
    assert plain == fingerprint("slo", "ratelimiter", "availability")
    assert disk == signal(labels={"disk": "sda", "node": "n1"}).fingerprint
    assert len({plain, disk, signal(labels={"disk": "sdb", "node": "n1"}).fingerprint}) == 3
