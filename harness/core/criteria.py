"""What has to hold, and for how long: a small grammar that reads as it is written. Pure, touches nothing.

Conditions: ``< 500ms``, ``== 0``, ``between 1 and 3``, ``no regression``, ``no regression > 5%``,
``at least 10% better``, ``within 5% of baseline``. Durations: ``1h``, ``1h sustained``, ``for 10m``.
Values are in the base unit of the metric's dimension (a share is 0..1), as ``units`` defines it.
"""

from __future__ import annotations

import math
import operator
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Literal

from harness.core import units
from harness.core.errors import Invalid
from harness.core.forms import Form, nearest_form
from harness.core.units import Quantity

Direction = Literal["lower", "higher", "either"]
"""Which way is better for a metric; ``either``: a change in any direction is as bad."""

LONGEST_S: Final = 30 * 86_400.0
"""Nothing has to hold for longer: Prometheus keeps so much (``PROMETHEUS_RETENTION`` of the local stack)."""

DEFAULT_MARGIN = 0.05
"""``no regression`` without a figure: worse than the baseline by more than this part of it."""

_METRIC = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|(error_ratio|check_seconds)\([a-z][a-z0-9_-]*\)")
_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
_COMPARE = re.compile(r"(<=|>=|==|<|>)\s*(\S.*)")
_BETWEEN = re.compile(r"between\s+(\S.*?)\s+and\s+(\S.*)")
_NO_REGRESSION = re.compile(r"no regression(?:\s*>\s*(\S.*))?")
_BETTER = re.compile(r"at least\s+(\S.*?)\s+better")
_WITHIN = re.compile(r"within\s+(\S.*?)\s+of baseline")
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_VALUE = _NUMBER + r"\s?(?:[A-Za-z]+|%|/s|/m)?"
_SHARE = _NUMBER + r"\s?%"
_CONDITIONS = (
    Form("< {}", ((_VALUE, "500ms"),), ("under 5", "below 5", "less than 5", "lower than 5", "faster than 5")),
    Form("<= {}", ((_VALUE, "500ms"),), ("at most 5", "no more than 5", "up to 5", "max 5", "=< 5", "≤ 5")),
    Form("> {}", ((_VALUE, "20%"),), ("over 5", "above 5", "more than 5", "greater than 5", "higher than 5")),
    Form(">= {}", ((_VALUE, "20%"),), ("at least 5", "no less than 5", "min 5", "=> 5", "≥ 5")),
    Form("== {}", ((_VALUE, "0"),), ("= 5", "is 5", "equals 5", "exactly 5", "5")),
    Form("between {} and {}", ((_VALUE, "1"), (_VALUE, "3")), ("5 to 5", "from 5 to 5", "5 - 5", "5..5")),
    Form("no regression", said=("not worse", "unchanged", "no worse", "as before")),
    Form("no regression > {}", ((_SHARE, "5%"),), ("at most 5% worse", "no more than 5% worse", "regression < 5%")),
    Form("at least {} better", ((_SHARE, "10%"),), ("5% better", "improve by 5%", "5% faster", "better by 5%")),
    Form("within {} of baseline", ((_SHARE, "5%"),), ("5% of baseline", "+-5%", "about the same")),
)  # fmt: skip
_LENGTH = _NUMBER + r"\s?[A-Za-z]+"
_DURATIONS = (
    Form("{}", ((_LENGTH, "1h"),)),
    Form("{} sustained", ((_LENGTH, "1h"),), ("5h maintained", "5h long", "sustained 5h", "sustained for 5h")),
    Form("for {}", ((_LENGTH, "10m"),), ("during 5m", "over 5m", "for at least 5m")),
)


def check_seconds_of(check: str) -> str:
    """The metric that is how long a check runs."""
    return f"check_seconds({check})"


def error_ratio_of(objective: str) -> str:
    """The name of the metric that is the share of bad events of an objective which counts them for itself."""
    return f"error_ratio({objective})"


