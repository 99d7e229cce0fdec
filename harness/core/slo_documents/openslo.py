"""The form of OpenSLO ``v1``: its seven kinds of objects, and the rules that its specification sets for each. Pure.

What is here says whether a document is one; what rules can be made of it is for ``openslo_rules.py`` to say. The rules
are those of the specification (https://github.com/OpenSLO/OpenSLO) and of its reference implementation, which knows
every key and refuses others.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from harness.core.declaration import Declaration
from harness.core.errors import Invalid
from harness.core.units import choices

VERSION: Literal["openslo/v1"] = "openslo/v1"
METHODS = Literal["Occurrences", "Timeslices", "RatioTimeslices"]
OPERATORS = Literal["gt", "lt", "gte", "lte"]
UNITS_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "M": 30 * 86400, "Q": 90 * 86400, "Y": 365 * 86400}

_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_LABEL_KEY = re.compile(r"[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_PART = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_ANNOTATION_KEY = re.compile(rf"((?=.{{0,253}}/){_PART}(\.{_PART})*/)?{_LABEL_KEY.pattern}")


def _length(text: str) -> str:
    length_s(text)
    return text


def length_s(text: str) -> float:
    """The seconds of a duration such as ``4w``; a month is 30 days, a year 365. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,9})([A-Za-z]+)", text)
    if match is None or match[2] not in UNITS_S:
        raise ValueError(f"{text!r} is no duration; write a number and one of {', '.join(UNITS_S)}, as in `4w`")
    return float(int(match[1]) * UNITS_S[match[2]])


def _time(text: str) -> str:
    try:
        datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise ValueError(f"{text!r} is no time; write it like `2026-01-31 12:00:00`") from None
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text!r} is no time zone; write it like `Europe/Berlin`") from None
    return text


def _keys(pattern: re.Pattern[str]) -> AfterValidator:
    def checked(given: dict[str, Any]) -> dict[str, Any]:
        for key in given:
            if pattern.fullmatch(key) is None:
                raise ValueError(f"{key!r} is no key; it has to match {pattern.pattern}")
        return given

    return AfterValidator(checked)


def _or(empty: Any) -> BeforeValidator:
    return BeforeValidator(lambda given: empty if given is None else given)


Name = Annotated[str, Field(pattern=_DNS_LABEL, max_length=63)]
Required = Annotated[str, Field(min_length=1)]
Description = Annotated[str, Field(max_length=1050), _or("")]
Length = Annotated[str, AfterValidator(_length)]
Labels = Annotated[dict[str, str | list[str]], _keys(_LABEL_KEY), _or({})]
Annotations = Annotated[dict[str, str], _keys(_ANNOTATION_KEY), _or({})]


class Part(Declaration):
    """A part of an object: values are of the type that is asked for, none is made to fit."""

    model_config = ConfigDict(strict=True)


def exactly_one(of: BaseModel, *names: str) -> None:
    """Raise ValueError unless one of these fields is given."""
    given = [name for name in names if getattr(of, name) is not None]
    if len(given) != 1:
        keys = ", ".join(map(to_camel, names))
        raise ValueError(f"has {'none' if not given else 'more than one'} of {keys}; give one of them")


class Metadata(Part):
    """What an object is called."""

    name: Name
    display_name: Annotated[str, Field(max_length=63), _or("")] = Field(default="", alias="displayName")
    labels: Labels = Field(default={})
    annotations: Annotations = Field(default={})


class MetricSource(Part):
    """A query in the language of its source; what is in ``spec`` is the source's own."""

    metric_source_ref: Name | None = Field(default=None, alias="metricSourceRef")
    type: str | None = None
    spec: dict[str, Any] = Field(min_length=1)


class Metric(Part):
    """Where numbers come from."""

    metric_source: MetricSource = Field(alias="metricSource")


class RatioMetric(Part):
    """Events of one kind by all events, or their ratio itself (``raw``)."""

    counter: bool = False
    good: Metric | None = None
    bad: Metric | None = None
    total: Metric | None = None
    raw_type: Literal["success", "failure"] | None = Field(default=None, alias="rawType")
    raw: Metric | None = None

    @model_validator(mode="after")
    def _one_ratio(self) -> Self:
        exactly_one(self, "raw", "total")
        exactly_one(self, "raw", "good", "bad")
        if self.raw is not None and self.raw_type is None:
            raise ValueError("has raw without rawType; give rawType success or failure")
        return self


class SliSpec(Part):
    """A ratio of events, or a number with which an objective compares."""

    description: Description = ""
    threshold_metric: Metric | None = Field(default=None, alias="thresholdMetric")
    ratio_metric: RatioMetric | None = Field(default=None, alias="ratioMetric")

    @model_validator(mode="after")
    def _one_metric(self) -> Self:
        exactly_one(self, "threshold_metric", "ratio_metric")
        return self


