"""This project's own objectives (``core/slo.py``) as what rules are made of. Pure.

Their tiers are those that the watch judges by, so that Prometheus alerts when the watch files. One difference stays: a
rule knows no ``min_events``, and burns on the first bad event of few.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from harness.core.errors import Invalid
from harness.core.slo import Slo
from harness.core.slo_documents import promql
from harness.core.slo_documents.promql import Selectors
from harness.core.slo_documents.rules import Alert, Objective, Severity


def read(slo: Slo, service: str, selectors: Selectors, extra_labels: Mapping[str, str]) -> Objective:
    """What rules of an objective are made of. Raises Invalid where a selector is none."""
    alert = Alert("".join(word.capitalize() for word in re.split("[-_]", f"{service}-{slo.name}-burn")))
    alerts: dict[Severity, Alert] = {tier.severity: alert for tier in slo.tiers}
    return Objective(
        service=service,
        name=slo.name,
        percent=float(Fraction(repr(slo.target)) * 100),
        period_s=slo.period_s,
        tiers=slo.tiers,
        error=_error(slo, selectors),
        spec="native",
        labels=extra_labels,
        alerts=alerts,
    )


def _error(slo: Slo, selectors: Selectors) -> str:
    total = _events(slo, "total", selectors.total)
    if selectors.good is not None:
        return f"(1 - ({promql.ratio(_events(slo, 'good', selectors.good), total)}))"
    return promql.ratio(" + ".join(_events(slo, "bad", bad) for bad in selectors.bad), total)


def _events(slo: Slo, of: str, selector: str) -> str:
    try:
        return promql.series_over_windows(selector, "rate")
    except Invalid as error:
        raise Invalid(f"slo {slo.name}: indicator: {of} {selector!r} {error}") from None
