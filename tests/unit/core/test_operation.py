"""What an action of the catalog may be asked for, its units, its way back, and the guards of its first unit."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from harness.adapters.declarations import read_yaml
from harness.bootstrap import CHECKOUT
from harness.core.canary import Counts, Limit
from harness.core.criteria import CriterionSpec
from harness.core.errors import Invalid
from harness.core.events import Operation, OperationStepped, Verb
from harness.core.operation import (
    Catalog,
    DryRun,
    GuardPlan,
    Precondition,
    Unit,
    allowed_share,
    facts,
    free_after,
    judge_guards,
    missing_target,
    units,
    way_back,
)

DOCUMENT = read_yaml(CHECKOUT / "policies" / "actions.yaml")
CATALOG = Catalog.parse(DOCUMENT, "actions.yaml")
AT = datetime(2026, 3, 2, tzinfo=UTC)


def added(count: int) -> Operation:
    return CATALOG.action("add_nodes").operation({"count": count})


def removed(node: str) -> Operation:
    return CATALOG.action("remove_node").operation({"node": node})


def step(verb: Verb, node: str, *, ok: bool = True) -> OperationStepped:
    return OperationStepped(attempt=1, ordinal=1, verb=verb, node=node, ok=ok, reason="" if ok else "why", at=AT)


# --- the catalog ---------------------------------------------------------------------------------------------------


def test_every_action_can_be_taken_back_by_one_of_the_catalog() -> None:
    names = {action.name for action in CATALOG.actions}
    assert {action.reversible_by for action in CATALOG.actions} <= names


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("add_node", {}, "`add_node` is not in the catalog; allowed: add_nodes, remove_node; nearest: add_nodes"),
        ("add_nodes", {}, "add_nodes: count: is missing"),
        ("add_nodes", {"count": 0}, "count: 0 is not from 1 to 3; wanted: how many nodes"),
        ("add_nodes", {"count": 4}, "count: 4 is not from 1 to 3"),
        ("add_nodes", {"count": "2"}, "count: '2' is not a whole number"),
        ("add_nodes", {"count": True}, "count: True is not a whole number"),
        ("add_nodes", {"count": 1, "node": "n4"}, "node: no such parameter; allowed: count"),
        ("remove_node", {"node": ""}, "node: '' is not a text"),
        ("remove_node", {"node": 4}, "node: 4 is not a text"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_what_can(name: str, parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as refused:
        CATALOG.action(name).operation(parameters)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("0.name", "reboot", "no way is known to do 'reboot'"),
        ("0.parameters", {}, "add_nodes takes count; declared:"),
        ("0.reversible_by", "prayer", "add_nodes is reversible by 'prayer', which is no action"),
        ("0.preconditions", [], "actions.yaml: actions[0].preconditions"),
        ("0.risk", "none", "actions[0].risk"),
        ("1.name", "add_nodes", "takes count"),
    ],
)
def test_a_bad_catalog_is_refused_with_the_place(path: str, value: Any, said: str) -> None:
    document = deepcopy(DOCUMENT)
    number, field = path.split(".")
    document["actions"][int(number)][field] = value
    with pytest.raises(Invalid) as refused:
        Catalog.parse(document, "actions.yaml")
    assert said in str(refused.value)


# --- units and the way back ----------------------------------------------------------------------------------------


def test_an_operation_falls_into_its_smallest_units() -> None:
    assert units(added(2)) == (Unit("start"), Unit("start"))
    assert units(removed("n2")) == (Unit("drain", "n2"), Unit("remove", "n2"))


def test_the_way_back_takes_back_what_was_done_last_first() -> None:
    assert way_back([step("start", "n4"), step("start", "n5", ok=False)]) == (
        Unit("drain", "n5"), Unit("remove", "n5"), Unit("drain", "n4"), Unit("remove", "n4"),
    )  # fmt: skip
    assert way_back([step("drain", "n2")]) == (Unit("restore", "n2"),)
    assert way_back([step("drain", "n2"), step("remove", "n2")]) == (Unit("start"),)
    assert way_back([step("start", "", ok=False)]) == way_back([]) == ()


# --- the dry run ---------------------------------------------------------------------------------------------------


def test_a_dry_run_says_how_much_would_be_free_at_the_same_demand() -> None:
    # given two nodes of which one answers and is used to five sixths
    seen = facts(added(1), ["n1", "n2"], ["n1"])
    assert seen == {"nodes": 2, "nodes_healthy": 1, "nodes_after": 3, "nodes_healthy_after": 2}
    assert free_after(1 / 6, seen) == pytest.approx(1 - 5 / 12)
    # then one that does not answer can go without a loss, and of the last one nothing would be left
    assert facts(removed("n2"), ["n1", "n2"], ["n1"])["nodes_healthy_after"] == 1
    assert free_after(1 / 6, facts(removed("n1"), ["n1"], ["n1"])) is None
    assert free_after(None, seen) is None


def test_what_was_not_measured_does_not_hold_and_a_target_that_is_not_there_is_named() -> None:
    unmeasured = Precondition(CriterionSpec.parse_text("available_after > 20%"), None)
    assert unmeasured.words == "available_after was not measured, wanted > 20%"
    missing = missing_target(removed("n9"), ("n1", "n2"))
    assert DryRun({}, (unmeasured,), missing).against == (
        "node n9 is not in the fleet; allowed: n1, n2; nearest: n2; available_after was not measured, wanted > 20%"
    )
    assert missing_target(removed("n1"), ("n1",)) is None and missing_target(added(1), ()) is None


# --- guards --------------------------------------------------------------------------------------------------------

PLAN = GuardPlan((Limit("slow", 0.10, design_effect=3.0), Limit("wrong", 0.01)), planned=2000, looks=3, alpha=0.05)


def look(total: int, *, slow: float = 0.01, wrong: float = 0.0) -> dict[str, Counts]:
    return {"slow": Counts(round(total * slow), total), "wrong": Counts(round(total * wrong), total)}


def test_guards_promote_after_all_looks_on_the_planned_requests_and_not_before() -> None:
    assert judge_guards(PLAN, []).decision == "continue"
    assert judge_guards(PLAN, [look(1000), look(2500)]).decision == "continue"
    assert judge_guards(PLAN, [look(500), look(1000), look(1999)]).decision == "continue"
    passed = judge_guards(PLAN, [look(800), look(1600), look(2400)])
    assert (passed.decision, passed.reason) == ("promote", "passed: 2400 requests")
    assert [(one.metric, one.role, one.judged.verdict) for one in passed.metrics] == [
        ("slow", "limit", "PASS"), ("wrong", "limit", "PASS"),
    ]  # fmt: skip


def test_guards_abort_at_the_first_look_that_shows_a_limit_broken() -> None:
    broken = judge_guards(PLAN, [look(800), look(1600, wrong=0.2), look(2400)])
    assert (broken.decision, broken.reason, broken.decided_at_look) == ("abort", "above_limit: wrong", 2)
    assert {one.metric: one.judged.verdict for one in broken.metrics} == {"slow": "NODATA", "wrong": "HIGH"}


def test_what_was_worse_before_is_the_limit() -> None:
    assert allowed_share(0.1, 0.02) == allowed_share(0.1, None) == 0.1
    assert allowed_share(0.1, 0.6) == 0.6
    assert allowed_share(0.1, 1.0) < 1


def test_what_was_worse_already_is_allowed_as_far_as_few_requests_can_tell() -> None:
    assert allowed_share(0.1, 0.93, samples=800, design_effect=3.0) == pytest.approx(0.9557, abs=1e-4)
    assert allowed_share(0.1, 0.93, samples=80_000) == pytest.approx(0.9315, abs=1e-4)
    assert allowed_share(0.1, 0.02, samples=800) == 0.1
