"""Sloth's documents (``prometheus/v1``) and its tables of alert windows, as this project's objectives. Pure.

What Sloth takes is taken: keys that it does not know are left alone, and a number is a text where one is wanted. Its
plugins are code of its own, so a document that uses them is refused rather than read without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from harness.core.declaration import Form, as_key
from harness.core.errors import Invalid
from harness.core.slo import Windows
from harness.core.slo_documents import promql
from harness.core.slo_documents.reading import Reading
from harness.core.slo_documents.rules import (
    Alert,
    Objective,
    Severity,
    label_faults,
    name_fault,
    percent_fault,
    require_distinct,
)
from harness.core.units import choices

VERSION: Literal["prometheus/v1"] = "prometheus/v1"
TABLES = ("28d", "30d")
"""The tables of windows that Sloth has without being given any; others mean nothing to a document of its form."""


def _text(given: Any) -> str:
    """A scalar of YAML where a text is wanted: the text that was written, as far as YAML has kept it."""
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, str | int | float):
        return str(given) if isinstance(given, str) else str(given).removesuffix(".0")
    if given is None:
        return ""
    raise ValueError("is no text")


def _number(given: Any) -> float:
    if given is None:
        return 0.0
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"{given!r} is no number; write it without quotes")
    try:
        return float(given)
    except OverflowError:
        raise ValueError("has too many digits") from None


def _texts(given: Any) -> Any:
    if given is None:
        return {}
    return {_text(key): value for key, value in given.items()} if isinstance(given, dict) else given


Text = Annotated[str, BeforeValidator(_text)]
Number = Annotated[float, BeforeValidator(_number)]
Flag = Annotated[bool, Field(strict=True), BeforeValidator(lambda given: False if given is None else given)]
Texts = Annotated[dict[str, Text], BeforeValidator(_texts)]


class Loose(Form):
    """A part of a document of which keys that are not known are kept, to be told."""

    model_config = ConfigDict(extra="allow")

    def left_alone(self, at: str = "") -> Iterator[str]:
        """Every key below that is not known, as ``path: reason``."""
        known = [name for name in type(self).model_fields if name not in ("plugins", "slo_plugins", "plugin")]
        for key in self.model_extra or {}:
            yield f"{at}{as_key(key)}: is not known and left alone; {choices(key, known)}"
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Loose):
                yield from value.left_alone(f"{at}{name}.")
            elif isinstance(value, tuple):
                for number, part in enumerate(value):
                    yield from part.left_alone(f"{at}{name}[{number}].")


class Events(Loose):
    """Queries for bad events and for all."""

    error_query: Text = ""
    total_query: Text = ""


class Raw(Loose):
    """A query for the error ratio itself."""

    error_ratio_query: Text = ""


class Sli(Loose):
    """One of the two; ``plugin`` is refused."""

    events: Events | None = None
    raw: Raw | None = None
    plugin: Any = None


class AlertForm(Loose):
    """What one severity's alert has beyond the common."""

    disable: Flag = False
    labels: Texts = Field(default={})
    annotations: Texts = Field(default={})


class Alerting(Loose):
    """Both alerts, by default under one name."""

    name: Text = ""
    labels: Texts = Field(default={})
    annotations: Texts = Field(default={})
    page_alert: AlertForm | None = None
    ticket_alert: AlertForm | None = None


class SloForm(Loose):
    """One objective, in per cent."""

    name: Text = ""
    description: Text = ""
    objective: Number = 0.0
    labels: Texts = Field(default={})
    sli: Sli | None = None
    alerting: Alerting | None = None
    plugins: Any = None


class Document(Loose):
    """A document of ``prometheus/v1``."""

    version: Text = ""
    service: Text = ""
    labels: Texts = Field(default={})
    slo_plugins: Any = None
    slos: tuple[SloForm, ...] | None = None


def read_all(documents: Iterable[tuple[str, Any]], reading: Reading, where: str) -> tuple[Objective, ...]:
    """The objectives of all documents: where each stands, and what it says. Raises Invalid, a line a fault."""
    found: list[Objective] = []
    faults: list[str] = []
    for place, document in documents:
        try:
            found += read(document, place, reading)
        except Invalid as error:
            faults.append(str(error))
    if faults:
        raise Invalid("\n".join(faults))
    require_distinct(found, where)
    return tuple(found)


