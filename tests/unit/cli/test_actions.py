"""`harness action …` lists what can be proposed and what a service offers. Runs the commands in this process."""

from __future__ import annotations

import json

import pytest

from harness.core.errors import Invalid
from tests.command_line import COMMANDS


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    COMMANDS(words, standalone_mode=False)
    return capsys.readouterr().out


def test_actions_of_the_catalog_and_of_the_service_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in json.loads(typed(capsys, "action", "list", "--json"))}
    assert {name: row["proposable"] for name, row in rows.items()} == {
        "add_nodes": True, "remove_node": True, "drain": False,
    }  # fmt: skip
    assert rows["drain"]["by"] == "ratelimiter"
    assert len(typed(capsys, "action", "list").splitlines()) == len(rows)


def test_an_action_is_shown_with_everything_that_it_asks(capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(typed(capsys, "action", "show", "add_nodes", "--json"))
    assert shown["parameters"]["count"] == {"type": "integer", "what": "how many nodes", "minimum": 1, "maximum": 3}
    assert shown["preconditions"] == ["nodes_after <= 6", "available_after > 20%"]
    told = typed(capsys, "action", "show", "add_nodes")
    assert "count (integer, 1 to 3): how many nodes" in told and "taken back by: remove_node" in told
    assert "cannot be proposed" in typed(capsys, "action", "show", "drain")


def test_an_unknown_action_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Invalid, match="nearest: drain"):
        COMMANDS(["action", "show", "drian"], standalone_mode=False)
