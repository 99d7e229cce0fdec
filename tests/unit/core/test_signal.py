"""Signals and the tickets they ask for, from the declarations of this checkout. Reads those, changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from harness.bootstrap import read_rules
from harness.core.signal import Signal, ticket_for

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = read_rules()
LATENCY = Signal(
    kind="slo", name="latency", service="ratelimiter", sampled_at=NOON, began_at=NOON, evidence={"reason": "it burns"}
)


def asked(signal: Signal) -> list[tuple[str, str]]:
    spec = ticket_for(signal, RULES.slos, RULES.invariants, 10)
    return [(criterion.metric, criterion.condition) for criterion in spec.acceptance_criteria]


def test_a_burning_objective_asks_for_itself_first_then_for_all_others_and_the_invariants() -> None:
    assert asked(LATENCY) == [
        ("slow_share", "< 10%"), ("error_share", "< 1%"), ("wrong_denial_share", "< 1%"), ("available", "> 20%"),
    ]  # fmt: skip
    assert asked(replace(LATENCY, name="availability"))[0] == ("error_share", "< 1%")


def test_a_broken_invariant_asks_for_itself_first() -> None:
    headroom = replace(LATENCY, kind="invariant", name="capacity_headroom")
    assert asked(headroom)[0] == ("available", "> 20%")
    spec = ticket_for(headroom, RULES.slos, RULES.invariants, 10)
    assert spec.objective.description == "Restore the invariant capacity_headroom of ratelimiter"


def test_the_ticket_says_why_and_how_urgent_and_can_be_read_back() -> None:
    spec = ticket_for(LATENCY, RULES.slos, RULES.invariants, 10)
    assert (spec.type, spec.priority, spec.context.notes) == ("incident", "P1", "it burns")
    assert spec.objective.description == "Bring the latency SLO of ratelimiter back to its objective of 90%"
    assert {criterion.duration for criterion in spec.acceptance_criteria} == {"10s sustained"}
    assert all(criterion.spec() for criterion in spec.acceptance_criteria)
    assert type(spec).read({"ticket": spec.model_dump(mode="json")}, "again") == spec


def test_a_cause_has_one_name_however_often_and_whenever_it_fires() -> None:
    later = replace(LATENCY, sampled_at=NOON.replace(hour=13), evidence={"reason": "again"})
    assert later.fingerprint == LATENCY.fingerprint
    others = [replace(LATENCY, name="availability"), replace(LATENCY, kind="invariant"), replace(LATENCY, service="x")]
    assert len({LATENCY.fingerprint, *(other.fingerprint for other in others)}) == 4
