"""Names on a page exist: files, classes and events, variables, the lines of a told run. Reads pages and code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from harness.bootstrap import read_rules
from harness.settings import Settings
from tests.docs.pages import ROOT, markdown, tokens

PAGES = [page for page in markdown() if not page.is_relative_to(ROOT / "services/ratelimiter")]
"""The patient's own pages are its repository's: its paths begin at its root."""
NO_ROOMS = {"__pycache__", "build", "dist", "var"}
ROOMS = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."} - NO_ROOMS
CODE = [path for folder in ("harness", "workflows", "services", "scenarios") for path in (ROOT / folder).rglob("*.py")]
VARIABLES = {str(field.validation_alias) for field in Settings.model_fields.values()} | {
    name for one in read_rules().notifications.receivers for name in (one.url_from, one.secret_from) if name
}
MADE_AT_RUN_TIME = {"docs/evidence"}


def spoken(page: Path) -> Iterator[str]:
    """The page's inline code."""
    return (token.content for token in tokens(page) if token.type == "code_inline")


@cache
def defined() -> set[str]:
    """Every class of the code, and every alert."""
    classes = re.findall(r"^class (\w+)", "\n".join(path.read_text() for path in CODE), re.MULTILINE)
    return {*classes, *re.findall(r"- alert: (\w+)", (ROOT / "policies/alerts.yaml").read_text())}


def by_page() -> object:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@by_page()
def test_every_path_on_a_page_exists(page: Path) -> None:
    paths = {text for text in spoken(page) if re.fullmatch(r"[\w.-]+/[\w./-]*", text) and text.split("/")[0] in ROOMS}

    wrong = {path for path in paths if not (ROOT / path).exists() and not path.startswith(tuple(MADE_AT_RUN_TIME))}
    assert wrong == set()


@by_page()
def test_every_class_event_or_alert_on_a_page_exists(page: Path) -> None:
    named = {text for text in spoken(page) if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", text)}

    assert named - defined() == set()


@by_page()
def test_every_variable_on_a_page_is_a_setting(page: Path) -> None:
    named = set(re.findall(r"\b(?:HARNESS|TEMPORAL|PROMETHEUS)_[A-Z_]+\b", page.read_text()))

    assert named - VARIABLES == set()


def test_every_setting_is_on_the_first_page() -> None:
    assert {name for name in VARIABLES if name not in (ROOT / "README.md").read_text()} == set()


def test_the_map_names_every_room() -> None:
    inner = {f"harness/{path.name}" for path in (ROOT / "harness").iterdir() if not path.name.startswith("__")}
    told = (ROOT / "AGENTS.md").read_text()

    assert {name for name in {f"{room}/" for room in ROOMS} | inner if f"`{name}" not in told} == set()


def test_the_told_run_is_the_kept_one() -> None:
    blocks = [token for token in tokens(ROOT / "README.md") if token.type == "fence"]
    [told] = [block.content for block in blocks if block.info == "text run"]
    kept = (ROOT / "docs/incident/story.txt").read_text()

    pieces = {piece.strip() for line in told.splitlines() for piece in line.split("…") if piece.strip()}
    assert {piece for piece in pieces if piece not in kept} == set()
