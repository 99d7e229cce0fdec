"""What the parts of an OpenSLO ``v1`` object have to be to each other. Pure, touches nothing.

These rules look at the plain document, so that what they find is told beside the faults of single values, each with its
own place. What is not of the type that a rule looks for is passed over: ``openslo.py`` tells it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from harness.core.units import choices

OPERATORS = ("gt", "lt", "gte", "lte")
RAW_TYPES = ("success", "failure")
UNITS_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "M": 30 * 86400, "Q": 90 * 86400, "Y": 365 * 86400}

Faults = Iterator[tuple[str, str]]


def faults(kind: str, document: Mapping[str, Any]) -> Faults:
    """Every fault, as path and reason."""
    spec = document.get("spec")
    rules = {"SLO": _slo, "SLI": _sli, "AlertPolicy": _policy}
    if isinstance(spec, dict) and kind in rules:
        yield from rules[kind](spec, "spec")


def length_s(text: str) -> float:
    """The seconds of a duration such as ``4w``; a month is 30 days, a year 365. Raises ValueError."""
    match = re.fullmatch(r"\+?([0-9]{1,18}) *([A-Za-z]+)", text)
    if match is None or match[2] not in UNITS_S:
        raise ValueError(f"{text!r} is no duration; write a number and one of {', '.join(UNITS_S)}, as in `4w`")
    return float(int(match[1]) * UNITS_S[match[2]])


def _slo(spec: dict[str, Any], at: str) -> Faults:
    objectives = list(_items(spec, "objectives"))
    composite = any(_has_indicator(objective) for _, objective in objectives)
    if composite and _has_indicator(spec):
        yield at, "has an indicator of its own and others in its objectives; give it in one place"
    elif not composite and not _has_indicator(spec):
        yield at, "has neither indicator nor indicatorRef, and none of its objectives has one; give one"
    yield from _indicator(spec, at)
    for number, window in _items(spec, "timeWindow"):
        yield from _time_window(window, f"{at}.timeWindow[{number}]")
    for number, objective in objectives:
        here = f"{at}.objectives[{number}]"
        yield from _exactly_one(objective, here, "target", "targetPercent")
        yield from _indicator(objective, here)
        yield from _by_indicator(spec, objective, here)
        yield from _by_method(spec.get("budgetingMethod"), objective, here)
        weight = objective.get("compositeWeight")
        if composite and _is_number(weight) and weight <= 0:
            yield f"{here}.compositeWeight", f"{weight:g} has to be above 0"
    for number, policy in _items(spec, "alertPolicies"):
        here = f"{at}.alertPolicies[{number}]"
        yield from _reference_or_object(policy, here, "alertPolicyRef")
        if isinstance(inner := policy.get("spec"), dict):
            yield from _policy(inner, f"{here}.spec")


def _indicator(of: dict[str, Any], at: str) -> Faults:
    inline = of.get("indicator")
    if inline is not None and of.get("indicatorRef") is not None:
        yield at, "has both indicator and indicatorRef; give one of them"
    if isinstance(inline, dict) and isinstance(sli := inline.get("spec"), dict):
        yield from _sli(sli, f"{at}.indicator.spec")


def _time_window(window: dict[str, Any], at: str) -> Faults:
    rolls, calendar = window.get("isRolling") is True, window.get("calendar") is not None
    if rolls and calendar:
        yield at, "has a calendar though isRolling is true"
    elif not rolls and not calendar:
        yield at, "needs a calendar, or isRolling: true"


def _by_indicator(spec: dict[str, Any], objective: dict[str, Any], at: str) -> Faults:
    """Of an indicator elsewhere it is not known here what it is."""
    inline = spec.get("indicator")
    sli = inline.get("spec") if isinstance(inline, dict) else None
    if not isinstance(sli, dict):
        return
    op, value = objective.get("op"), objective.get("value")
    if sli.get("thresholdMetric") is not None:
        if value is None:
            yield f"{at}.value", "is missing; it is what the indicator's metric is compared with"
        if not op:
            yield f"{at}.op", f"is missing; {choices('', OPERATORS)}"
        elif op not in OPERATORS:
            yield f"{at}.op", f"{op!r} cannot be read; {choices(str(op), OPERATORS)}"
    if sli.get("ratioMetric") is not None:
        for key, given in (("value", value is not None), ("op", op)):
            if given:
                yield f"{at}.{key}", "is of no use beside a ratio metric; leave it out"


def _by_method(method: Any, objective: dict[str, Any], at: str) -> Faults:
    if method not in ("Timeslices", "RatioTimeslices"):
        return
    share, length = objective.get("timeSliceTarget"), objective.get("timeSliceWindow")
    if method == "Timeslices" and share is None:
        yield f"{at}.timeSliceTarget", "is missing, though the budgeting method is Timeslices"
    elif method == "Timeslices" and _is_number(share) and not 0 < share <= 1:
        yield f"{at}.timeSliceTarget", f"{share:g} has to be above 0 and up to 1"
    if length is None:
        yield f"{at}.timeSliceWindow", f"is missing, though the budgeting method is {method}"
    elif isinstance(length, str):
        try:
            length_s(length)
        except ValueError as error:
            yield f"{at}.timeSliceWindow", str(error)


def _sli(spec: dict[str, Any], at: str) -> Faults:
    yield from _exactly_one(spec, at, "thresholdMetric", "ratioMetric")
    ratio = spec.get("ratioMetric")
    if not isinstance(ratio, dict):
        return
    here = f"{at}.ratioMetric"
    yield from _exactly_one(ratio, here, "raw", "total")
    yield from _exactly_one(ratio, here, "raw", "good", "bad")
    kind = ratio.get("rawType")
    if ratio.get("raw") is not None and kind not in RAW_TYPES:
        said = f"{kind!r} cannot be read" if kind else "is missing beside raw"
        yield f"{here}.rawType", f"{said}; {choices(str(kind or ''), RAW_TYPES)}"


def _policy(spec: dict[str, Any], at: str) -> Faults:
    for key, reference in (("conditions", "conditionRef"), ("notificationTargets", "targetRef")):
        for number, part in _items(spec, key):
            yield from _reference_or_object(part, f"{at}.{key}[{number}]", reference)


def _reference_or_object(part: dict[str, Any], at: str, reference: str) -> Faults:
    given = [key for key in ("kind", "metadata", "spec") if part.get(key) is not None]
    if part.get(reference) is not None:
        if given:
            yield at, f"has {reference} beside {given[0]}; give a reference or an object"
    elif not given:
        yield at, f"is empty; give {reference}, or an object"
    else:
        yield from ((f"{at}.{key}", "is missing") for key in ("kind", "metadata", "spec") if key not in given)


def _exactly_one(of: dict[str, Any], at: str, *keys: str) -> Faults:
    given = [key for key in keys if of.get(key) is not None]
    if len(given) != 1:
        yield at, f"has {'none' if not given else 'more than one'} of {', '.join(keys)}; give one of them"


def _has_indicator(of: dict[str, Any]) -> bool:
    return of.get("indicator") is not None or of.get("indicatorRef") is not None


def _items(of: dict[str, Any], key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    given = of.get(key)
    if isinstance(given, list):
        yield from ((number, item) for number, item in enumerate(given) if isinstance(item, dict))


def _is_number(given: Any) -> TypeGuard[float]:
    return isinstance(given, int | float) and not isinstance(given, bool)
