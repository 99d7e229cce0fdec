"""A tunable's number in the text of its file, whatever kind of file that is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import Invalid
from harness.core.tunable import value_in, with_value


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("A = 1\nKEEP = 1000\nB = KEEP\n", "A = 1\nKEEP = 8\nB = KEEP\n"),
        ("server:\n  KEEP: 1000  # a day\n", "server:\n  KEEP: 8  # a day\n"),
        ("[server]\nKEEP=1000", "[server]\nKEEP=8"),
        ("KEEPER = 2\n\tKEEP  =  1000\n", "KEEPER = 2\n\tKEEP  =  8\n"),
    ],
)
def test_one_number_is_read_and_written_and_nothing_else_changes(text: str, changed: str) -> None:
    assert value_in(text, "f", "KEEP") == 1000
    assert with_value(text, "f", "KEEP", 8) == changed
    assert with_value(changed, "f", "KEEP", 1000) == text


@pytest.mark.parametrize(
    ("text", "places"),
    [("", 0), ("KEEP = many\n", 0), ("KEEP = 1.5\n", 0), ("# KEEP = 1\n", 0), ("KEEP = 10 * 2\n", 0),
     ("KEEP = -1\n", 0), ("KEEP = 1\nKEEP = 2\n", 2)],
)  # fmt: skip
def test_a_place_that_is_not_there_just_once_is_named(text: str, places: int) -> None:
    with pytest.raises(Invalid, match=rf"config\.py: {places} lines give `KEEP` a whole number"):
        value_in(text, "config.py", "KEEP")


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_what_was_written_is_read(before: int, after: int) -> None:
    assert value_in(with_value(f"x: 1\nkey: {before}\n", "f", "key", after), "f", "key") == after
