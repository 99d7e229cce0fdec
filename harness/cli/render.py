"""How values are shown: JSON documents for machines, safe text for people. Prints; reads nothing."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Any

import typer

from harness.core.plain_text import one_line
from harness.core.plain_text import safe as safe  # whoever shows text takes it from here

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def print_json(document: Any) -> None:
    """One strict JSON document on stdout; an unknown number is null."""
    print(json.dumps(document, allow_nan=False, default=str))


def say(text: str) -> None:
    """A line for people. Nothing in it that the world wrote ends the line, or commands the terminal."""
    print(one_line(text))


def condition_unit(condition: str) -> str:
    """The unit in which values of a metric with this condition are shown; none when the condition names none.

    The per cent of ``at least 10% better`` are no unit of the metric.
    """
    if re.search(r" better$| of baseline$|^no regression", condition):
        return ""
    return "%" if "%" in condition else "s" if re.search(r"[0-9 ](ns|us|ms|s|m|h)$", condition) else ""


def number(value: float | None, unit: str = "") -> str:
    """A measurement for people: shares as per cent, None as «not measured»."""
    if value is None:
        return "not measured"
    if unit == "%":
        return f"{value * 100:.3g} %"
    if unit in ("us", "ms", "s") and value < 0.001:
        return f"{value * 1e6:.3g} us"
    if unit in ("us", "ms", "s"):
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{value:.4g}{' ' if unit else ''}{unit}"


def minute(moment: str) -> str:
    """A moment in ISO form, to the minute."""
    return datetime.fromisoformat(moment).isoformat(timespec="minutes")


def moment(at: str | None, now: datetime) -> str:
    """The time of today, else with its date; in UTC. Empty where nobody knows."""
    if at is None:
        return ""
    then = datetime.fromisoformat(at)
    return f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%m-%d %H:%M}"


def p_value(value: float) -> str:
    """A chance as people write it; one that is too small for a number is not 0."""
    return f"p {value:.2g}" if value else "p below 1e-300"


def many(count: int, word: str, words: str = "") -> str:
    """``1 line``, ``2 lines``; ``words`` where an s does not make the plural."""
    return f"{count} {word if count == 1 else words or word + 's'}"


def in_words(name: str) -> str:
    """The name of an event as people say it: ``CanaryPassed`` is «canary passed»."""
    return re.sub(r"(?<!^)([A-Z])", r" \1", name).lower()


def short_hashes(text: str) -> str:
    """Text for people, with the whole hashes of commits cut as git shows them."""
    return re.sub(r"\b([0-9a-f]{10})[0-9a-f]{30}\b", r"\1", text)
