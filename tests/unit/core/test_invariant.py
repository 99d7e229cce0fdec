"""Invariants: as declared, and their state step by step. Pure values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.adapters.declarations import load_invariants, load_manifest
from harness.core.errors import Invalid
from harness.core.invariant import InvariantState, QueryFailed, parse_invariants, step

ROOT = Path(__file__).parents[3]
(HEADROOM,) = load_invariants(ROOT / "invariants")  # available > 20% for 3s

Reading = float | QueryFailed | None


def walk(*readings: Reading) -> list[InvariantState]:
    """One reading a second."""
    states: list[InvariantState] = []
    for at_s, reading in enumerate(readings):
        states.append(step(HEADROOM, states[-1] if states else None, reading, float(at_s)))
    return states


def test_the_sample_invariant_can_be_asked_of_the_sample_service() -> None:
    HEADROOM.check_fits(load_manifest(ROOT / "services/ratelimiter/service.yaml"))

    assert (HEADROOM.metric, HEADROOM.for_s, HEADROOM.on_violation) == ("available", 3.0, "auto_remediate")


def test_it_is_violated_once_it_failed_for_long_enough() -> None:
    states = walk(0.44, 0.17, 0.17, 0.17, 0.17, 0.44)

    assert [state.state for state in states] == ["ok", "pending", "pending", "pending", "violated", "ok"]
    assert states[4].reason == "available is 0.17, not > 20%"


def test_a_state_knows_since_when_it_is() -> None:
    assert [state.since_s for state in walk(0.44, 0.44, 0.17, 0.17, 0.17, 0.17, 0.17)] == [0, 0, 2, 2, 2, 5, 5]


def test_a_moment_of_health_starts_it_anew() -> None:
    assert [state.state for state in walk(0.1, 0.1, 0.1, 0.3, 0.1, 0.1, 0.1)][-1] == "pending"


@pytest.mark.parametrize(
    ("reading", "expected"),
    [(None, "no_data"), (float("nan"), "no_data"), (float("inf"), "no_data"), (QueryFailed("refused"), "query_failed")],
)
def test_no_data_is_neither_healthy_nor_violated(reading: Reading, expected: str) -> None:
    assert [state.state for state in walk(0.1, 0.1, 0.1, reading, 0.1)][3:] == [expected, "pending"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"condition": "available is fine"}, "f: invariants[0].condition: condition: condition 'is fine' is not"),
        ({"condition": "available no regression"}, "an invariant has no baseline"),
        ({"condition": "available > 20% for 3s"}, "write the duration at `for`"),
        ({"for": "soon"}, "f: invariants[0].for: 'soon' is not a number with a unit"),
        ({"for": "1e250d"}, "f: invariants[0].for: is longer than measurements are kept; at most 30d"),
        ({"for": "31d"}, "at most 30d"),
        ({"on_violation": "auto_remediation"}, "f: invariants[0].on_violation: "),
        (
            {"severity": "high"},
            "f: invariants[0].severity: unknown key; allowed: name, service, condition, for, on_viol",
        ),
    ],
)
def test_a_mistake_is_told_by_path_and_reason(changed: dict[str, Any], told: str) -> None:
    given = {
        "name": "headroom",
        "condition": "available > 20%",
        "for": "3s",
        "on_violation": "auto_remediate",
    } | changed

    with pytest.raises(Invalid) as refused:
        parse_invariants({"invariants": [given]}, "f")

    assert told in str(refused.value)


def test_metric_and_unit_have_to_fit_the_manifest() -> None:
    manifest = load_manifest(ROOT / "services/ratelimiter/service.yaml")
    given = {"name": "headroom", "for": "3s", "on_violation": "auto_remediate"}

    (unknown,) = parse_invariants({"invariants": [given | {"condition": "availble > 20%"}]}, "f")
    (unfit,) = parse_invariants({"invariants": [given | {"condition": "available > 20ms"}]}, "f")

    with pytest.raises(Invalid, match="nearest: available"):
        unknown.check_fits(manifest)
    with pytest.raises(Invalid, match="cannot be compared with a metric in %"):
        unfit.check_fits(manifest)
