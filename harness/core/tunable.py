"""A declared tunable in the text of its file: reads the number, writes another one. Pure; touches nothing."""

from __future__ import annotations

import re

from harness.core.errors import Invalid


def value_in(text: str, path: str, key: str) -> int:
    """The whole number after ``key =`` or ``key:``, at the beginning of a line. Raises Invalid unless there is one."""
    return int(_place(text, path, key)[2])


def with_value(text: str, path: str, key: str, value: int) -> str:
    """The text with another number there, and nothing else changed."""
    place = _place(text, path, key)
    return f"{text[: place.start(2)]}{value}{text[place.end(2) :]}"


def _place(text: str, path: str, key: str) -> re.Match[str]:
    places = list(re.finditer(rf"(?m)^([ \t]*{re.escape(key)}[ \t]*[=:][ \t]*)([0-9]+)(?=[ \t]*(?:#.*)?$)", text))
    if len(places) != 1:
        raise Invalid(f"{path}: {len(places)} lines give `{key}` a whole number, there has to be one: `{key} = 8`")
    return places[0]
