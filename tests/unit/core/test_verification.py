"""What a verification comes to. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from harness.core.criteria import Direction
from harness.core.events import JudgedCriterion, Measurement
from harness.core.verification import Outcome, is_better, judge, middle

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def measured(value: float | None, samples: int | None = None) -> Measurement:
    before = NOW - timedelta(seconds=10)
    return Measurement(metric="m", query="q", window_from=before, window_to=NOW, value=value, samples=samples)


def criterion(metric: str, met: bool | None, value: float | None = 0.2) -> JudgedCriterion:
    return JudgedCriterion(metric=metric, condition="< 10%", duration="10s", measured=measured(value), met=met)


TARGET, OTHER, PROMISE = "slow_share", "error_share", "over_admission_share"


@pytest.mark.parametrize(
    ("target", "other", "promise", "improved", "kept"),
    [
        (False, True, True, True, True),
        (False, True, True, False, False),
        (False, False, True, True, False),
        (False, None, True, True, False),
        (False, True, False, True, False),
        (True, True, False, True, False),
        (None, True, True, True, False),
    ],
)
def test_only_a_change_that_helped_and_hurt_nothing_is_kept(
    target: bool | None, other: bool | None, promise: bool, improved: bool, kept: bool
) -> None:
    outcome = judge(
        [criterion(TARGET, target), criterion(OTHER, other)], [criterion(PROMISE, promise)], samples=4000,
        min_samples=3000, improved=improved,
    )  # fmt: skip
    assert outcome.reason and outcome.kept is kept


def test_all_that_holds_is_met_and_too_few_requests_never_are() -> None:
    whole = ([criterion(TARGET, True)], [criterion(PROMISE, True)])
    assert judge(*whole, samples=3000, min_samples=3000, improved=False) == Outcome("")
    assert judge(*whole, samples=2999, min_samples=3000, improved=True) == Outcome(
        "insufficient: 2999 requests in the window, 3000 are needed"
    )


@pytest.mark.parametrize(
    ("before", "after", "direction", "better"),
    [
        (measured(0.95, 2000), measured(0.20, 4000), "lower", True),
        (measured(0.10, 2000), measured(0.10, 4000), "lower", False),
        (measured(0.10, 2000), measured(0.098, 4000), "lower", False),
        (measured(0.10, 2000), measured(0.30, 4000), "lower", False),
        (measured(0.0, 2000), measured(0.0, 4000), "lower", False),
        (measured(0.9), measured(0.6), "lower", True),
        (measured(0.9), measured(0.88), "lower", False),
        (measured(0.30), measured(0.40), "higher", True),
        (measured(None), measured(0.1, 4000), "lower", False),
        (measured(0.9, 2000), measured(None), "lower", False),
        (None, measured(0.1, 4000), "lower", False),
    ],
)
def test_better_is_what_more_than_chance_made_smaller(
    before: Measurement | None, after: Measurement, direction: Direction, better: bool
) -> None:
    assert is_better(before, after, direction, design_effect=3.0, alpha=0.05) is better


def test_of_pairs_the_one_in_the_middle_counts_and_what_was_not_measured_is_none() -> None:
    def pair(without: float | None, with_it: float | None) -> tuple[Measurement, Measurement]:
        return measured(without), measured(with_it)

    # quotients 0.9, 0.6 and 0.8: the machine was twice as slow for the last, and that met both of it
    assert middle([pair(100, 90), pair(100, 60), pair(200, 160)]) == pair(200, 160)
    assert middle([pair(None, 90), pair(100, 60), pair(100, None), pair(0, 1)]) == pair(100, 60)
    assert middle([pair(100, 90), pair(100, 60)]) == pair(100, 60)
    assert middle([pair(None, 90)]) is None and middle([]) is None
