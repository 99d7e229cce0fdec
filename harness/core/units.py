"""Numbers with a unit, as people write them: parse, compare, write back. Locale-free, pure, touches nothing."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from harness.core.errors import Invalid

Dimension = Literal["time", "share", "size", "rate", "count", "money"]

_SIZES: dict[Dimension, dict[str, str]] = {
    "time": {"ns": "1e-9", "us": "1e-6", "ms": "1e-3", "s": "1", "m": "60", "h": "3600", "d": "86400"},
    "share": {"%": "1/100"},
    "size": {"B": "1", "kB": "1e3", "MB": "1e6", "GB": "1e9", "KiB": "1024", "MiB": "1048576", "GiB": "1073741824"},
    "rate": {"/s": "1", "/m": "1/60", "rps": "1"},
    "count": {"count": "1", "": "1"},
    "money": {"USD": "1"},
}

UNITS: dict[str, tuple[Dimension, Fraction]] = {
    unit: (dimension, Fraction(size)) for dimension, sizes in _SIZES.items() for unit, size in sizes.items()
}
"""Unit → its dimension and what one of it is in the base unit: seconds, share of 1, bytes, per second, count, USD."""

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z%/]*)")
_LARGEST = 1e290  # in any unit, its base is still a finite number
_WORDS = frozenset({"count", "USD", "rps"})  # written with a space before them


@dataclass(frozen=True)
class Quantity:
    """A number in the unit it was written in."""

    number: float
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise Invalid(f"unknown unit {self.unit!r}; {choices(self.unit, UNITS)}")
        if not math.isfinite(self.number) or abs(self.number) > _LARGEST:
            raise Invalid(f"{self.number!r} is not a finite number")

    @classmethod
    def parse(cls, text: str) -> Quantity:
        """``500ms``, ``0.1%``, ``1GiB``, ``2 USD``, ``3``. Raises Invalid; a comma, NaN and inf are no numbers."""
        match = _QUANTITY.fullmatch(text.strip())
        if match is None:
            raise Invalid(f"{text!r} is not a number with a unit; write it like `500ms`, `0.1%` or `3`")
        quantity = cls(float(match[1]), match[2])
        if quantity.number == 0 and re.search("[1-9]", re.split("[eE]", match[1])[0]):
            raise Invalid(f"{text!r} is so small that nothing tells it from 0; write 0, or a larger number")
        return quantity

    @classmethod
    def of(cls, base: float, unit: str, digits: int = 3) -> Quantity:
        """A value in the base unit, in this one, to so many significant digits: for people."""
        return cls(float(f"{base / float(UNITS[unit][1]):.{digits}g}"), unit)

    @property
    def dimension(self) -> Dimension:
        return UNITS[self.unit][0]

    @property
    def base(self) -> float:
        """In seconds, share of 1, bytes, per second, count or USD; 99.9% is 0.999 to the last digit."""
        return float(Fraction(repr(self.number)) * UNITS[self.unit][1])

    @property
    def text(self) -> str:
        """As it is written; parses back to the same quantity."""
        whole = self.number == int(self.number) and abs(self.number) < 1e15
        number = str(int(self.number)) if whole else repr(self.number)
        return f"{number} {self.unit}" if self.unit in _WORDS else f"{number}{self.unit}"

    def check_fits(self, unit: str) -> None:
        """Raise Invalid unless it can be compared with a metric of ``unit``. Zero needs no unit."""
        wanted = UNITS[unit][0]
        if self.dimension != wanted and not (self.number == 0 and not self.unit):
            allowed = ", ".join(name for name, (dimension, _) in UNITS.items() if dimension == wanted and name)
            raise Invalid(f"{self.text!r} cannot be compared with a metric in {unit or 'count'}; units: {allowed}")


def seconds(text: str) -> float:
    """A length of time above 0: ``60s``, ``2h``, ``30d``. Raises Invalid."""
    return _positive(text, "time", "60s")


def size_bytes(text: str) -> int:
    """A size above 0: ``1GiB``, ``64 MB``. Raises Invalid."""
    return round(_positive(text, "size", "1GiB"))


def share(text: str) -> float:
    """A percentage as a share of 1: ``99.9%`` is 0.999. Raises Invalid without the sign: 0.1 could mean either."""
    quantity = Quantity.parse(text)
    if quantity.dimension != "share":
        raise Invalid(f"{text!r} is not a percentage; write it like `99.9%`")
    return quantity.base


def _positive(text: str, dimension: Dimension, example: str) -> float:
    quantity = Quantity.parse(text)
    if quantity.dimension != dimension or quantity.base <= 0:
        raise Invalid(f"{text!r} is not a {dimension} above 0; write it like `{example}`")
    return quantity.base


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The allowed names most like ``name``, for a message; all of them when none is alike."""
    names = [each for each in allowed if each]
    return ", ".join(difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names)


def choices(name: str, allowed: Iterable[str]) -> str:
    """``allowed: a, b; nearest: a``."""
    names = [each for each in allowed if each]
    alike = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"allowed: {', '.join(names)}" + (f"; nearest: {alike[0]}" if alike else "")