class Condition(ABC):
    """A condition on one metric; ``text`` parses back to an equal condition."""

    needs_baseline = False

    @staticmethod
    def parse(text: str) -> Condition:
        """The condition that ``text`` says; raises Invalid with what can be written, and which of that is nearest."""
        words = " ".join(text.split())
        try:
            return _condition(words)
        except Invalid as error:
            raise Invalid(f"{error}; nearest form: `{nearest_form(words, _CONDITIONS, _condition)}`") from None

    def holds(self, value: float | None, baseline: float | None = None, direction: Direction = "either") -> bool | None:
        """Whether ``value`` satisfies it; None, which is never met, when it or a baseline it needs is unmeasured."""
        if not _measured(value) or (self.needs_baseline and not _measured(baseline)):
            return None
        assert value is not None
        return self._holds(value, baseline if baseline is not None else math.nan, direction)

    @property
    @abstractmethod
    def text(self) -> str:
        """As it is written."""

    @abstractmethod
    def check_fits(self, unit: str, direction: Direction) -> None:
        """Raise Invalid unless it can be asked of a metric with this unit and direction."""

    @abstractmethod
    def _holds(self, value: float, baseline: float, direction: Direction) -> bool | None: ...


@dataclass(frozen=True)
class Compare(Condition):
    """``< 500ms``"""

    op: str
    limit: Quantity

    @property
    def text(self) -> str:
        return f"{self.op} {self.limit.text}"

    def check_fits(self, unit: str, direction: Direction) -> None:
        self.limit.check_fits(unit)

    def _holds(self, value: float, baseline: float, direction: Direction) -> bool:
        return bool(_OPERATORS[self.op](value, self.limit.base))


@dataclass(frozen=True)
class Between(Condition):
    """``between 1 and 3``, both ends included"""

    low: Quantity
    high: Quantity

    def __post_init__(self) -> None:
        if self.low.dimension != self.high.dimension:
            raise Invalid(f"{self.text!r}: the ends differ in unit; write the unit at both")
        if self.low.base > self.high.base:
            raise Invalid(f"{self.text!r} is empty; write the smaller end first")

    @property
    def text(self) -> str:
        return f"between {self.low.text} and {self.high.text}"

    def check_fits(self, unit: str, direction: Direction) -> None:
        self.low.check_fits(unit)
        self.high.check_fits(unit)

    def _holds(self, value: float, baseline: float, direction: Direction) -> bool:
        return self.low.base <= value <= self.high.base


@dataclass(frozen=True)
class NoRegression(Condition):
    """``no regression > 5%``: not worse than the baseline by more than this part of it"""

    margin: Quantity | None
    needs_baseline = True

    def __post_init__(self) -> None:
        if self.margin is not None:
            _check_margin(self.margin, self.text)

    @property
    def text(self) -> str:
        return "no regression" if self.margin is None else f"no regression > {self.margin.text}"

    def check_fits(self, unit: str, direction: Direction) -> None:
        """Fits every metric."""

    def _holds(self, value: float, baseline: float, direction: Direction) -> bool:
        room = abs(baseline) * (DEFAULT_MARGIN if self.margin is None else self.margin.base)
        too_high = direction != "higher" and value > baseline + room
        too_low = direction != "lower" and value < baseline - room
        return not (too_high or too_low)


@dataclass(frozen=True)
class Better(Condition):
    """``at least 10% better``: than the baseline, by this part of it"""

    by: Quantity
    needs_baseline = True

    def __post_init__(self) -> None:
        _check_margin(self.by, self.text)

    @property
    def text(self) -> str:
        return f"at least {self.by.text} better"

    def check_fits(self, unit: str, direction: Direction) -> None:
        if direction == "either":
            raise Invalid(f"{self.text!r}: the metric has no better direction; ask `within 5% of baseline` of it")
        if direction == "lower" and self.by.base > 1:
            raise Invalid(f"{self.text!r} can never hold where lower is better; allowed up to 100%")

    def _holds(self, value: float, baseline: float, direction: Direction) -> bool | None:
        if direction == "either":
            return None
        room = abs(baseline) * self.by.base
        if direction == "lower":
            return value < baseline and value <= baseline - room
        return value > baseline and value >= baseline + room


@dataclass(frozen=True)
class Within(Condition):
    """``within 5% of baseline``"""

    margin: Quantity
    needs_baseline = True

    def __post_init__(self) -> None:
        _check_margin(self.margin, self.text)

    @property
    def text(self) -> str:
        return f"within {self.margin.text} of baseline"

    def check_fits(self, unit: str, direction: Direction) -> None:
        """Fits every metric."""

    def _holds(self, value: float, baseline: float, direction: Direction) -> bool:
        return abs(value - baseline) <= abs(baseline) * self.margin.base


