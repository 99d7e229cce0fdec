"""Queries of objectives: templates of PromQL with the variable ``{{.window}}``, checked by a parser. Pure.

Lengths of time are written as Prometheus writes them: 28 days are ``4w``, 30 days ``30d``, 36 hours ``1d12h``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import promql_parser

from harness.core.errors import Invalid

WINDOW = "{{.window}}"
_WINDOW = re.compile(r"\{\{ *\.window *\}\}")  # a rule of the templates; what a query means is the parser's to say
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_EXAMPLE_S = 60.0
_MARK_S = 61.007
"""Stands for the window where it is to be found again: a length that nobody writes."""
_TEXT_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'|`[^`]*`|#[^\n]*")
_GLUED = re.compile(r"[\w.]\{\{ *\.window *\}\}|\{\{ *\.window *\}\}[\w.]")
_NODE = re.compile(r"[-+*/%^(<>]|==|!=|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\[([^\]]*)\]")
_OFFSET = re.compile(r"\boffset\s*[-+]?\s*([0-9][0-9A-Za-z.]*(?:(?<=e)[-+]?[0-9]+)?)", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,9})?|(?:[0-9]{1,10}(?:ms|[smhdwy]))+")

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


def fault(template: str) -> str | None:
    """Why a template of a query is none that a rule can be made of; None when it is one."""
    if not template.strip():
        return "is missing; write a query in PromQL"
    if not _WINDOW.search(template):
        return f"has to contain the variable {WINDOW}, as in `rate(requests_total[{WINDOW}])`"
    if _GLUED.search(_bare(template)):
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


@dataclass(frozen=True)
class Counted:
    """Selectors of counters: ``good``, or the sum of ``bad``, by ``total``."""

    total: str
    bad: tuple[str, ...] = ()
    good: str | None = None


def counted(template: str) -> Counted:
    """The counters that a template of an error ratio counts. Raises Invalid for any other query.

    Read are ``bad / total`` and ``1 - good / total``, each a sum of the rate or the increase of one series, over the
    whole window; ``bad`` may be several of them, added.
    """
    parsed = _bared(_parsed(windowed(template, _MARK_S)))
    if (
        isinstance(parsed, promql_parser.BinaryExpr)
        and str(parsed.op) == "-"
        and isinstance(parsed.lhs, promql_parser.NumberLiteral)
        and parsed.lhs.val == 1
    ):
        good, total = _halves(_bared(parsed.rhs))
        return Counted(_increase(total), good=_increase(good))
    bad, total = _halves(parsed)
    return Counted(_increase(total), bad=tuple(_increase(part) for part in _summands(bad)))


def _halves(parsed: promql_parser.Expr) -> tuple[promql_parser.Expr, promql_parser.Expr]:
    if not isinstance(parsed, promql_parser.BinaryExpr) or str(parsed.op) != "/" or parsed.modifier is not None:
        raise Invalid("its query is no ratio of counted events, `bad / total` or `1 - good / total`")
    return _bared(parsed.lhs), _bared(parsed.rhs)


def _summands(parsed: promql_parser.Expr) -> Iterator[promql_parser.Expr]:
    if isinstance(parsed, promql_parser.BinaryExpr) and str(parsed.op) == "+" and parsed.modifier is None:
        yield from _summands(_bared(parsed.lhs))
        yield from _summands(_bared(parsed.rhs))
    else:
        yield parsed


def _increase(parsed: promql_parser.Expr) -> str:
    """The selector of ``sum(rate(selector[window]))``."""
    if (
        isinstance(parsed, promql_parser.AggregateExpr)
        and str(parsed.op) == "sum"
        and parsed.modifier is None
        and isinstance(call := _bared(parsed.expr), promql_parser.Call)
        and call.func.name in ("rate", "increase")
        and isinstance(over := _bared(call.args[0]), promql_parser.MatrixSelector)
        and over.range == timedelta(seconds=_MARK_S)
        and over.vector_selector.offset is None
        and over.vector_selector.at is None
    ):
        return _text(over.vector_selector)
    written = parsed.prettify().replace(duration(_MARK_S), WINDOW)
    raise Invalid(
        f"`{written}` is no sum of the rate or the increase of one series over {WINDOW}, without grouping or offset: "
        "what it counts cannot be told"
    )


def _bared(parsed: promql_parser.Expr) -> promql_parser.Expr:
    while isinstance(parsed, promql_parser.ParenExpr):
        parsed = parsed.expr
    return parsed


def _parsed(query: str) -> promql_parser.Expr:
    _check_bounds(query)
    try:
        parsed = promql_parser.parse(query)
    except ValueError as error:
        raise Invalid(f"is no PromQL: {str(error).splitlines()[0]}") from None
    except BaseException as error:  # a panic of the parser, whose class it does not export
        if type(error).__name__ != "PanicException":
            raise
        raise Invalid(f"is no PromQL: {error}") from None
    if _has_or_between_labels(parsed):
        raise Invalid("has `or` between its labels, which not every Prometheus takes; use a regular expression")
    return parsed


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


def _has_or_between_labels(parsed: promql_parser.Expr) -> bool:
    found: list[promql_parser.VectorSelector] = []

    def look(node: object) -> bool:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(parsed, look)
    return any(series.matchers.or_matchers for series in found)


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
