"""Calling a tool badly is an answer to the agent, not a crash. Touches nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harness.agent.desk import Desk
from harness.agent.toolbox import TOOLS, call
from harness.core.action import Action

NO_DESK = cast(Desk, None)
"""None of these calls gets as far as the desk."""


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("restart_everything", {}, "no tool `restart_everything`; there are: query_metric, service_health"),
        ("query_metric", {"metric": "slow_share"}, "query_metric: window_s: Field required"),
        ("query_metric", {"metric": "slow_share", "window_s": 0}, "window_s: Input should be greater than 0"),
        ("git_diff", {"commit": "a", "path": "b"}, "git_diff: path: Extra inputs are not permitted"),
    ],
)
async def test_a_bad_call_comes_back_with_the_reason(tool: str, arguments: dict[str, Any], words: str) -> None:
    seen = await call(Action(tool=tool, arguments=arguments, why="a try"), NO_DESK)
    assert not seen.ok and words in seen.body["reason"]


def test_every_tool_says_what_kind_of_effect_it_has_and_what_it_takes() -> None:
    assert {tool.effect for tool in TOOLS.values()} == {"read", "work", "end"}
    assert all(tool.arguments.__doc__ and tool.call.__doc__ for tool in TOOLS.values())
