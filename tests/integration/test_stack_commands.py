"""What a person and a program see of ``harness status`` and ``harness down`` where nothing runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from harness.adapters.stack.components import NAMES
from harness.cli.stack import down, status


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "var"))
    app = typer.Typer()
    app.command()(down)
    app.command()(status)
    return app


def test_status_of_a_home_without_a_stack_is_no_and_names_every_part(app: typer.Typer, tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["status", "--json"])
    assert answer.exit_code == 1
    document = json.loads(answer.stdout)
    assert document["home"] == str((tmp_path / "var").resolve())
    assert [part["name"] for part in document["components"]] == list(NAMES)
    assert {part["state"] for part in document["components"]} == {"down"}
    assert document["components"][0].keys() >= {"name", "state", "since", "pid", "url", "log"}
    assert "harness up" in answer.stderr


def test_status_for_people_is_a_table(app: typer.Typer) -> None:
    answer = CliRunner().invoke(app, ["status"])
    assert answer.exit_code == 1
    assert all(name in answer.stdout for name in NAMES)


def test_down_where_nothing_runs_is_done_and_makes_no_folder(app: typer.Typer, tmp_path: Path) -> None:
    for arguments in (["down"], ["down", "--json"]):
        assert CliRunner().invoke(app, arguments).exit_code == 0
    assert not (tmp_path / "var").exists()
