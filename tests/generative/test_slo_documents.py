"""Documents of other forms, near valid ones and far: read, or refused with file, place and reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.adapters.declarations import load_windows, read_documents
from harness.core.errors import Invalid
from harness.core.slo_documents import importing, openslo_rules, sloth
from harness.core.slo_documents.reading import Reading
from harness.core.slo_documents.rules import Objective, rule_groups

TABLES = load_windows(Path(__file__).parents[2] / "slos/windows")
READING = Reading({TABLES[name].period_s: TABLES[name] for name in sloth.TABLES}, 30 * 86400.0, {"zone": "eu"}, True)

SLOTH = """
version: prometheus/v1
service: wiki
labels: {team: a}
slos:
- {name: pages, objective: 99.9, labels: {tier: 2}, plugins: {chain: []}, alerting: {name: A, labels: {a: b}, page_alert: {disable: true}},
   sli: {events: {error_query: 'sum(rate(bad[{{.window}}]))', total_query: 'sum(rate(all[{{.window}}]))'}}}
- {name: texts, objective: 90, sli: {raw: {error_ratio_query: 'bad:rate{{.window}}'}}, alerting: {name: B, annotations: {a: b}, ticket_alert: {labels: {c: d}}}}
"""  # noqa: E501
ALPHA = """
apiVersion: openslo/v1alpha
kind: SLO
metadata: {name: pages}
spec:
  service: wiki
  timeWindows: [{count: 28, unit: Day}]
  objectives:
  - target: 0.99
    ratioMetrics:
      good: {source: prometheus, queryType: promql, query: 'sum(rate(good[{{.window}}]))'}
      total: {source: prometheus, queryType: promql, query: 'sum(rate(all[{{.window}}]))'}
"""
V1 = """
- apiVersion: openslo/v1
  kind: SLO
  metadata: {name: pages, displayName: Pages, labels: {a: [b]}, annotations: {c: d}}
  spec:
    service: wiki
    indicatorRef: answers
    budgetingMethod: Occurrences
    timeWindow: [{duration: 4w, isRolling: true}]
    objectives: [{target: 0.99}, {targetPercent: 99.5, timeSliceTarget: 0.5, timeSliceWindow: 1m}]
    alertPolicies: []
- apiVersion: openslo/v1
  kind: SLO
  metadata: {name: lag}
  spec:
    service: wiki
    indicator:
      metadata: {name: lag}
      spec: {thresholdMetric: {metricSource: {type: Prometheus, spec: {query: max(lag)}}}}
    budgetingMethod: Occurrences
    timeWindow: [{duration: 30d, isRolling: true}]
    objectives: [{target: 0.9, op: lt, value: 5}]
- apiVersion: openslo/v1
  kind: SLI
  metadata: {name: answers}
  spec:
    ratioMetric:
      counter: true
      good: {metricSource: {metricSourceRef: here, spec: {query: good}}}
      total: {metricSource: {type: Prometheus, spec: {query: sum(all)}}}
- {apiVersion: openslo/v1, kind: DataSource, metadata: {name: here}, spec: {type: Prometheus, connectionDetails: {}}}
- apiVersion: openslo/v1
  kind: AlertPolicy
  metadata: {name: tell}
  spec:
    conditions: [{kind: AlertCondition, metadata: {name: fast}, spec: {severity: page, condition:
      {kind: burnrate, op: gt, threshold: 2, lookbackWindow: 1h}}}]
    notificationTargets: [{targetRef: us}]
"""
DOCUMENTS = [yaml.safe_load(text) for text in (SLOTH, ALPHA, V1)]

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", "a", "{{.window}}", "x[{{.window}}]", "sum(x", "1w", "2Q", "gt", "AlertPolicy", "é\n", "2026-01-01 00:00:00"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.none() | st.integers(0, 3), inner),
    max_leaves=5,
)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    if isinstance(document, dict | list):
        for key in document if isinstance(document, dict) else range(len(document)):
            yield document, key
            yield from places(document[key])


@st.composite
def documents(draw: st.DrawFn) -> Any:
    document = deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(0, 3))):
        if not (found := list(places(document))):
            break
        holder, key = draw(st.sampled_from(found))
        if draw(st.booleans()):
            holder[key] = draw(VALUES)
        elif isinstance(holder, dict) and draw(st.booleans()):
            holder[draw(TEXTS)] = draw(VALUES)
        else:
            del holder[key]
    return document


def readings(found: list[tuple[str, Any]]) -> Iterator[tuple[Objective, ...]]:
    """What each reader makes of documents that it does not refuse."""
    for reader in (sloth.read_all, openslo_rules.read, openslo_rules.check):
        try:
            yield reader(found, READING, "f") or ()
        except Invalid as error:
            for line in str(error).splitlines():
                file, place, reason = line.split(": ", 2)
                assert file == "f" and place and reason


@given(documents())
@settings(max_examples=150, deadline=None)
def test_a_document_is_read_or_refused_and_what_is_read_has_rules(document: Any) -> None:
    for objectives in readings([("f", document)]):
        for rule in (rule for group in rule_groups(objectives, version="1") for rule in group["rules"]):
            promql_parser.parse(rule["expr"])
        with suppress(Invalid):
            importing.entries(objectives, "f", TABLES)


@given(st.binary(max_size=60) | st.text("{}[]:-,!&*<>|'\"#%@ \n\t0a~", max_size=60).map(str.encode))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_documents_or_refused(tmp_path_factory: Any, body: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(body)
    try:
        found = read_documents(path)
    except Invalid as error:
        assert str(path) in str(error)
        return
    list(readings([("f", document) for _, document in found]))
