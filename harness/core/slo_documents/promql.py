"""Queries of objectives: templates of PromQL with the variable ``{{.window}}``, checked by a parser. Pure.

Lengths of time are written as Prometheus writes them: 28 days are ``4w``, 30 days ``30d``, 36 hours ``1d12h``.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta

import promql_parser

from harness.core.errors import Invalid

WINDOW = "{{.window}}"
_WINDOW = re.compile(r"\{\{ *\.window *\}\}")  # a rule of the templates; what a query means is the parser's to say
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_EXAMPLE_S = 60.0


def duration(length_s: float) -> str:
    """A length of time as Prometheus writes it in names and ranges."""
    return promql_parser.display_duration(timedelta(seconds=length_s))


def duration_s(text: str) -> float:
    """The seconds of ``30d``, ``4w`` or ``1d12h``. Raises Invalid."""
    try:
        return promql_parser.parse_duration(text).total_seconds()
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{text!r} is no length of time ({error}); write it like `30d`, `4w` or `1d12h`") from None


def windowed(template: str, window_s: float) -> str:
    """The query over one window."""
    return _WINDOW.sub(duration(window_s), template)


def enclosed(query: str) -> str:
    """The query in parentheses; a comment in its last line is ended first."""
    query = query.strip()
    return f"({query}\n)" if "#" in query else f"({query})"


def ratio(part: str, whole: str) -> str:
    """One query by another."""
    return f"{enclosed(part)}\n/\n{enclosed(whole)}"


def fault(template: str) -> str | None:
    """Why a template of a query is none that a rule can be made of; None when it is one."""
    if not template.strip():
        return "is missing; write a query in PromQL"
    if not _WINDOW.search(template):
        return f"has to contain the variable {WINDOW}, as in `rate(requests_total[{WINDOW}])`"
    query = windowed(template, _EXAMPLE_S)
    if "{{" in query:
        return f"{WINDOW} is the only variable that is filled in"
    try:
        _parsed(query)
    except Invalid as error:
        return str(error)
    try:
        promql_parser.parse(f"{enclosed(query)} + 0")
    except ValueError:
        return "gives a range or a text; a rule is made of an instant vector or a number"
    return None


def over_windows(query: str, function: str) -> str:
    """The template that applies ``function`` to the counter that a query names, ``x`` or ``sum by (a) (x)``.

    Raises Invalid for anything else: what a window over any other query means cannot be told from its text.
    """
    parsed = _parsed(query)
    if isinstance(parsed, promql_parser.VectorSelector):
        return series_over_windows(query, function)
    if (
        isinstance(parsed, promql_parser.AggregateExpr)
        and str(parsed.op) == "sum"
        and isinstance(parsed.expr, promql_parser.VectorSelector)
    ):
        modifier = f" {parsed.modifier} " if parsed.modifier is not None else ""
        return f"sum{modifier}({function}({_text(parsed.expr)}[{WINDOW}]))"
    raise Invalid(f"is neither a series nor the sum of one; write the window into it, `rate(x[{WINDOW}])`")


def series_over_windows(selector: str, function: str) -> str:
    """The template that applies ``function`` to one counter and sums its series. Raises Invalid for no selector."""
    return f"sum({function}({_text(_selector(selector))}[{WINDOW}]))"


def buckets(histogram: str, below: float) -> tuple[str, str]:
    """The buckets of a histogram that hold what was no more than ``below``, and all. Raises Invalid for no series.

    A whole number is written with and without its `.0`, for clients differ.
    """
    parsed = _selector(histogram)
    bound = f'le="{below!r}"' if below != int(below) else f'le=~"{int(below)}(\\\\.0)?"'
    return _text(parsed, bound), _text(parsed, 'le="+Inf"')


def _parsed(query: str) -> promql_parser.Expr:
    try:
        return promql_parser.parse(query)
    except ValueError as error:
        raise Invalid(f"is no PromQL: {str(error).splitlines()[0]}") from None


def _selector(query: str) -> promql_parser.VectorSelector:
    parsed = _parsed(query)
    if not isinstance(parsed, promql_parser.VectorSelector):
        raise Invalid('is no selector of series; write it like `requests_total{code="500"}`')
    return parsed


def _text(series: promql_parser.VectorSelector, *more: str) -> str:
    """A series as it is written. The parser's own text of one leaves quotes in values as they are."""
    if series.offset is not None or series.at is not None:
        raise Invalid(f"is moved in time; write the window into it, `rate(x[{WINDOW}] offset 5m)`")
    if series.matchers.or_matchers:
        raise Invalid("has `or` between its labels, which not every Prometheus takes; use a regular expression")
    matchers = [
        f"{_name(each.name)}{_OPERATORS[str(each.op)]}{_quoted(each.value)}" for each in series.matchers.matchers
    ]
    name = series.name or ""
    if name and not _NAME.fullmatch(name):
        name, matchers = "", [f"__name__={_quoted(name)}", *matchers]
    labels = ",".join([*matchers, *more])
    return f"{name}{{{labels}}}" if labels else name


def _name(label: str) -> str:
    return label if _NAME.fullmatch(label) else _quoted(label)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
