"""Parts by chance: what they may take of their ticket's budget, and how far a ticket may be split. Touches nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.adapters.declarations import load_manifest
from harness.core import events as e
from harness.core.errors import Invalid
from harness.core.parts import COUNTED, SUMMED, Above, failing_children, question, shared
from harness.core.policy import Splitting
from harness.core.ticket_spec import Budget, Child, TicketSpec

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANIFEST = load_manifest(Path(__file__).parents[2] / "services/ratelimiter/service.yaml")
CRITERIA = [{"metric": "slow_share", "condition": "< 10%"}]
amounts = st.none() | st.integers(1, 1000)
budgets = st.builds(
    Budget, **{name: amounts for name in SUMMED}, wall_clock=st.none() | st.integers(1, 999).map("{}s".format)
)


def child(children: Any = ()) -> dict[str, Any]:
    return {"objective": {"description": "x"}, "acceptance_criteria": CRITERIA, "children": list(children)}


forests = st.lists(st.recursive(st.just(child()), lambda inner: st.lists(inner, max_size=3).map(child), max_leaves=8),
                   min_size=1, max_size=6)  # fmt: skip


@given(
    budgets,
    st.lists(budgets, min_size=1, max_size=5),
    st.dictionaries(st.sampled_from(SUMMED), st.integers(0, 500)),
)
def test_parts_never_have_more_together_than_their_ticket_has_left(
    budget: Budget, asked: list[Budget], taken: dict[str, float]
) -> None:
    try:
        given_ = shared(budget, asked, taken, budget.wall_clock_s)
    except Invalid:
        return
    for name in SUMMED:
        most = getattr(budget, name)
        has = [getattr(one, name) for one in given_]
        for wanted, got in zip(asked, has, strict=True):
            assert getattr(wanted, name) in (None, got)
        if most is not None:
            assert None not in has and sum(has) <= max(0, most - taken.get(name, 0)) + 1e-9
            assert name not in COUNTED or min(has) >= 1
    if budget.wall_clock_s is not None:
        assert all(one.wall_clock_s is not None and one.wall_clock_s <= budget.wall_clock_s for one in given_)


@given(forests, st.builds(Splitting, depth=st.integers(1, 4), children=st.integers(1, 5), total=st.integers(1, 12)))
def test_what_is_let_through_keeps_to_every_limit_of_policy_however_deep(
    forest: list[dict[str, Any]], policy: Splitting
) -> None:
    spec = TicketSpec.parse({**child(forest), "type": "improvement", "service": MANIFEST.name}, "x")
    faults = list(failing_children(spec, spec.children, Above(), MANIFEST, policy, NOON, taken={}, left_s=None))

    def of(children: tuple[Child, ...], depth: int) -> list[tuple[int, int]]:
        """Depth and number of parts, wherever there are any."""
        here = [(depth, len(children))] if children else []
        return here + [pair for one in children for pair in of(one.children, depth + 1)]

    splits = of(spec.children, 1)
    fits = (
        max(depth for depth, _ in splits) <= policy.depth
        and max(count for _, count in splits) <= policy.children
        and sum(count for _, count in splits) <= policy.total
    )
    assert fits is not bool(faults), faults


@given(st.lists(st.sampled_from(["resolved", "rejected", "merged", "cancelled", "reverted"]), min_size=1, max_size=6))
def test_a_person_is_asked_unless_every_part_was_resolved_and_is_told_of_each_that_was_not(ends: list[str]) -> None:
    parts = [{"ticket_id": f"INF-{number}", "state": state} for number, state in enumerate(ends, start=2)]
    asked = question(e.ChildrenEnded.model_validate({"children": parts}))
    assert (asked is None) is (set(ends) == {"resolved"})
    for one in parts:
        assert asked is None or one["state"] == "resolved" or f"{one['ticket_id']} is {one['state']}" in asked
