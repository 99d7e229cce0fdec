"""Queries of objectives: templates of PromQL with the variable ``{{.window}}``, checked by a parser. Pure.

Lengths of time are written as Prometheus writes them: 28 days are ``4w``, 30 days ``30d``, 36 hours ``1d12h``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeGuard

import promql_parser

from harness.core.errors import Invalid

WINDOW = "{{.window}}"
_WINDOW = re.compile(r"\{\{ *\.window *\}\}")  # a rule of the templates; what a query means is the parser's to say
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_EXAMPLE_S = 60.0
_NOBODYS_S = 86_399.0
"""A window that nobody writes: what has it was written as the variable."""
_TEXT_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'|`[^`]*`|#[^\n]*")
_GLUED = re.compile(r"[\w.]\{\{ *\.window *\}\}|\{\{ *\.window *\}\}[\w.]")
_IN_NAME = re.compile(r"(?<![\w.:])[A-Za-z_:][A-Za-z0-9_:]*\{\{ *\.window *\}\}[A-Za-z0-9_:]*")
_QUOTED_NAME = re.compile(  # in a query without its texts; the parser's tree no longer tells it from `__name__="…"`
    r'[{,]\s*""(?=[^{}]*\})|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*""', re.IGNORECASE
)
_NODE = re.compile(r"[-+*/%^(<>]|==|!=|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\[([^\]]*)\]")
_BRACKETS = re.compile(r"(\[[^\]]*\])")
_OFFSET = re.compile(r"\boffset\s*[-+]?\s*([0-9][0-9A-Za-z.]*(?:(?<=e)[-+]?[0-9]+)?)", re.IGNORECASE)
_LENGTH = re.compile(r"(?:[0-9]{1,10}(?:ms|[smhdwy]))+")

_EXPERIMENTAL = {
    "double_exponential_smoothing", "end", "first_over_time", "info", "limit_ratio", "limitk", "mad_over_time", "range",
    "sort_by_label", "sort_by_label_desc", "start", "step", "ts_of_first_over_time", "ts_of_last_over_time",
    "ts_of_max_over_time", "ts_of_min_over_time",
}  # fmt: skip
"""What Prometheus computes only when it is started so."""

SHORTEST_S, LONGEST_S = 0.001, 100 * 365 * 86400.0
"""What Prometheus can write (whole milliseconds) and hold (nanoseconds in 64 bits) of a length of time."""
LONGEST_QUERY = 20_000
MOST_NODES = 500
"""Characters of a query, and operators and parentheses in it: the parser's stack ends the process at a few thousand."""


def duration(length_s: float) -> str:
    """A length of time as Prometheus writes it in names and ranges."""
    return promql_parser.display_duration(timedelta(seconds=length_s))


def duration_s(text: str) -> float:
    """The seconds of ``30d``, ``4w`` or ``1d12h``. Raises Invalid."""
    if _LENGTH.fullmatch(text) is None:
        raise Invalid(f"{text[:80]!r} is no length of time; write it like `30d`, `4w` or `1d12h`")
    try:
        length_s = promql_parser.parse_duration(text).total_seconds()
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{text!r} is no length of time ({error}); write it like `30d`, `4w` or `1d12h`") from None
    if reason := length_fault(length_s):
        raise Invalid(f"{text!r} {reason}")
    return length_s


def length_fault(length_s: float) -> str | None:
    """Why a period or a window cannot be one of Prometheus; None when it can."""
    if not SHORTEST_S <= length_s <= LONGEST_S:
        return "is outside of what is allowed, 1ms to 100y"
    if abs(length_s * 1000 - round(length_s * 1000)) > 1e-6 * max(1.0, length_s):
        return "is no whole number of milliseconds"
    return None


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


def has_window(template: str) -> bool:
    """Whether a template has the variable."""
    return _WINDOW.search(template) is not None