class InlineSli(Part):
    """An indicator within an objective."""

    metadata: Metadata
    spec: SliSpec


class AlertConditionType(Part):
    """Fires when the burn rate over a window compares so with the threshold."""

    kind: Literal["burnrate"]
    op: OPERATORS
    threshold: float
    lookback_window: Length = Field(alias="lookbackWindow")
    alert_after: Length | None = Field(default=None, alias="alertAfter")


class AlertConditionSpec(Part):
    """When to alert."""

    severity: Required
    condition: AlertConditionType
    description: Description = ""


class AlertNotificationTargetSpec(Part):
    """Whom to tell."""

    target: Required
    description: Description = ""


class PolicyCondition(Part):
    """A condition, or the name of one."""

    condition_ref: Name | None = Field(default=None, alias="conditionRef")
    kind: Literal["AlertCondition"] | None = None
    metadata: Metadata | None = None
    spec: AlertConditionSpec | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        reference_or_inline(self, "condition_ref")
        return self


class PolicyTarget(Part):
    """A target, or the name of one."""

    target_ref: Name | None = Field(default=None, alias="targetRef")
    kind: Literal["AlertNotificationTarget"] | None = None
    metadata: Metadata | None = None
    spec: AlertNotificationTargetSpec | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        reference_or_inline(self, "target_ref")
        return self


class AlertPolicySpec(Part):
    """Which conditions tell whom."""

    description: Description = ""
    alert_when_no_data: bool = Field(default=False, alias="alertWhenNoData")
    alert_when_breaching: bool = Field(default=False, alias="alertWhenBreaching")
    alert_when_resolved: bool = Field(default=False, alias="alertWhenResolved")
    conditions: list[PolicyCondition] = Field(min_length=1, max_length=1)
    notification_targets: list[PolicyTarget] = Field(alias="notificationTargets", min_length=1)


class SloPolicy(Part):
    """A policy, or the name of one."""

    alert_policy_ref: Name | None = Field(default=None, alias="alertPolicyRef")
    kind: Literal["AlertPolicy"] | None = None
    metadata: Metadata | None = None
    spec: AlertPolicySpec | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        reference_or_inline(self, "alert_policy_ref")
        return self


def reference_or_inline(of: BaseModel, reference: str) -> None:
    """Raise ValueError unless a part is either a reference, or an object with kind, metadata and spec."""
    inline = [name for name in ("kind", "metadata", "spec") if getattr(of, name) is not None]
    named = getattr(of, reference) is not None
    if named and inline:
        raise ValueError(f"has {to_camel(reference)} beside {inline[0]}; give a reference or an object")
    if not named and len(inline) < 3:
        missing = next(name for name in ("kind", "metadata", "spec") if name not in inline)
        raise ValueError(f"{missing} is missing" if inline else f"is empty; give {to_camel(reference)}, or an object")


class Calendar(Part):
    """From when on windows are counted."""

    start_time: Annotated[str, AfterValidator(_time)] = Field(alias="startTime")
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(alias="timeZone")


class TimeWindow(Part):
    """A window that moves with the time, or that begins anew by the calendar."""

    duration: Length
    is_rolling: bool = Field(default=False, alias="isRolling")
    calendar: Calendar | None = None

    @model_validator(mode="after")
    def _rolls_or_has_a_calendar(self) -> Self:
        if self.is_rolling == (self.calendar is not None):
            raise ValueError(
                "has a calendar though isRolling is true" if self.is_rolling else "needs a calendar, or isRolling: true"
            )
        return self


class ObjectivePart(Part):
    """A target for the whole indicator, or for one of several."""

    display_name: str | None = Field(default=None, alias="displayName")
    op: str | None = None
    value: float | None = None
    target: Annotated[float, Field(ge=0, lt=1)] | None = None
    target_percent: Annotated[float, Field(ge=0, lt=100)] | None = Field(default=None, alias="targetPercent")
    time_slice_target: float | None = Field(default=None, alias="timeSliceTarget")
    time_slice_window: Length | None = Field(default=None, alias="timeSliceWindow")
    indicator: InlineSli | None = None
    indicator_ref: Name | None = Field(default=None, alias="indicatorRef")
    composite_weight: float | None = Field(default=None, alias="compositeWeight")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        exactly_one(self, "target", "target_percent")
        return self

    @property
    def has_indicator(self) -> bool:
        """Whether it is a target for one of several indicators."""
        return self.indicator is not None or self.indicator_ref is not None


