"""Text that is no YAML of ours is told as such, whatever it is. Reads files of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.adapters.declarations import parse_yaml
from harness.adapters.node.run_spec import RunSpec
from harness.core.errors import Invalid


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000, "[" * 1_000_000, "- " * 101 + "a", "? " * 500,
        "a: " + "1" * 5000, "a: !!int abc", "a: !!float abc", "a: !!timestamp soon", "a: !!bool maybe",
        "a: !!set [1]", "a: \0", "a: [1", "a: 1\n---\nb: 2", "a: *unknown", "a: 1\na: 2",
    ],
    ids=[
        "nested too deeply", "a file of brackets", "a level too many", "keys in keys",
        "a number too long", "no integer", "no number", "no time", "no truth", "no set",
        "a control character", "not closed", "two documents", "an unknown alias", "a key twice",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_invalid_and_names_the_file(text: str) -> None:
    with pytest.raises(Invalid, match=r"^slos/new\.yaml: is no YAML: ."):
        parse_yaml(text, "slos/new.yaml")


def test_what_is_no_yaml_is_told_with_line_and_column() -> None:
    with pytest.raises(Invalid, match=r"^new\.yaml: is no YAML: line 2, column 10: mapping values are not allowed"):
        parse_yaml("slos:\n  name: a: b", "new.yaml")


def test_as_many_levels_as_are_read_and_tabs_in_plain_text_are_yaml() -> None:
    assert parse_yaml("- " * 99 + "a: b\tc", "slos/new.yaml")[0][0]


def test_a_node_reads_a_manifest_as_the_harness_does(tmp_path: Path) -> None:
    # given a manifest with a word that YAML 1.1 takes for false, and one whose tag does not fit
    good, bad = tmp_path / "service.yaml", tmp_path / "bad.yaml"
    good.write_text(
        "run: {command: [serve, --cache, off, '{socket}'], health: /readyz, drain: /drain, stop_grace: 5s}\n"
        "build: {lock: requirements.lock, python_path: src}\n"
    )
    bad.write_text("run: !!int abc")

    # when a node reads them, then the word is a word, and the other is refused: an error of another kind is retried
    assert RunSpec.from_manifest_file(good).argv("/s")[2:] == ["off", "/s"]
    with pytest.raises(Invalid, match=r"bad\.yaml: is no YAML"):
        RunSpec.from_manifest_file(bad)
