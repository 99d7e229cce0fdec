"""Signals and the tickets they ask for, from the declarations of this checkout. Reads those, changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from harness.adapters.declarations import load_windows
from harness.bootstrap import CHECKOUT, read_rules
from harness.core.signal import Signal, ticket_for
from harness.core.slo import Slo, parse_slos

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


def own(**changed: str) -> Slo:
    """An objective with counters of its own."""
    ratio = {"bad": "e_total", "total": "t_total"}
    given = {"name": "own", "target": "99.9%", "window": "30d", "indicator": {"ratio": ratio}, **changed}
    return parse_slos({"slos": [given]}, "f", load_windows(CHECKOUT / "slos/windows"))[0]


def test_an_objective_that_counts_for_itself_asks_for_itself_over_its_short_window() -> None:
    spec = ticket_for(replace(LATENCY, name="own"), [*RULES.slos, own()], RULES.invariants, 10)
    first, *others = spec.acceptance_criteria
    assert (first.metric, first.condition, first.duration) == ("error_ratio(own)", "< 0.1%", "300s sustained")
    assert {one.duration for one in others} == {"10s sustained"} and len(others) == 4
    assert type(spec).read({"ticket": spec.model_dump(mode="json")}, "again") == spec
    # and one without data asks to be measured again, no more
    (seen,) = ticket_for(replace(LATENCY, kind="no_data", name="own"), [own()], (), 10).acceptance_criteria
    assert (seen.metric, seen.condition, seen.duration) == ("error_ratio(own)", ">= 0%", "300s sustained")


def test_other_tickets_ask_for_it_where_their_time_is_enough_to_tell() -> None:
    rare, frequent = own(), own(window="demo", burn_rate_alert="2x")

    def metrics(slo: Slo) -> list[str]:
        return [one.metric for one in ticket_for(LATENCY, [*RULES.slos, slo], (), 10).acceptance_criteria]

    assert metrics(frequent) == ["slow_share", "error_share", "wrong_denial_share", "error_ratio(own)"]
    assert metrics(rare) == ["slow_share", "error_share", "wrong_denial_share"]


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
