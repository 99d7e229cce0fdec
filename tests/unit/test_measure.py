"""What a quantile needs before it is one. Pure values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure import least_samples, quantile


@pytest.mark.parametrize(("share", "least"), [(0.5, 2), (0.9, 10), (0.95, 20), (0.99, 100), (0.999, 1000)])
def test_a_quantile_of_too_few_values_is_not_measured(share: float, least: int) -> None:
    assert least_samples(share) == least
    assert quantile([1.0] * (least - 1), share) is None
    assert quantile([1.0] * least, share) == 1.0


@given(st.floats(0.01, 0.999), st.integers(0, 3000))
def test_one_outlier_alone_is_never_the_quantile(share: float, count: int) -> None:
    measured = quantile([1.0] * count + [100.0], share)

    assert measured in (None, 1.0)
