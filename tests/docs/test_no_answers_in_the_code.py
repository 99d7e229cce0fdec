"""The code that looks for an incident's cause does not contain it. Reads scenarios and promised limits, greps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT

TELLING = {"commit", "key", "keys", "prefix", "limit", "value", "author"}
"""Names of fields in a scenario whose text would give it away."""
SEARCHED = [
    path
    for folder in ("harness", "workflows", "runbooks", "policies", "slos", "invariants")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".yaml", ".md", ".json"}
]


def answers(scenario: dict[str, Any]) -> Iterator[str]:
    """What gives this incident away: its name, its commits' subjects and authors, names that the fault brings in."""
    yield scenario["id"]
    for field, text in scalars(scenario):
        if field in TELLING:
            yield text
        elif field == "message":
            yield text.splitlines()[0]
    fault = scenario.get("fault") or {}
    for commit in [commit for step in (fault, *fault.get("then", [])) for commit in step.get("series", [])]:
        if commit["role"] == "fault":
            for edit in commit["edits"]:
                yield edit["path"]
                yield from set(re.findall(r"[A-Z_]{5,}", edit["replace"])) - set(
                    re.findall(r"[A-Z_]{5,}", edit["find"])
                )


def scalars(node: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """(name of the field, text) of every text in the document."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from scalars(child, name)
    elif isinstance(node, list):
        for child in node:
            yield from scalars(child, field)
    elif isinstance(node, str):
        yield field, node


def pattern(word: str) -> re.Pattern[str]:
    """A plain English word counts only in quotes or as part of a path; anything else wherever it stands alone."""
    plain = word.isalpha() and word.islower()
    return re.compile(rf"""["'/`]{word}["'`.]""" if plain else rf"(?<![\w-]){re.escape(word)}(?![\w-])")


@cache
def searched() -> dict[Path, str]:
    return {path: path.read_text() for path in SEARCHED}


def found(words: set[str]) -> list[str]:
    """``file: word`` for every word that occurs in the searched rooms."""
    patterns = {word: pattern(word) for word in sorted(words)}
    return [
        f"{path.relative_to(ROOT)}: {word}"
        for path, text in searched().items()
        for word, sought in patterns.items()
        if word in text and sought.search(text)  # most words are nowhere, and plain text is found far sooner
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_nothing_of_an_incident_occurs_in_the_code_that_must_find_it(path: Path) -> None:
    scenario = yaml.safe_load(path.read_text())

    assert scenario["id"] == path.stem
    assert found(set(answers(scenario))) == []


def test_no_promised_limit_occurs_in_the_code() -> None:
    promised = yaml.safe_load((ROOT / "services/traffic/contract.yaml").read_text())["limits"]

    assert found({text for limit in promised for text in (limit["name"], limit["rate"])}) == []


def test_the_search_finds_what_is_there() -> None:
    assert "harness/core/errors.py: HarnessError" in found({"HarnessError"})
    assert pattern("quiet").search("run 'quiet' now") and not pattern("quiet").search("a quiet day")
