"""Homes with short paths, of which nothing runs once they were used. Touches only these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.newcomer import NOTHING, Newcomer
from tests.acceptance.outside import Outside


@contextmanager
def home_at(folder: Path, settings: Mapping[str, str] = NOTHING) -> Iterator[Newcomer]:
    """Somebody with a new home; whatever they leave running is ended."""
    newcomer = Newcomer(folder.resolve(), settings)
    try:
        yield newcomer
    finally:
        newcomer.types("down")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """Somebody with a new home, for all tests of a module."""
    with home_at(tmp_path_factory.mktemp("home")) as newcomer:
        yield newcomer


@pytest.fixture(scope="module")
def outside(newcomer: Newcomer) -> Outside:
    """The outside view of that home."""
    return Outside(newcomer.home)
