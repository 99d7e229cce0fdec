"""The Prometheus rules of an objective, with the names and labels of Sloth's: records, metadata, alerts. Pure.

Records: https://sloth.dev/ (``slo:sli_error:ratio_rate5m`` and its kin). Alerts: a severity fires when one of its
tiers is exceeded over both its windows (SRE workbook, chapter 5).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from harness.core.errors import Invalid
from harness.core.slo import Tier
from harness.core.slo_documents.promql import duration, windowed

Spec = Literal["native", "prometheus/v1", "openslo/v1alpha", "openslo/v1"]
Severity = Literal["page", "ticket"]

MODES: Mapping[Spec, str] = {
    "native": "native",
    "prometheus/v1": "cli-gen-prom",
    "openslo/v1alpha": "cli-gen-openslo",
    "openslo/v1": "cli-gen-openslo",
}
"""What ``sloth_mode`` says of a form; Sloth's own words for its two."""

TITLE = "({severity}) {{{{$labels.sloth_service}}}} {{{{$labels.sloth_slo}}}} SLO error budget burn rate is too fast."
SUMMARY = "{{$labels.sloth_service}} {{$labels.sloth_slo}} SLO error budget burn rate is over expected."

_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]*[A-Za-z0-9]")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Alert:
    """What the alert of one severity is called and carries beside what every alert does."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """What rules are made of. ``percent``: the target, above 0 and up to 100; ``error``: a template of the error ratio.

    ``tiers``: the fastest first; its short window is the one from which the period is summed up.
    """

    service: str
    name: str
    percent: float
    period_s: float
    tiers: tuple[Tier, ...]
    error: str
    spec: Spec
    labels: Mapping[str, str] = field(default_factory=dict)
    alerts: Mapping[Severity, Alert] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The name under which its rules are found."""
        return f"{self.service}-{self.name}"

    @property
    def own_labels(self) -> dict[str, str]:
        """The labels that tell its series from those of others."""
        return {"sloth_id": self.id, "sloth_service": self.service, "sloth_slo": self.name}


def rule_groups(
    objectives: Iterable[Objective], *, version: str, recordings: bool = True, alerts: bool = True
) -> list[dict[str, Any]]:
    """The groups of a rule file: SLI records, metadata, alerts; ``version``: of what wrote them."""
    groups = []
    for slo in objectives:
        if recordings:
            groups.append({"name": f"sloth-slo-sli-recordings-{slo.id}", "rules": list(_sli_records(slo))})
            groups.append({"name": f"sloth-slo-meta-recordings-{slo.id}", "rules": _metadata(slo, version)})
        if alerts and slo.alerts:
            groups.append({"name": f"sloth-slo-alerts-{slo.id}", "rules": list(_alerts(slo))})
    return groups


def require_distinct(objectives: Iterable[Objective], where: str) -> None:
    """Raise Invalid where two have one id: they would write the same records from different queries."""
    counted = Counter(slo.id for slo in objectives)
    if twice := [each for each, times in counted.items() if times > 1]:
        raise Invalid("\n".join(f"{where}: {each}: is declared twice; give each a name of its own" for each in twice))


def name_fault(name: str) -> str | None:
    """Why a name cannot be that of a service or an objective; None when it can."""
    if not name:
        return "is missing"
    if _NAME.fullmatch(name) is None:
        return f"{name!r} has to be two or more letters, digits, `.`, `_` or `-`, with a letter or digit at both ends"
    return None


def percent_fault(percent: float) -> str | None:
    """Why a target in per cent is none; None when it is one."""
    return None if 0 < percent <= 100 else f"{percent!r} is outside of what is allowed, above 0 and up to 100 per cent"


def label_faults(labels: Mapping[str, str], *, annotations: bool = False) -> Iterator[tuple[str, str]]:
    """Every key that Prometheus would not take, or that has no value, and why."""
    for key, value in labels.items():
        if _LABEL.fullmatch(key) is None or (key == "__name__" and not annotations):
            yield key, "is no name of a label; allowed are letters, digits and `_`, not beginning with a digit"
        elif not value:
            yield key, "has no value"


