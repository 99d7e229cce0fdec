"""The form of OpenSLO ``v1``: its seven kinds of objects, and the rules that its specification sets for each. Pure.

What is here says whether a document is one, with ``openslo_together.py``, which says what its parts have to be to each
other; what rules can be made of it is for ``openslo_rules.py`` to say. The rules are those of the specification
(https://github.com/OpenSLO/OpenSLO) and of its reference implementation, which knows every key and refuses others,
takes a key without a value for one that is not there, and reads the length of a slice only where there are slices.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from harness.core.declaration import Declaration
from harness.core.errors import Invalid
from harness.core.slo_documents import openslo_together
from harness.core.slo_documents.openslo_together import length_s
from harness.core.units import choices

VERSION: Literal["openslo/v1"] = "openslo/v1"
METHODS = Literal["Occurrences", "Timeslices", "RatioTimeslices"]
OPERATORS = Literal["gt", "lt", "gte", "lte"]

_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2} +[0-9]{1,2}:[0-9]{2}:[0-9]{2})([.,][0-9]+)?")
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_DNS_LABEL_OR_NONE = rf"^$|{_DNS_LABEL}"
_LABEL_KEY = re.compile(r"[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_PART = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_ANNOTATION_KEY = re.compile(rf"((?=.{{0,253}}/){_PART}(\.{_PART})*/)?{_LABEL_KEY.pattern}")


def _length(text: str) -> str:
    length_s(text)
    return text


def _length_or_none(text: str) -> str:
    return text and _length(text)


def _time(text: str) -> str:
    try:
        match = _TIME.fullmatch(text)
        if match is None:
            raise ValueError
        datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S")
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


def _label(given: Any) -> Any:
    return [] if given is None else [given] if isinstance(given, str) else given


def _texts(given: Any) -> Any:
    return {key: "" if value is None else value for key, value in given.items()} if isinstance(given, dict) else given


Name = Annotated[str, Field(pattern=_DNS_LABEL, max_length=63)]
Required = Annotated[str, Field(min_length=1)]
Description = Annotated[str, Field(max_length=1050)]
Length = Annotated[str, AfterValidator(_length)]
LengthOrNone = Annotated[str, AfterValidator(_length_or_none)]
Labels = Annotated[dict[str, Annotated[list[str], BeforeValidator(_label)]], _keys(_LABEL_KEY)]
Annotations = Annotated[dict[str, str], _keys(_ANNOTATION_KEY), BeforeValidator(_texts)]


class Part(Declaration):
    """A part of an object: values are of the type that is asked for, none is made to fit."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        """A key that is not known stays, to be told; one of any form does, for there null is a value like another."""
        if not isinstance(given, dict):
            return given
        known = {field.alias or name for name, field in cls.model_fields.items() if field.annotation is not Any}
        return {key: value for key, value in given.items() if value is not None or key not in known}


class Metadata(Part):
    """What an object is called."""

    name: Name
    display_name: Annotated[str, Field(max_length=63)] = Field(default="", alias="displayName")
    labels: Labels = Field(default={})
    annotations: Annotations = Field(default={})


class MetricSource(Part):
    """A query in the language of its source; what is in ``spec`` is the source's own."""

    metric_source_ref: Annotated[str, Field(pattern=_DNS_LABEL_OR_NONE, max_length=63)] = Field(
        default="", alias="metricSourceRef"
    )
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
    raw_type: str = Field(default="", alias="rawType")
    raw: Metric | None = None


class SliSpec(Part):
    """A ratio of events, or a number with which an objective compares."""

    description: Description = ""
    threshold_metric: Metric | None = Field(default=None, alias="thresholdMetric")
    ratio_metric: RatioMetric | None = Field(default=None, alias="ratioMetric")


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
    alert_after: LengthOrNone = Field(default="", alias="alertAfter")


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


class PolicyTarget(Part):
    """A target, or the name of one."""

    target_ref: Name | None = Field(default=None, alias="targetRef")
    kind: Literal["AlertNotificationTarget"] | None = None
    metadata: Metadata | None = None
    spec: AlertNotificationTargetSpec | None = None


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


class Calendar(Part):
    """From when on windows are counted."""

    start_time: Annotated[str, AfterValidator(_time)] = Field(alias="startTime")
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(alias="timeZone")


class TimeWindow(Part):
    """A window that moves with the time, or that begins anew by the calendar."""

    duration: Length
    is_rolling: bool = Field(default=False, alias="isRolling")
    calendar: Calendar | None = None


class ObjectivePart(Part):
    """A target for the whole indicator, or for one of several."""

    display_name: str | None = Field(default=None, alias="displayName")
    op: str | None = None
    value: float | None = None
    target: Annotated[float, Field(ge=0, lt=1)] | None = None
    target_percent: Annotated[float, Field(ge=0, lt=100)] | None = Field(default=None, alias="targetPercent")
    time_slice_target: float | None = Field(default=None, alias="timeSliceTarget")
    time_slice_window: str | None = Field(default=None, alias="timeSliceWindow")
    indicator: InlineSli | None = None
    indicator_ref: Name | None = Field(default=None, alias="indicatorRef")
    composite_weight: float | None = Field(default=None, alias="compositeWeight")

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
    objectives: list[ObjectivePart] = Field(default=[])
    alert_policies: list[SloPolicy] = Field(default=[], alias="alertPolicies")


class ServicePart(Part):
    """What the service is."""

    description: Description = ""


class DataSourcePart(Part):
    """A system that answers queries; how to reach it is its own."""

    description: Description = ""
    type: Required
    connection_details: Any = Field(alias="connectionDetails")


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
    spec: ServicePart = ServicePart()


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
    together = [f"{where}: {path}: {reason}" for path, reason in openslo_together.faults(kind, document)]
    try:
        found = KINDS[kind].parse(document, where)
    except Invalid as error:
        raise Invalid("\n".join([str(error), *together])) from None
    if together:
        raise Invalid("\n".join(together))
    return found
