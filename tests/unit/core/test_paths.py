"""Which paths an agent may name. Pure."""

from __future__ import annotations

import pytest

from harness.core.errors import Forbidden
from harness.core.paths import confined


@pytest.mark.parametrize("path", ["a", "src/a.py", "-x", "..a", "a..b/c", ".gitignore", "x.git", "grüße.txt", "a b"])
def test_a_path_in_the_tree_is_as_it_was(path: str) -> None:
    assert confined(path) == path


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../a", "a/..", "a/../b", "./a", "a//b", "a/", "/a", "/etc/passwd", "~/.ssh/id", "a\0b", "a\nb",
     "a\\..\\b", ".git/hooks/x", ".GIT/config", "sub/.git", "sub/.git/config", ".git ", ".git.", "git~1/x",
     ".gitmodules", ".gitattributes", "a" * 401],
)  # fmt: skip
def test_a_path_that_leads_out_or_is_gits_own_is_refused_with_the_rule(path: str) -> None:
    with pytest.raises(Forbidden):
        confined(path)
