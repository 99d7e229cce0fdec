"""`harness ticket file` and `lint` of a criterion that nobody measures: refused, or filed with the flag."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.bootstrap import open_record, read_record
from harness.core.errors import Invalid
from harness.journal import Journal
from harness.settings import Settings
from tests.command_line import ended

FLAGS = ("--objective", "a better colour", "--accept", "colour < 5%")
FILE = """
ticket:
  type: improvement
  objective: {description: x}
  acceptance_criteria: [{metric: colour, condition: < 5%}]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HARNESS_LEDGER_URL", raising=False)
    open_record(Settings.load()).ledger.close()
    return tmp_path


def typed(*words: str) -> dict[str, Any]:
    result = ended(["ticket", *words, "--json"])
    if result.exception is not None:
        raise result.exception
    return dict(json.loads(result.stdout))


def allowed(ticket_id: str) -> bool:
    record = read_record(Settings.load())
    return Journal(ticket_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock).spec().allow_unmeasured


def test_it_is_refused_and_filed_with_the_flag_which_is_on_record(home: Path) -> None:
    with pytest.raises(Invalid, match=r"ticket: acceptance_criteria\[0\].metric: `colour` is not declared"):
        typed("file", *FLAGS)

    filed = typed("file", *FLAGS, "--allow-unmeasured")

    assert filed == {"id": "INF-1"} and allowed("INF-1")
    shown = typed("show", "INF-1")
    assert [(one["metric"], one["met"]) for one in shown["acceptance_criteria"]] == [("colour", None)]


def test_a_file_is_refused_and_taken_with_the_flag_or_with_its_own_key(home: Path) -> None:
    path, own = home / "ticket.yaml", home / "own.yaml"
    path.write_text(FILE)
    own.write_text(f"{FILE}  allow_unmeasured: true\n")
    for verb in (("lint", str(path)), ("file", "-f", str(path))):
        with pytest.raises(Invalid, match="`colour` is not declared by ratelimiter; allowed: "):
            typed(*verb)
        assert typed(*verb, "--allow-unmeasured")
    assert typed("lint", str(own))["ok"] and allowed(typed("file", "-f", str(own))["id"])


def test_a_condition_that_is_not_understood_is_refused_with_the_flag_too(home: Path) -> None:
    with pytest.raises(Invalid, match="low"):
        typed("file", "--objective", "x", "--accept", "colour low", "--allow-unmeasured")
