"""Objectives of other forms as entries of this project's own (``slos/*.yaml``). Pure, touches nothing.

The watch counts events between two moments, so an objective has to be a ratio of counters: the sum of the ``rate``, or
of the ``increase``, of one series by another. What any other query counts cannot be told, and it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.core.errors import Invalid
from harness.core.slo import Windows, parse_slos
from harness.core.slo_documents import promql
from harness.core.slo_documents.rules import Objective


def entries(objectives: Iterable[Objective], where: str, windows: Mapping[str, Windows]) -> dict[str, Any]:
    """A document of ``slos/`` with these objectives, which ``harness slo lint`` takes. Raises Invalid, a line a fault.

    ``windows``: table name → table; an objective's period is written as the table that has it.
    """
    found: list[dict[str, Any]] = []
    faults: list[str] = []
    for slo in objectives:
        try:
            found.append(_entry(slo, windows))
        except Invalid as error:
            faults.append(f"{where}: {slo.id}: {error}")
    if faults:
        raise Invalid("\n".join(faults))
    document = {"slos": found}
    parse_slos(document, where, windows)
    return document


def left_out(objectives: Iterable[Objective], where: str) -> Iterator[str]:
    """What of objectives an entry has no place for, a line a thing."""
    for slo in objectives:
        if slo.labels:
            yield f"{where}: {slo.id}: labels: an entry has none, they are left out: {', '.join(sorted(slo.labels))}"
        for severity in sorted({tier.severity for tier in slo.tiers} - set(slo.alerts) if slo.alerts else ()):
            yield f"{where}: {slo.id}: {severity} alert: there is none, but an entry files a ticket for every tier"
        for severity, alert in slo.alerts.items():
            for of, given in (("labels", alert.labels), ("annotations", alert.annotations)):
                if given:
                    yield f"{where}: {slo.id}: {severity} alert: an entry has no {of}, they are left out"


def _entry(slo: Objective, windows: Mapping[str, Windows]) -> dict[str, Any]:
    table = next((name for name, table in windows.items() if table.over(table.period_s) == slo.tiers), None)
    if table is None:
        raise Invalid(f"no table of slos/windows has its tiers; allowed: {', '.join(sorted(windows))}")
    counted = promql.counters_of(slo.error)
    of = {"good": counted.good} if counted.good is not None else {"bad": list(counted.bad)}
    return {
        "name": slo.name, "service": slo.service, "target": f"{slo.percent:.12g}%", "window": table,
        "indicator": {"ratio": {**of, "total": counted.total}},
    }  # fmt: skip