def fault(template: str, *, needs_window: bool = True) -> str | None:
    """Why a template of a query is none that a rule can be made of; None when it is one.

    The variable stands for a whole length, or is a part of the name of a series that others record for each window.
    """
    if not template.strip():
        return "is missing; write a query in PromQL"
    if needs_window and not has_window(template):
        return f"has to contain the variable {WINDOW}, as in `rate(requests_total[{WINDOW}])`"
    parts = _BRACKETS.split(_bare(template))
    if _GLUED.search("".join(part if part.startswith("[") else _IN_NAME.sub("x", part) for part in parts)):
        return f"has a letter, a digit or a dot beside {WINDOW}, which stands for a whole length such as `5m`"
    query = windowed(template, _EXAMPLE_S)
    if "{{" in query:
        return f"{WINDOW} is the only variable that is filled in"
    try:
        _parsed(query)
    except Invalid as error:
        return str(error)
    try:
        _parsed(f"{enclosed(query)} + 0")
    except Invalid:
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
    if not (parsed.name or "").endswith("_bucket"):
        raise Invalid("names no buckets; write a series that ends with `_bucket`")
    if any(each.name == "le" for each in parsed.matchers.matchers):
        raise Invalid("has the label `le`, which is the bound's; leave it out")
    bound = f'le="{below!r}"' if below != int(below) else f'le=~"{int(below)}(\\\\.0)?"'
    return _text(parsed, bound), _text(parsed, 'le="+Inf"')


def narrowed(selector: str, labels: Mapping[str, str]) -> str:
    """The one series of a selector that has these labels. Raises Invalid for no selector."""
    return _text(_selector(selector), *(f"{_name(name)}={_quoted(value)}" for name, value in labels.items()))


@dataclass(frozen=True)
class Selectors:
    """Selectors of counters: bad events are the sum of ``bad``, or ``total`` minus ``good``."""

    total: str
    bad: tuple[str, ...] = ()
    good: str | None = None


def counters_of(error_ratio: str) -> Selectors:
    """What an error ratio counts: sums of counters by the sum of one, or 1 minus such a ratio of what was good.

    Each sum is ``sum(rate(x[{{.window}}]))`` (or ``increase``); where none has a window, ``sum(x)`` or ``x``. Raises
    Invalid for anything else: its events could not be counted.
    """
    parsed = _bared(_parsed(windowed(error_ratio, _NOBODYS_S)))
    good, ratio = False, parsed
    if _is_binary(parsed, "-") and _is_one(_bared(parsed.lhs)):
        good, ratio = True, _bared(parsed.rhs)
    if not _is_binary(ratio, "/"):
        raise Invalid(f"is no ratio of counters; {_AS_COUNTERS}")
    counter = _over_the_window if _IN_BRACKETS.search(_bare(error_ratio)) else _bare_counter
    parts = tuple(counter(one) for one in _summands(ratio.lhs))
    wholes = tuple(counter(one) for one in _summands(ratio.rhs))
    if len(wholes) > 1 or (good and len(parts) > 1):
        raise Invalid(f"has a sum of several counters where one is needed; {_AS_COUNTERS}")
    if any(duration(_NOBODYS_S) in selector for selector in (*parts, *wholes)):
        raise Invalid(f"has {WINDOW} in a name or a label, so it is no counter; {_AS_COUNTERS}")
    return Selectors(wholes[0], good=parts[0]) if good else Selectors(wholes[0], bad=parts)


_AS_COUNTERS = "write it like `sum(rate(errors_total[{{.window}}])) / sum(rate(requests_total[{{.window}}]))`"


def _summands(node: promql_parser.Expr) -> Iterator[promql_parser.Expr]:
    node = _bared(node)
    if _is_binary(node, "+"):
        yield from _summands(node.lhs)
        yield from _summands(node.rhs)
    else:
        yield node


def _over_the_window(node: promql_parser.Expr) -> str:
    """The selector of a counter whose increase over the objective's window is summed up."""
    call = _bared(node.expr) if _is_sum(node) else None
    if isinstance(call, promql_parser.Call) and call.func.name in ("rate", "increase"):
        series = _bared(call.args[0])
        if isinstance(series, promql_parser.MatrixSelector) and series.range == timedelta(seconds=_NOBODYS_S):
            return _text(series.vector_selector)
        raise Invalid(f"has a window of its own, and every window of the objective is needed; {_AS_COUNTERS}")
    written = node.prettify().replace(duration(_NOBODYS_S), WINDOW)
    raise Invalid(f"has `{written}`, which is no sum of what one counter gained; {_AS_COUNTERS}")


def _bare_counter(node: promql_parser.Expr) -> str:
    series = _bared(node.expr) if _is_sum(node) else node
    if isinstance(series, promql_parser.VectorSelector):
        return _text(series)
    raise Invalid(f"has `{node.prettify()}`, which is no sum of counters; {_AS_COUNTERS}")


