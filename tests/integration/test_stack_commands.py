"""What a person and a program see of ``harness status`` and ``harness down`` where nothing runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from harness.adapters.stack.addresses import Addresses, choose_addresses
from harness.adapters.stack.components import NAMES
from harness.adapters.stack.home import Home
from harness.cli.stack import down, status
from harness.core.errors import Retryable


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


@pytest.mark.parametrize("text", ["", '{"half', "[]", "{}", '{"components": [], "ports": 1}'])
def test_damaged_notes_of_a_stack_hinder_neither_status_nor_down(app: typer.Typer, tmp_path: Path, text: str) -> None:
    # given a home whose notes were damaged, as by a loss of power while they were written
    home = Home((tmp_path / "var").resolve())
    home.run.mkdir(parents=True)
    for note in (home.state, home.plan, home.stack):
        note.write_text(text)

    # when it is asked for, and taken down
    status_says, down_says = (CliRunner().invoke(app, [word]) for word in ("status", "down"))

    # then nothing is taken for running, and the addresses are chosen anew at the next start
    assert (status_says.exit_code, down_says.exit_code) == (1, 0)
    with pytest.raises(Retryable, match="harness up"):
        Addresses.read(home)
    assert set(choose_addresses(home, sockets=tmp_path, temporal=None, namespace="n", prometheus=None).ports)