def read(document: Any, where: str, reading: Reading) -> tuple[Objective, ...]:
    """The objectives of a parsed document. Raises Invalid, a line a fault."""
    if not isinstance(document, dict):
        raise Invalid(f"{where}: document: is no mapping; one of {VERSION} has version, service and slos")
    if document.get("version") != VERSION:
        raise Invalid(f"{where}: version: {_other_form(document)}")
    form = Document.parse(document, where)
    faults = list(dict.fromkeys(f"{where}: {path}: {reason}" for path, reason in _faults(form, reading.extra_labels)))
    if reading.period_s not in reading.catalog:
        faults.append(f"{where}: {reading.no_table(reading.period_s)}")
    if faults:
        raise Invalid("\n".join(faults))
    return tuple(
        Objective(
            service=form.service,
            name=slo.name,
            percent=slo.objective,
            period_s=reading.period_s,
            tiers=reading.catalog[reading.period_s].over(reading.period_s),
            error=_error(slo),
            spec=VERSION,
            labels={**form.labels, **slo.labels, **reading.extra_labels},
            alerts=_alerts(slo.alerting or Alerting()),
        )
        for slo in form.slos or ()
    )


def left_alone(documents: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """What of documents that were read was not: a line a key, for a slip of the pen looks like one."""
    for where, document in documents:
        yield from (f"{where}: {line}" for line in Document.parse(document, where).left_alone())


def _other_form(document: Mapping[str, Any]) -> str:
    if "version" in document:
        return f"{document['version']!r} cannot be read; allowed: {VERSION}"
    api = str(document.get("apiVersion", ""))
    if api.startswith("openslo"):
        return f"is missing; {api!r} is read with --format openslo"
    if api:
        return f"is missing; {api!r} is a Kubernetes resource, write its spec as a document of {VERSION}"
    return f"is missing; allowed: {VERSION}"


def _faults(form: Document, extra_labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if reason := name_fault(form.service):
        yield "service", reason
    if _names_plugins(form.slo_plugins):
        yield "slo_plugins", "plugins are not supported; leave them out to have the rules that Sloth makes by itself"
    if not form.slos:
        yield "slos", "is empty; give at least one objective"
    seen: set[str] = set()
    for number, slo in enumerate(form.slos or ()):
        at = f"slos[{number}]"
        if slo.name in seen:
            yield f"{at}.name", f"{form.service}-{slo.name} is declared twice; give each a name of its own"
        seen.add(slo.name)
        yield from ((f"{at}.{path}", reason) for path, reason in _slo_faults(slo))
        for key, reason in label_faults({**form.labels, **slo.labels, **extra_labels}):
            yield f"{at}.labels.{as_key(key)}" if key in slo.labels else f"labels.{as_key(key)}", reason


def _slo_faults(slo: SloForm) -> Iterator[tuple[str, str]]:
    if reason := name_fault(slo.name):
        yield "name", reason
    if reason := percent_fault(slo.objective):
        yield "objective", reason
    if _names_plugins(slo.plugins):
        yield "plugins", "plugins are not supported; leave them out to have the rules that Sloth makes by itself"
    yield from _sli_faults(slo.sli or Sli())
    alerting = slo.alerting or Alerting()
    if not alerting.name and _alerts(alerting):
        yield "alerting.name", "is missing; name the alert, or disable both page_alert and ticket_alert"
    for severity, alert in _alerts(alerting).items():
        own = getattr(alerting, f"{severity}_alert") or AlertForm()
        for of, values, common in (
            ("labels", alert.labels, own.labels),
            ("annotations", alert.annotations, own.annotations),
        ):
            for key, reason in label_faults(values, annotations=of == "annotations"):
                yield f"alerting.{f'{severity}_alert.' if key in common else ''}{of}.{as_key(key)}", reason


def _sli_faults(sli: Sli) -> Iterator[tuple[str, str]]:
    if sli.plugin is not None:
        yield "sli.plugin", "plugins are not supported; write the query under raw or events"
    elif sli.events is None and sli.raw is None:
        yield "sli", "is missing; give either events or raw"
    elif sli.events is not None and sli.raw is not None:
        yield "sli", "has both events and raw; give one of them"
    elif sli.events is not None:
        queries = {"error_query": sli.events.error_query, "total_query": sli.events.total_query}
        for name, query in queries.items():
            if reason := promql.fault(query):
                yield f"sli.events.{name}", reason
        if len(set(queries.values())) == 1:
            yield "sli.events", "error_query and total_query are the same"
    elif sli.raw is not None and (reason := promql.fault(sli.raw.error_ratio_query)):
        yield "sli.raw.error_ratio_query", reason


def _names_plugins(plugins: Any) -> bool:
    """Whether a part of a document names plugins, or is not of the form that names them: an empty chain names none."""
    if not isinstance(plugins, dict):
        return plugins is not None
    return plugins.get("chain") not in (None, []) or plugins.get("overridePrevious") not in (None, False)


def _error(slo: SloForm) -> str:
    assert slo.sli is not None
    if slo.sli.events is not None:
        return promql.ratio(slo.sli.events.error_query, slo.sli.events.total_query)
    assert slo.sli.raw is not None
    return promql.enclosed(slo.sli.raw.error_ratio_query)


def _alerts(alerting: Alerting) -> dict[Severity, Alert]:
    own: dict[Severity, AlertForm] = {
        "page": alerting.page_alert or AlertForm(),
        "ticket": alerting.ticket_alert or AlertForm(),
    }
    return {
        severity: Alert(
            alerting.name, {**alerting.labels, **alert.labels}, {**alerting.annotations, **alert.annotations}
        )
        for severity, alert in own.items()
        if not alert.disable
    }


class WindowForm(Form):
    """One tier of Sloth's table; ``error_budget_percent`` of the period's budget."""

    error_budget_percent: Number = Field(alias="errorBudgetPercent")
    short_window: Text = Field(alias="shortWindow")
    long_window: Text = Field(alias="longWindow")


class SeverityForm(Form):
    """A severity fires by either of two tiers."""

    quick: WindowForm
    slow: WindowForm


class WindowsSpec(Form):
    """A period, and the tiers of both severities."""

    slo_period: Text = Field(alias="sloPeriod")
    page: SeverityForm
    ticket: SeverityForm


class AlertWindows(Form):
    """A table of windows in Sloth's form."""

    api_version: Literal["sloth.slok.dev/v1"] = Field(alias="apiVersion")
    kind: Literal["AlertWindows"]
    spec: WindowsSpec


def read_windows(document: Any, where: str) -> Windows:
    """A table in Sloth's form as one of this project's. Raises Invalid, a line a fault."""
    spec = AlertWindows.parse(document, where).spec
    tiers: list[tuple[str, str, WindowForm]] = [
        (f"{severity}.{speed}", severity, window)
        for severity, of in (("page", spec.page), ("ticket", spec.ticket))
        for speed, window in (("quick", of.quick), ("slow", of.slow))
    ]
    faults = {"spec.sloPeriod": _length_fault(spec.slo_period)}
    for path, _, tier in tiers:
        faults[f"spec.{path}.longWindow"] = _length_fault(tier.long_window)
        faults[f"spec.{path}.shortWindow"] = _length_fault(tier.short_window)
        faults[f"spec.{path}.errorBudgetPercent"] = percent_fault(tier.error_budget_percent)
    if not any(faults.values()):
        for path, _, tier in tiers:
            if promql.duration_s(tier.short_window) >= promql.duration_s(tier.long_window):
                faults[f"spec.{path}.shortWindow"] = (
                    f"{tier.short_window!r} has to be shorter than longWindow, {tier.long_window!r}"
                )
    if lines := [f"{where}: {path}: {reason}" for path, reason in faults.items() if reason]:
        raise Invalid("\n".join(lines))
    return Windows.parse(
        {
            "period": _in_seconds(spec.slo_period),
            "tiers": [
                {
                    "severity": severity,
                    "budget": f"{tier.error_budget_percent!r}%",
                    "long": _in_seconds(tier.long_window),
                    "short": _in_seconds(tier.short_window),
                }
                for _, severity, tier in tiers
            ],
        },
        where,
    )


def _length_fault(text: str) -> str | None:
    try:
        promql.duration_s(text)
    except Invalid as error:
        return str(error)
    return None


def _in_seconds(text: str) -> str:
    return f"{promql.duration_s(text)!r}s"