@dataclass(frozen=True)
class Duration:
    """``1h``, ``1h sustained`` and ``for 10m`` ask the same; the form is kept so that it reads as it was written."""

    length: Quantity
    form: Literal["plain", "sustained", "for"] = "plain"

    def __post_init__(self) -> None:
        units.seconds(self.length.text)

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Raises Invalid with the nearest that can be written."""
        words = " ".join(text.split())
        try:
            return _duration(words)
        except Invalid as error:
            raise Invalid(f"{error}; nearest form: `{nearest_form(words, _DURATIONS, _duration)}`") from None

    @property
    def seconds(self) -> float:
        return self.length.base

    @property
    def text(self) -> str:
        return {"plain": "{}", "sustained": "{} sustained", "for": "for {}"}[self.form].format(self.length.text)


@dataclass(frozen=True)
class CriterionSpec:
    """A criterion as understood. ``duration`` None: one evaluation window of the metric."""

    metric: str
    condition: Condition
    duration: Duration | None = None

    def __post_init__(self) -> None:
        if not _METRIC.fullmatch(self.metric):
            raise Invalid(
                f"metric {self.metric!r} is not a name; write it like `latency_p99`, `error_ratio(NAME)` of an "
                "objective with counters of its own, or `check_seconds(NAME)` of a check"
            )

    @classmethod
    def parse(cls, *, metric: str, condition: str, duration: str | None = None) -> CriterionSpec:
        """From the three fields of a ticket file; raises Invalid with a line for each field that is wrong."""
        understood, length, faults = None, None, []
        try:
            understood = Condition.parse(condition)
        except Invalid as error:
            faults.append(f"condition: {error}")
        try:
            length = None if duration is None else Duration.parse(duration)
        except Invalid as error:
            faults.append(f"duration: {error}")
        if understood is None or faults:
            raise Invalid("\n".join(faults))
        return cls(metric, understood, length)

    @classmethod
    def parse_text(cls, text: str) -> CriterionSpec:
        """From one line: ``cold_start_p99 < 500ms for 1h``."""
        metric, _, rest = text.strip().partition(" ")
        match = re.fullmatch(rf"(.*?)\s+(for\s+\S.*|{_LENGTH}\s+sustained)", rest)
        if match:
            return cls.parse(metric=metric, condition=match[1], duration=match[2])
        return cls.parse(metric=metric, condition=rest)

    @property
    def text(self) -> str:
        """The line; a plain duration is written as ``for 1h``."""
        if self.duration is None:
            return f"{self.metric} {self.condition.text}"
        length = self.duration.text if self.duration.form != "plain" else f"for {self.duration.text}"
        return f"{self.metric} {self.condition.text} {length}"


def _condition(words: str) -> Condition:
    if match := _COMPARE.fullmatch(words):
        return Compare(match[1], Quantity.parse(match[2]))
    if match := _BETWEEN.fullmatch(words):
        return Between(Quantity.parse(match[1]), Quantity.parse(match[2]))
    if match := _NO_REGRESSION.fullmatch(words):
        return NoRegression(None if match[1] is None else Quantity.parse(match[1]))
    if match := _BETTER.fullmatch(words):
        return Better(Quantity.parse(match[1]))
    if match := _WITHIN.fullmatch(words):
        return Within(Quantity.parse(match[1]))
    raise Invalid(
        f"condition {words!r} is not understood; write one of {', '.join(f'`{one.example}`' for one in _CONDITIONS)}"
    )


def _duration(words: str) -> Duration:
    first, *rest = words.split() or [""]
    if first == "for":
        return Duration(Quantity.parse(" ".join(rest)), "for")
    if rest[-1:] == ["sustained"]:
        return Duration(Quantity.parse(words.removesuffix("sustained")), "sustained")
    return Duration(Quantity.parse(words))


def _check_margin(margin: Quantity, text: str) -> None:
    if margin.dimension != "share" or margin.number < 0:
        raise Invalid(f"{text!r}: {margin.text!r} is not a percentage from 0; write it like `5%`")


def _measured(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
