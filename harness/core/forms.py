"""Which form that can be written is nearest to a text that is not understood. Decides; touches nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.core.errors import Invalid

_COMMA = re.compile(r"(?<=\d),(?=\d)")
_MICRO = str.maketrans("\u00b5\u03bc", "uu")
_SIGN = re.compile(r"[<>=≤≥]*")
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a small grammar. ``template`` has a ``{}`` for each slot; a slot is what its text looks like, and what
    stands there when the text has nothing of the kind. ``said``: other words in which people write it."""

    template: str
    slots: tuple[tuple[str, str], ...] = ()
    said: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """The form as it can be written."""
        return self.template.format(*(default for _, default in self.slots))

    def filled(self, text: str) -> str:
        """The form with what ``text`` has for its slots, in order."""
        text = _COMMA.sub(".", text.translate(_MICRO))
        given, at = [], 0
        for pattern, default in self.slots:
            found = re.compile(pattern).search(text, at)
            given.append(found[0].strip() if found else default)
            at = found.end() if found else at
        return self.template.format(*given)

    def likeness(self, text: str) -> float:
        """0..1; what numbers there are does not matter."""
        return max(
            difflib.SequenceMatcher(None, _shape(text), _shape(each)).ratio() for each in (self.example, *self.said)
        )


def nearest_form(text: str, forms: Sequence[Form], parse: Callable[[str], object]) -> str:
    """The form most like ``text``, with what the text has for it where ``parse`` takes that.

    One that begins with the same sign before any other: `>=` is like `<=` and asks for the opposite.
    """
    sign = _sign(text)
    same = [form for form in forms if sign and sign in map(_sign, (form.template, *form.said))]
    nearest = max(same or forms, key=lambda form: form.likeness(text))
    try:
        parse(filled := nearest.filled(text))
    except Invalid:
        return nearest.example
    return filled


def _sign(text: str) -> str:
    return (_SIGN.match(text) or [""])[0]


def _shape(text: str) -> str:
    return _NUMBERS.sub("0", " ".join(text.split())[:200].casefold())