def _is_sum(node: promql_parser.Expr) -> TypeGuard[promql_parser.AggregateExpr]:
    return isinstance(node, promql_parser.AggregateExpr) and str(node.op) == "sum" and node.modifier is None


def _is_binary(node: promql_parser.Expr, operator: str) -> TypeGuard[promql_parser.BinaryExpr]:
    return isinstance(node, promql_parser.BinaryExpr) and str(node.op) == operator and node.modifier is None


def _is_one(node: promql_parser.Expr) -> bool:
    return isinstance(node, promql_parser.NumberLiteral) and node.val == 1


def _bared(node: promql_parser.Expr) -> promql_parser.Expr:
    while isinstance(node, promql_parser.ParenExpr):
        node = node.expr
    return node


def _parsed(query: str) -> promql_parser.Expr:
    _check_bounds(query)
    try:
        parsed = promql_parser.parse(_TEXT_OR_COMMENT.sub(_without_backticks, query))
    except ValueError as error:
        raise Invalid(f"is no PromQL: {str(error).splitlines()[0]}") from None
    except BaseException as error:  # a panic of the parser, whose class it does not export
        if type(error).__name__ != "PanicException":
            raise
        raise Invalid(f"is no PromQL: {error}") from None
    if _QUOTED_NAME.search(_bare(query)):
        raise Invalid('has a name in quotes, which not every Prometheus takes; select a series by `{__name__="a.b"}`')
    if reason := _not_everywhere(parsed):
        raise Invalid(reason)
    return parsed


def _without_backticks(part: re.Match[str]) -> str:
    """The parser takes a backslash between backticks for an escape, which it is not."""
    return _quoted(part[0][1:-1]) if part[0].startswith("`") else part[0]


def _check_bounds(query: str) -> None:
    """Raise Invalid for what the parser would not survive."""
    if len(query) > LONGEST_QUERY:
        raise Invalid(f"has {len(query)} characters; allowed are {LONGEST_QUERY}")
    bare = _bare(query)
    if (nodes := len(_NODE.findall(bare))) > MOST_NODES:
        raise Invalid(f"has {nodes} operators and parentheses; allowed are {MOST_NODES}")
    lengths = [part.strip() for inside in _IN_BRACKETS.findall(bare) for part in inside.split(":")]
    for text in lengths + _OFFSET.findall(bare):
        if _is_too_long(text):
            raise Invalid(f"has a length of {text[:80]!r}; the longest that is allowed is 100y")


def _is_too_long(text: str) -> bool:
    """Whether it is a length beyond the bound; what is none is the parser's to refuse."""
    try:
        return not float(text) <= LONGEST_S
    except ValueError:
        pass
    if _LENGTH.fullmatch(text) is None:
        return len(text) > 80
    try:
        return promql_parser.parse_duration(text).total_seconds() > LONGEST_S
    except OverflowError:
        return True
    except ValueError:
        return False


def _bare(query: str) -> str:
    """The query without what stands in quotes and comments."""
    return _TEXT_OR_COMMENT.sub('""', query)


def _not_everywhere(parsed: promql_parser.Expr) -> str | None:
    """What of a query not every Prometheus takes."""
    found: list[str] = []

    def look(node: object) -> bool:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector) and node.matchers.or_matchers:
            found.append("has `or` between its labels, which not every Prometheus takes; use a regular expression")
        name = node.func.name if isinstance(node, promql_parser.Call) else str(getattr(node, "op", ""))
        if name in _EXPERIMENTAL:
            found.append(f"calls `{name}`, which is experimental; Prometheus computes it only when it is started so")
        return True

    promql_parser.walk(parsed, look)
    return found[0] if found else None


def _selector(query: str) -> promql_parser.VectorSelector:
    parsed = _parsed(query)
    if not isinstance(parsed, promql_parser.VectorSelector):
        raise Invalid('is no selector of series; write it like `requests_total{code="500"}`')
    return parsed


def _text(series: promql_parser.VectorSelector, *more: str) -> str:
    """A series as it is written. The parser's own text of one leaves quotes in values as they are."""
    if series.offset is not None or series.at is not None:
        raise Invalid(f"is moved in time; write the window into it, `rate(x[{WINDOW}] offset 5m)`")
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
