"""How many requests a canary needs, and the smallest harm it can see. Pure arithmetic, touches nothing."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final, Literal

from harness.core.errors import Invalid
from harness.core.lattice import binomial, hypergeometric

Direction = Literal["increase", "decrease", "either"]
POWER: Final = 0.8
"""How often a canary sees a harm of the smallest size that is told (0..1)."""


def power(
    *, baseline_rate: float, detectable_rate: float, alpha: float, power: float, direction: Direction = "increase"
) -> int:
    """Requests per arm at which ``baseline_rate`` → ``detectable_rate`` is seen with ``power`` (all 0..1).

    Two proportions, equal arms, normal approximation, variance pooled under the null (Fleiss, Statistical Methods for
    Rates and Proportions, 3.2). Raises Invalid when a figure is out of range or the rates do not differ as asked.
    """
    for name, value in {"alpha": alpha, "power": power}.items():
        _inside(name, value)
    for name, value in {"baseline_rate": baseline_rate, "detectable_rate": detectable_rate}.items():
        if not 0 <= value <= 1:
            raise Invalid(f"{name}: {value!r} is not a share; allowed 0 to 1")
    difference = detectable_rate - baseline_rate
    if difference == 0 or (direction == "increase" and difference < 0) or (direction == "decrease" and difference > 0):
        raise Invalid(f"detectable_rate: {detectable_rate!r} is no {direction} of {baseline_rate!r}")
    z_alpha = NormalDist().inv_cdf(1 - (alpha / 2 if direction == "either" else alpha))
    z_power = NormalDist().inv_cdf(power)
    pooled = (baseline_rate + detectable_rate) / 2
    under_null = math.sqrt(2 * pooled * (1 - pooled))
    under_harm = math.sqrt(baseline_rate * (1 - baseline_rate) + detectable_rate * (1 - detectable_rate))
    return math.ceil(((z_alpha * under_null + z_power * under_harm) / difference) ** 2)


def detectable(*, baseline_rate: float, per_arm: int, alpha: float, design_effect: float = 1.0) -> float | None:
    """The smallest rate above ``baseline_rate`` that ``per_arm`` requests show as worse with POWER; None if none.

    For one look at the planned sample with the judge's own test (Fisher's exact one, so it holds near 0 as well, where
    the normal approximation promises too much). Looking early costs little of it: O'Brien-Fleming spends late.
    ``design_effect`` >= 1 divides the sample: so much more do live shares vary than independent requests would.
    """
    _inside("alpha", alpha)
    if not 0 <= baseline_rate < 1:
        raise Invalid(f"baseline_rate: {baseline_rate!r} is not a share below 1")
    trials = math.floor(per_arm / design_effect)
    needed = _needed_counts(trials, baseline_rate, alpha)
    if _chance_seen(needed, trials, 1.0) < POWER:
        return None
    low, high = baseline_rate, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        if _chance_seen(needed, trials, middle) >= POWER:
            high = middle
        else:
            low = middle
    return high


def _needed_counts(trials: int, rate: float, alpha: float) -> list[tuple[float, int]]:
    """For each likely count of the control: its chance, and the fewest bad requests of the canary that are too many."""
    control = binomial(trials, rate)
    needed = []
    fewest = control.start
    for bad, chance in enumerate(control.mass, start=control.start):
        while fewest <= trials and hypergeometric(bad + fewest, trials, trials).at_least(fewest) > alpha:
            fewest += 1
        needed.append((chance, fewest))
    return needed


def _chance_seen(needed: list[tuple[float, int]], trials: int, rate: float) -> float:
    canary = binomial(trials, rate)
    return math.fsum(chance * canary.at_least(fewest) for chance, fewest in needed)


def _inside(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise Invalid(f"{name}: {value!r} is not a probability; allowed above 0 and below 1")
