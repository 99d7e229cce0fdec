"""The runbook of opportunities, walked over the answers of a made-up service. Reads the runbook of this checkout."""

from __future__ import annotations

from typing import Any

import pytest

from harness.adapters.declarations import read_yaml
from harness.agent.runbook import Runbook, choose, next_action
from harness.agent.toolbox import TOOLS
from harness.bootstrap import CHECKOUT
from harness.core.action import Action, Observation, Turn
from harness.core.errors import Broken, Invalid

BOOK = Runbook.parse(read_yaml(CHECKOUT / "runbooks" / "better-setting.yaml"), "better-setting.yaml")
TICKET = {"id": "INF-7", "signal": "keep", "metric": "cost", "failed_count": 0, "story": "Nothing was tried before."}
SETTING = {"name": "keep", "low": 1, "high": 4096, "value": 2, "factor": 8, "metric": "cost", "margin": 0.1,
           "lower_is_better": True}  # fmt: skip


def answer(action: Action, start: int = 2, unhealthy: int = 0) -> Observation:
    match action.tool:
        case "read_tunable":
            return Observation(ok=True, body={**SETTING, "value": start})
        case "service_health":
            return Observation(ok=True, body={"unhealthy_count": unhealthy, "unhealthy": ["n2"] * unhealthy})
        case "compare_values":
            values = {side: action.arguments[side] for side in ("challenger", "in_force")}
            return Observation(ok=True, body={f"of_{side}": 60 + 66 / value for side, value in values.items()})
    return Observation(ok=True, body={}, commit="c")


def session(ticket: dict[str, Any] = TICKET, **world: int) -> list[Turn]:
    turns: list[Turn] = []
    while not turns or TOOLS[turns[-1].action.tool].effect != "end":
        action = next_action(BOOK, ticket, turns, {})
        turns.append(Turn(action, answer(action, **world)))
    return turns


def test_it_is_chosen_for_opportunities_on_whatever_metric_and_for_nothing_else() -> None:
    assert choose([BOOK], "opportunity:keep", "any") is BOOK
    assert choose([BOOK], "opportunity:trend:any", "any") is None  # what lies ahead is no tunable
    assert choose([BOOK], "slo:latency", "cost") is None and choose([BOOK], None, "cost") is None


def test_what_wins_is_set_and_submitted_with_what_was_measured() -> None:
    turns = session()
    tools = [turn.action.tool for turn in turns]
    assert tools == ["read_tunable", "service_health", *["compare_values"] * 16, "set_tunable", "submit_change"]
    assert (turns[-2].action.arguments["tunable"], turns[-2].action.arguments["value"]) == ("keep", 16)
    assert "Set keep to 16, it was 2: cost is 31% better, by 16 pairs" in turns[-1].action.arguments["summary"]


def test_where_nothing_wins_nothing_is_changed() -> None:
    turns = session(start=1024)
    assert turns[-1].action.tool == "nothing_to_change"
    assert "keep stays at 1024" in turns[-1].action.arguments["why"]
    assert "4096 against 1024" in turns[-1].action.arguments["why"]


@pytest.mark.parametrize(
    ("ticket", "world", "said"),
    [({**TICKET, "failed_count": 1, "story": "The canary stopped it."}, {}, "The canary stopped it."),
     (TICKET, {"unhealthy": 1}, "these nodes do not serve: ['n2']")],
)  # fmt: skip
def test_after_a_failure_and_beside_trouble_it_lets_be(
    ticket: dict[str, Any], world: dict[str, int], said: str
) -> None:
    turns = session(ticket, **world)
    assert turns[-1].action.tool == "nothing_to_change" and said in turns[-1].action.arguments["why"]
    assert "compare_values" not in [turn.action.tool for turn in turns]


def test_a_tunable_that_is_not_there_is_a_question_to_a_person() -> None:
    first = next_action(BOOK, TICKET, [], {})
    gone = Turn(first, Observation(ok=False, body={"reason": "config.py: 0 lines"}))
    asked = next_action(BOOK, TICKET, [gone], {})
    assert asked.tool == "call_for_help" and "config.py: 0 lines" in asked.arguments["question"]


def test_it_goes_on_the_same_wherever_it_was_cut_off() -> None:
    turns = session()
    for done, turn in enumerate(turns):
        assert next_action(BOOK, TICKET, turns[:done], {}) == turn.action


def test_turns_that_are_no_walk_of_the_tree_are_refused() -> None:
    turns = session()
    with pytest.raises(Broken, match="at step climb"):
        next_action(BOOK, TICKET, [*turns[:2], turns[0]], {})


def test_a_climb_that_leads_nowhere_is_refused() -> None:
    document = read_yaml(CHECKOUT / "runbooks" / "better-setting.yaml")
    document["steps"]["climb"]["climb"]["found"] = "nowhere"
    with pytest.raises(Invalid, match="goes to `nowhere`"):
        Runbook.parse(document, "x.yaml")
