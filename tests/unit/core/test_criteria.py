"""The grammar of conditions and durations as a specification. Pure values."""

from __future__ import annotations

import pytest

from harness.core.criteria import Condition, CriterionSpec, Direction, Duration
from harness.core.errors import Invalid


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("< 500ms", 0.4999, True),
        ("< 500ms", 0.5, False),
        ("<= 0.1%", 0.001, True),
        ("> 20%", 0.2, False),
        (">= 20%", 0.2, True),
        ("== 0", 0.0, True),
        ("== 0", 0.01, False),
        ("between 1 and 3", 3.0, True),
        ("between 1 and 3", 3.1, False),
        ("between 1ms and 1s", 0.5, True),
        ("< 1 MB", 999_999.0, True),
        ("> 60/m", 1.5, True),
        ("< 10%", None, None),
        ("< 10%", float("nan"), None),
        ("< 10%", float("inf"), None),
    ],
)
def test_a_condition_holds_of_a_value(text: str, value: float | None, expected: bool | None) -> None:
    assert Condition.parse(text).holds(value) is expected


@pytest.mark.parametrize(
    ("text", "value", "baseline", "direction", "expected"),
    [
        ("no regression", 0.104, 0.1, "lower", True),
        ("no regression", 0.106, 0.1, "lower", False),
        ("no regression", 0.0, 0.1, "lower", True),
        ("no regression", 0.0, 0.1, "either", False),
        ("no regression > 20%", 0.81, 1.0, "higher", True),
        ("no regression > 20%", 0.79, 1.0, "higher", False),
        ("at least 10% better", 0.9, 1.0, "lower", True),
        ("at least 10% better", 0.91, 1.0, "lower", False),
        ("at least 10% better", 1.1, 1.0, "higher", True),
        ("at least 10% better", 0.0, 0.0, "lower", False),
        ("at least 10% better", 2.0, 1.0, "either", None),
        ("within 5% of baseline", 0.96, 1.0, "lower", True),
        ("within 5% of baseline", 1.06, 1.0, "lower", False),
        ("no regression", 0.1, None, "lower", None),
        ("at least 10% better", None, 1.0, "lower", None),
        ("within 5% of baseline", 1.0, float("nan"), "lower", None),
    ],
)
def test_a_condition_against_a_baseline_follows_the_direction_of_the_metric(
    text: str, value: float | None, baseline: float | None, direction: Direction, expected: bool | None
) -> None:
    assert Condition.parse(text).holds(value, baseline, direction) is expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("under 500ms", "is not understood; write one of `< 500ms`"),
        ("< 1,5s", "'1,5s' is not a number with a unit"),
        ("< nan", "'nan' is not a number"),
        ("< inf", "'inf' is not a number"),
        ("< 1e999", "is not a finite number"),
        ("< 5 msec", "unknown unit 'msec'"),
        ("< ٣", "is not a number"),
        ("between 3 and 1", "is empty; write the smaller end first"),
        ("between 1 and 3ms", "the ends differ in unit"),
        ("no regression > 5", "'5' is not a percentage"),
        ("at least -5% better", "'-5%' is not a percentage from 0"),
        ("", "is not understood"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_can_be_written(text: str, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        Condition.parse(text)

    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("<= 0.1%%", "<= 0.1%"),
        ("< 1e400", "< 500ms"),
        ("\u2264 5ms", "<= 5ms"),
        ("\u22655", ">= 5"),
        ("> 20 percent", "> 20%"),
        ("< 500\u00b5s", "< 500us"),
        ("over 5ms", "> 5ms"),
    ],
)
def test_the_nearest_form_asks_for_the_same_and_never_for_the_opposite(text: str, nearest: str) -> None:
    with pytest.raises(Invalid) as refused:
        Condition.parse(text)

    assert str(refused.value).endswith(f"; nearest form: `{nearest}`")


@pytest.mark.parametrize(
    ("text", "unit", "direction", "told"),
    [
        ("< 500ms", "%", "lower", "units: %"),
        ("< 0.1", "%", "lower", "'0.1' cannot be compared with a metric in %"),
        ("between 1s and 3s", "/s", "lower", "units: /s, /m, rps"),
        ("at least 10% better", "s", "either", "the metric has no better direction"),
        ("at least 200% better", "s", "lower", "can never hold"),
    ],
)
def test_condition_and_metric_have_to_agree(text: str, unit: str, direction: Direction, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        Condition.parse(text).check_fits(unit, direction)

    assert told in str(refused.value)


@pytest.mark.parametrize(("text", "unit"), [("== 0", "%"), ("< 500ms", "s"), ("> 3 rps", "/s"), ("> 3", "count")])
def test_units_of_one_dimension_agree_and_zero_needs_none(text: str, unit: str) -> None:
    Condition.parse(text).check_fits(unit, "lower")


@pytest.mark.parametrize("text", ["1h", "1h sustained", "for 10m"])
def test_a_duration_is_written_back_as_it_was(text: str) -> None:
    assert Duration.parse(text).text == text


@pytest.mark.parametrize("text", ["", "for", "0s", "-1h", "1", "5%", "an hour", "1h maintained", "for 1h sustained"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("line", "metric", "condition", "seconds"),
    [
        ("cold_start_p99 < 500ms for 1h", "cold_start_p99", "< 500ms", 3600),
        ("slow_share between 1% and 3% 10m sustained", "slow_share", "between 1% and 3%", 600),
        ("throughput no regression", "throughput", "no regression", None),
    ],
)
def test_a_criterion_is_one_line(line: str, metric: str, condition: str, seconds: float | None) -> None:
    spec = CriterionSpec.parse_text(line)

    assert (spec.metric, spec.condition.text) == (metric, condition)
    assert (spec.duration.seconds if spec.duration else None) == seconds
    assert spec.text == line


def test_a_criterion_names_the_field_that_is_wrong() -> None:
    with pytest.raises(Invalid, match=r"^duration: "):
        CriterionSpec.parse(metric="slow_share", condition="< 10%", duration="soon")
    with pytest.raises(Invalid, match=r"^condition: "):
        CriterionSpec.parse(metric="slow_share", condition="low", duration="1h")
    with pytest.raises(Invalid, match="is not a name"):
        CriterionSpec.parse(metric="slow share", condition="< 10%")