def _sli_records(slo: Objective) -> Iterator[dict[str, Any]]:
    shortest_s = slo.tiers[0].short_s
    windows = {window for tier in slo.tiers for window in (tier.long_s, tier.short_s)}
    for window_s in sorted(windows | {slo.period_s}):
        expression = windowed(slo.error, window_s)
        if window_s == slo.period_s and window_s != shortest_s:
            # Reading weeks of raw samples at every evaluation costs more than it tells.
            short, over = _series(slo, _sli(shortest_s)), duration(window_s)
            expression = (
                f"sum_over_time({short}[{over}])\n/ ignoring (sloth_window)\ncount_over_time({short}[{over}])\n"
            )
        labels = slo.own_labels | {"sloth_window": duration(window_s)} | dict(slo.labels)
        yield {"record": _sli(window_s), "expr": expression, "labels": labels}


def _metadata(slo: Objective, version: str) -> list[dict[str, Any]]:
    labels = slo.own_labels | dict(slo.labels)
    ratio = _number(slo.percent / 100)
    records = {
        "slo:objective:ratio": f"vector({ratio})",
        "slo:error_budget:ratio": f"vector(1-{ratio})",
        "slo:time_period:days": f"vector({_number(slo.period_s / 86400)})",
        "slo:current_burn_rate:ratio": _burn_rate(slo, slo.tiers[0].short_s),
        "slo:period_burn_rate:ratio": _burn_rate(slo, slo.period_s),
        "slo:period_error_budget_remaining:ratio": f"1 - {_series(slo, 'slo:period_burn_rate:ratio')}",
    }
    info = {
        "sloth_version": version,
        "sloth_mode": MODES[slo.spec],
        "sloth_spec": slo.spec,
        "sloth_objective": _plain(slo.percent),
    }
    return [
        *({"record": name, "expr": expression, "labels": labels} for name, expression in records.items()),
        {"record": "sloth_slo_info", "expr": "vector(1)", "labels": labels | info},
    ]


def _burn_rate(slo: Objective, window_s: float) -> str:
    error, budget = _series(slo, _sli(window_s)), _series(slo, "slo:error_budget:ratio")
    return f"{error}\n/ on(sloth_id, sloth_slo, sloth_service) group_left\n{budget}\n"


def _alerts(slo: Objective) -> Iterator[dict[str, Any]]:
    budget = _number((100 - slo.percent) / 100)
    for severity, alert in slo.alerts.items():
        exceeded = [
            "(\n"
            f"    {_over(slo, tier.short_s, tier.factor, budget)}\n"
            "    and\n"
            f"    {_over(slo, tier.long_s, tier.factor, budget)}\n"
            ")\n"
            for tier in slo.tiers
            if tier.severity == severity
        ]
        if exceeded:
            yield {
                "alert": alert.name,
                "expr": "or\n".join(exceeded),
                "labels": {"sloth_severity": severity} | dict(alert.labels),
                "annotations": {"title": TITLE.format(severity=severity), "summary": SUMMARY} | dict(alert.annotations),
            }


def _over(slo: Objective, window_s: float, factor: float, budget: str) -> str:
    return f"max({_series(slo, _sli(window_s))} > ({_number(factor)} * {budget})) without (sloth_window)"


def _sli(window_s: float) -> str:
    return f"slo:sli_error:ratio_rate{duration(window_s)}"


def _series(slo: Objective, record: str) -> str:
    matchers = ", ".join(f'{name}="{value}"' for name, value in slo.own_labels.items())
    return f"{record}{{{matchers}}}"


def _number(value: float) -> str:
    """Twelve digits: what a share of 0.999 loses on its way through binary is not shown."""
    return f"{value:.12g}"


def _plain(value: float) -> str:
    """The shortest decimal that is this number, without an exponent."""
    text = f"{Decimal(repr(value)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
