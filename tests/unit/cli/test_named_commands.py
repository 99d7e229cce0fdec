"""Commands that a summary or a view tells people to type are commands."""

from __future__ import annotations

import inspect
import re

import pytest

from harness.cli import live, summary_html, summary_markdown
from harness.core import summary, summary_change
from tests.docs.test_commands import problem

NAMED = {
    words
    for module in (live, summary_html, summary_markdown, summary, summary_change)
    for words in re.findall(
        r"harness ((?:ticket|action|ledger|trajectory|summary)(?: [a-z]+)?)", inspect.getsource(module)
    )
}


@pytest.mark.parametrize("words", sorted(NAMED))
def test_a_command_that_people_are_told_to_type_exists(words: str) -> None:
    assert problem(words.split()) is None


def test_the_search_finds_the_ones_that_matter() -> None:
    assert {"ticket revert", "ticket answer", "ticket explain", "ticket approve", "ledger verify"} <= NAMED
