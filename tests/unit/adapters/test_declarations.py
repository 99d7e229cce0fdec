"""Text that is no YAML of ours is told as such, whatever it is. Reads no file."""

from __future__ import annotations

import pytest

from harness.adapters.declarations import parse_yaml
from harness.core.errors import Invalid


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000, "a: " + "1" * 5000, "a: !!int abc", "a: !!float abc", "a: !!timestamp soon", "a: !!bool maybe",
        "a: !!set [1]", "a: \0", "a: [1", "a: 1\n---\nb: 2", "a: *unknown", "a: 1\na: 2",
    ],
    ids=[
        "nested too deeply", "a number too long", "no integer", "no number", "no time", "no truth", "no set",
        "a control character", "not closed", "two documents", "an unknown alias", "a key twice",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_invalid_and_names_the_file(text: str) -> None:
    with pytest.raises(Invalid, match=r"^slos/new\.yaml: is no YAML: ."):
        parse_yaml(text, "slos/new.yaml")
