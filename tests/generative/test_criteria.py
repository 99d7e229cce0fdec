"""Every condition and duration that can be said is written as text that says the same. Touches nothing."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.criteria import (
    Better,
    Between,
    Compare,
    Condition,
    CriterionSpec,
    Direction,
    Duration,
    NoRegression,
    Within,
)
from harness.core.errors import Invalid
from harness.core.units import UNITS, Quantity

numbers = st.floats(min_value=-1e200, max_value=1e200, allow_nan=False)
lengths = st.floats(min_value=1e-9, max_value=1e12)
quantities = st.builds(Quantity, numbers, st.sampled_from(sorted(UNITS)))
margins = st.builds(Quantity, st.floats(min_value=0, max_value=1e9), st.just("%"))
ranges = st.tuples(numbers, numbers, st.sampled_from(sorted(UNITS))).map(
    lambda ends: Between(Quantity(min(ends[:2]), ends[2]), Quantity(max(ends[:2]), ends[2]))
)
conditions: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Compare, st.sampled_from(["<", "<=", ">", ">=", "=="]), quantities),
    ranges,
    st.builds(NoRegression, st.none() | margins),
    st.builds(Better, margins),
    st.builds(Within, margins),
)
times = [unit for unit, (dimension, _) in UNITS.items() if dimension == "time"]
durations = st.builds(
    Duration, st.builds(Quantity, lengths, st.sampled_from(times)), st.sampled_from(["plain", "sustained", "for"])
)
words = st.text(string.ascii_lowercase, min_size=1)
metrics = words.map(lambda word: f"m_{word}") | st.builds("error_ratio({}-{})".format, words, words)


@given(conditions)
def test_a_condition_survives_its_text(condition: Condition) -> None:
    assert Condition.parse(condition.text) == condition


@given(durations)
def test_a_duration_survives_its_text(duration: Duration) -> None:
    assert Duration.parse(duration.text) == duration


@given(metrics, conditions, st.none() | durations.filter(lambda duration: duration.form != "plain"))
def test_a_criterion_survives_its_line(metric: str, condition: Condition, duration: Duration | None) -> None:
    spec = CriterionSpec(metric, condition, duration)

    assert CriterionSpec.parse_text(spec.text) == spec


@given(conditions, numbers, st.none() | numbers, st.sampled_from(["lower", "higher", "either"]))
def test_an_unmeasured_value_never_meets_a_condition(
    condition: Condition, value: float, baseline: float | None, direction: Direction
) -> None:
    assert condition.holds(None, baseline, direction) is None
    if condition.needs_baseline:
        assert condition.holds(value, None, direction) is None


@given(st.text())
def test_any_other_text_is_refused_and_never_breaks_the_parser(text: str) -> None:
    try:
        condition = Condition.parse(text)
    except Invalid:
        return
    assert Condition.parse(condition.text) == condition


@given(margins, numbers, st.sampled_from(["lower", "higher"]))
def test_what_is_better_is_no_regression(margin: Quantity, value: float, direction: Direction) -> None:
    if Better(margin).holds(value, 1.0, direction):
        assert NoRegression(None).holds(value, 1.0, direction)


@pytest.mark.parametrize("unit", sorted(UNITS))
@given(number=numbers)
def test_a_quantity_survives_its_text(unit: str, number: float) -> None:
    assert Quantity.parse(Quantity(number, unit).text) == Quantity(number, unit)
