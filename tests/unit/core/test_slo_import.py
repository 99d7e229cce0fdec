"""Other forms' objectives as entries of our own: what a query counts, and queries that count nothing. Pure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.adapters.declarations import load_windows
from harness.core.errors import Invalid
from harness.core.slo import parse_slos
from harness.core.slo_documents import importing, native, promql, sloth
from harness.core.slo_documents.reading import Reading
from harness.core.slo_documents.rules import Objective

WINDOWS = load_windows(Path(__file__).parents[3] / "slos/windows")
BAD, ALL = 'sum(rate(hits{code=~"5.."}[{{.window}}]))', "sum(rate(hits[{{.window}}]))"


def objectives(error_query: str = BAD, total_query: str = ALL, **more: object) -> tuple[Objective, ...]:
    slo = {
        "name": "pages", "objective": 99.95,
        "sli": {"events": {"error_query": error_query, "total_query": total_query}},
        "alerting": {"name": "PagesBurn"},
    }  # fmt: skip
    catalog = {table.period_s: table for name, table in WINDOWS.items() if name in sloth.TABLES}
    document = {"version": "prometheus/v1", "service": "wiki", "slos": [slo | more]}
    return sloth.read(document, "f", Reading(catalog, 30 * 86400.0, {}, alerts=True))


def test_a_ratio_of_counters_becomes_an_entry_that_writes_the_same_rules() -> None:
    # given an objective of Sloth's, when it is imported
    (theirs,) = objectives()
    document = importing.entries([theirs], "f", WINDOWS)

    # then it is an objective of ours, of the same events, target and tiers
    (slo,) = parse_slos(document, "f", WINDOWS)
    assert (slo.name, slo.service, slo.target, slo.tiers) == ("pages", "wiki", 0.9995, theirs.tiers)
    assert slo.indicator.ratio is not None
    assert (slo.indicator.ratio.bad, slo.indicator.ratio.total) == (('hits{code=~"5.."}',), "hits")
    # and what an entry has no place for is told
    alerting = {"name": "X", "page_alert": {"disable": True}, "annotations": {"runbook": "y"}}
    told = list(importing.left_out(objectives(labels={"tier": "1"}, alerting=alerting), "f"))
    assert told == [
        "f: wiki-pages: labels: an entry has none, they are left out: tier",
        "f: wiki-pages: page alert: there is none, but an entry files a ticket for every tier",
        "f: wiki-pages: ticket alert: an entry has no annotations, they are left out",
    ]


names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8).map("{}_total".format)
labels = st.tuples(st.sampled_from(["arm", "code", "job"]), st.text("az\"'\\\n{}[]", max_size=6))
labelled = st.builds(
    lambda name, of: f"{name}{{{','.join(f'{key}={json.dumps(value)}' for key, value in of)}}}",
    names, st.lists(labels, min_size=1, max_size=3),
)  # fmt: skip
selectors = names | labelled


@given(st.lists(selectors, min_size=1, max_size=4), selectors, st.sampled_from(["rate", "increase"]), st.booleans())
def test_counters_are_found_again_in_the_query_that_counts_them(
    parts: list[str], total: str, function: str, good: bool
) -> None:
    def summed(selector: str) -> str:
        return promql.series_over_windows(selector, function)

    if good:
        found = promql.counters_of(f"(1 - ({promql.ratio(summed(parts[0]), summed(total))}))")
        assert found == promql.Selectors(total, good=parts[0])
    else:
        found = promql.counters_of(promql.ratio(" + ".join(map(summed, parts)), summed(total)))
        assert found == promql.Selectors(total, bad=tuple(parts))


@pytest.mark.parametrize(
    ("error_query", "told"),
    [
        ("sum by (code) (rate(hits[{{.window}}]))", "has `sum by (code) (rate(hits[{{.window}}]))`, which is no"),
        ("sum(rate(hits[5m])) + 0 * sum(rate(hits[{{.window}}]))", "has a window of its own"),
        ("sum(rate(hits[{{.window}}] offset 5m))", "is moved in time"),
        ("rate(hits[{{.window}}])", "has `rate(hits[{{.window}}])`, which is no sum"),
        ("sum(avg_over_time(hits[{{.window}}]))", "is no sum of what one counter gained"),
        ("avg(rate(hits[{{.window}}]))", "is no sum of what one counter gained"),
        ("hits:rate{{.window}}", "has `hits:rate{{.window}}`, which is no sum"),
        ('sum(rate(hits{over="{{.window}}"}[{{.window}}]))', "has {{.window}} in a name or a label"),
        ("2 - sum(rate(hits[{{.window}}]))", "which is no sum of what one counter gained"),
    ],
)
def test_a_query_of_which_cannot_be_told_what_it_counts_is_refused(error_query: str, told: str) -> None:
    with pytest.raises(Invalid) as refusal:
        importing.entries(objectives(error_query), "f", WINDOWS)
    assert str(refusal.value).startswith("f: wiki-pages: ") and told in str(refusal.value)


def test_what_others_record_for_each_window_is_no_counter() -> None:
    with pytest.raises(Invalid, match="in a name or a label, so it is no counter"):
        promql.counters_of("(bad:rate{{.window}})\n/\n(all:rate{{.window}})")


def test_our_own_objectives_survive_their_rules() -> None:
    document = {"slos": [{"name": "a", "service": "wiki", "target": "99.9%", "window": "28d",
                          "indicator": {"ratio": {"bad": ["x", 'y{z="1"}'], "total": "t"}}}]}  # fmt: skip
    (slo,) = parse_slos(document, "f", WINDOWS)
    objective = native.read(slo, "wiki", slo.selectors(None, "any"), {})  # type: ignore[arg-type]
    assert importing.entries([objective], "f", WINDOWS) == document