class SloPart(Part):
    """What is promised of a service."""

    description: Description = ""
    service: Required
    indicator: InlineSli | None = None
    indicator_ref: Name | None = Field(default=None, alias="indicatorRef")
    budgeting_method: METHODS = Field(alias="budgetingMethod")
    time_window: Annotated[list[TimeWindow], Field(min_length=1, max_length=1)] = Field(alias="timeWindow")
    objectives: Annotated[list[ObjectivePart], _or([])] = Field(default=[])
    alert_policies: Annotated[list[SloPolicy], _or([])] = Field(default=[], alias="alertPolicies")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        composite = any(objective.has_indicator for objective in self.objectives)
        if self.indicator is not None and self.indicator_ref is not None:
            raise ValueError("has both indicator and indicatorRef; give one of them")
        if composite == (self.indicator is not None or self.indicator_ref is not None):
            raise ValueError(
                "has an indicator of its own and others in its objectives; give it in one place"
                if composite
                else "has neither indicator nor indicatorRef, and none of its objectives has one; give one"
            )
        faults = [
            f"objectives[{number}].{key} {reason}"
            for number, objective in enumerate(self.objectives)
            for key, reason in _objective_faults(self, objective, composite)
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self


def _objective_faults(slo: SloPart, objective: ObjectivePart, composite: bool) -> list[tuple[str, str]]:
    faults = []
    if objective.indicator is not None and objective.indicator_ref is not None:
        faults.append(("indicator", "stands beside indicatorRef; give one of them"))
    if composite and objective.composite_weight is not None and objective.composite_weight <= 0:
        faults.append(("compositeWeight", f"{objective.composite_weight:g} has to be above 0"))
    if slo.budgeting_method == "Timeslices":
        if objective.time_slice_target is None:
            faults.append(("timeSliceTarget", "is missing, though the budgeting method is Timeslices"))
        elif not 0 < objective.time_slice_target <= 1:
            faults.append(("timeSliceTarget", f"{objective.time_slice_target:g} has to be above 0 and up to 1"))
    if slo.budgeting_method != "Occurrences" and objective.time_slice_window is None:
        faults.append(("timeSliceWindow", f"is missing, though the budgeting method is {slo.budgeting_method}"))
    if slo.indicator is not None and slo.indicator.spec.threshold_metric is not None:
        if objective.value is None:
            faults.append(("value", "is missing; it is what the indicator's metric is compared with"))
        if objective.op not in ("gt", "lt", "gte", "lte"):
            known = choices(objective.op or "", ("gt", "lt", "gte", "lte"))
            faults.append(("op", "is missing" if not objective.op else f"{objective.op!r} cannot be read; {known}"))
    if slo.indicator is not None and slo.indicator.spec.ratio_metric is not None:
        faults += [
            (key, "is of no use beside a ratio metric; leave it out")
            for key, given in (("value", objective.value), ("op", objective.op))
            if given is not None
        ]
    return faults


class ServicePart(Part):
    """What the service is."""

    description: Description = ""


class DataSourcePart(Part):
    """A system that answers queries; how to reach it is its own."""

    description: Description = ""
    type: Required
    connection_details: Any = Field(alias="connectionDetails")

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.connection_details is None:
            raise ValueError("connectionDetails is missing")
        return self


class Head(Part):
    """What every object has."""

    api_version: Literal["openslo/v1"] = Field(alias="apiVersion")
    metadata: Metadata


class Slo(Head):
    """An objective."""

    kind: Literal["SLO"]
    spec: SloPart


class Sli(Head):
    """An indicator that objectives name."""

    kind: Literal["SLI"]
    spec: SliSpec


class DataSource(Head):
    """A source that indicators name."""

    kind: Literal["DataSource"]
    spec: DataSourcePart


class Service(Head):
    """A service that objectives name."""

    kind: Literal["Service"]
    spec: Annotated[ServicePart, _or({})] = ServicePart()


class AlertPolicy(Head):
    """A policy that objectives name."""

    kind: Literal["AlertPolicy"]
    spec: AlertPolicySpec


class AlertCondition(Head):
    """A condition that policies name."""

    kind: Literal["AlertCondition"]
    spec: AlertConditionSpec


class AlertNotificationTarget(Head):
    """A target that policies name."""

    kind: Literal["AlertNotificationTarget"]
    spec: AlertNotificationTargetSpec


KINDS: dict[str, type[Head]] = {
    kind.__name__ if kind not in (Slo, Sli) else kind.__name__.upper(): kind
    for kind in (Slo, Sli, DataSource, Service, AlertPolicy, AlertCondition, AlertNotificationTarget)
}


def read(document: Any, where: str) -> Head:
    """The object of a parsed document. Raises Invalid, a line a fault."""
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        said = "is missing" if kind is None else f"{kind!r} cannot be read"
        raise Invalid(f"{where}: kind: {said}; {choices(str(kind), KINDS)}")
    return KINDS[kind].parse(document, where)
