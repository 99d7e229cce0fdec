"""Over random histories, with noise and commits that do not build, the named commit is the right one."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from harness.core.bisect import Difference, Found, Measure, Measurements, NoDifference, Ratio, Skipped, next_step

SCALES = {"wall_ms": Ratio(5.0), "cpu_ms": Ratio(1.5)}
REPETITIONS = 7


def repetitions(true_ms: float, noise: random.Random) -> list[float]:
    """As live ones are: a little above the truth, now and then far above it."""
    return [true_ms * (1 + noise.expovariate(20)) * (10 if noise.random() < 0.1 else 1) for _ in range(REPETITIONS)]


@given(
    commits=st.integers(2, 40),
    culprit=st.integers(1, 39),
    broken=st.sets(st.integers(1, 38), max_size=12),
    factor=st.sampled_from([2.0, 3.0, 10.0]),
    seed=st.integers(0, 2**32),
)
def test_the_first_bad_commit_is_named(commits: int, culprit: int, broken: set[int], factor: float, seed: int) -> None:
    # Given a history that got slower at one commit, and from then on
    noise, names = random.Random(seed), [f"c{number}" for number in range(commits)]
    culprit = min(culprit, commits - 1)
    broken -= {commits - 1}
    taken: dict[str, Skipped | list[dict[str, list[float]]]] = {}
    asked = 0

    # When it is bisected
    while isinstance(step := next_step(names, taken, SCALES), Measure):
        asked += 1
        number = names.index(step.commit)
        if number in broken:
            taken[step.commit] = Skipped("does not build")
            continue
        slow = factor if number >= culprit else 1.0
        so_far = taken.setdefault(step.commit, [])
        assert isinstance(so_far, list)
        so_far.append({"wall_ms": repetitions(30 * slow, noise), "cpu_ms": repetitions(5 * slow, noise)})

    # Then the commit is named, or said to hide among those that do not build right before the named one
    assert isinstance(step, Found)
    assert names[culprit] in (*step.unbuildable, step.commit)
    assert all(names.index(commit) in broken for commit in step.unbuildable)
    assert asked <= 2 + commits.bit_length() + len(broken) + 4


@given(commits=st.integers(2, 40), seed=st.integers(0, 2**32))
def test_a_history_without_a_step_names_nobody(commits: int, seed: int) -> None:
    noise, names = random.Random(seed), [f"c{number}" for number in range(commits)]
    taken: Measurements = {
        name: [{"wall_ms": repetitions(30, noise), "cpu_ms": repetitions(5, noise)}] for name in names
    }

    assert isinstance(next_step(names, taken, SCALES), NoDifference)


def shares(true_share: float, noise: random.Random) -> list[float]:
    """What 200 keys gave."""
    return [sum(noise.random() < true_share for _ in range(200)) / 200]


@given(
    commits=st.integers(2, 40),
    culprit=st.integers(1, 39),
    broken=st.sets(st.integers(1, 38), max_size=12),
    share=st.sampled_from([0.12, 0.3, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_the_commit_from_which_a_share_is_no_longer_nought_is_named(
    commits: int, culprit: int, broken: set[int], share: float, seed: int
) -> None:
    # Given a history in which some keys fail from one commit on, and none before
    noise, names = random.Random(seed), [f"c{number}" for number in range(commits)]
    culprit = min(culprit, commits - 1)
    broken -= {commits - 1}
    taken: dict[str, Skipped | list[dict[str, list[float]]]] = {}
    asked = stalls = 0
    bad = shares(share, noise)  # once: the probe asks for the same keys of every tree

    # When it is bisected
    while isinstance(step := next_step(names, taken, {"failing": Difference(0.02)}), Measure):
        asked += 1
        number = names.index(step.commit)
        if number in broken:
            taken[step.commit] = Skipped("does not build")
            continue
        so_far = taken.setdefault(step.commit, [])
        assert isinstance(so_far, list)
        # the ends are believed at once; a stall at another good commit is found out when it is measured again
        good = [0.0] if so_far or number == 0 else stalled(noise)
        stalls += number < culprit and good > [0.0]
        so_far.append({"failing": bad if number >= culprit else good})

    # Then the commit is named, or said to hide among those that do not build right before the named one
    assert isinstance(step, Found)
    assert names[culprit] in (*step.unbuildable, step.commit)
    assert step.good < step.threshold <= step.bad
    assert all(names.index(commit) in broken for commit in step.unbuildable)
    assert asked <= (1 + stalls) * (2 + commits.bit_length() + 4) + len(broken)


def stalled(noise: random.Random) -> list[float]:
    """A good commit, for which a stall of the machine now and then made some keys fail."""
    return [0.3 if noise.random() < 0.05 else 0.0]


@given(commits=st.integers(2, 40), seed=st.integers(0, 2**32))
def test_shares_that_are_nought_all_along_name_nobody(commits: int, seed: int) -> None:
    noise, names = random.Random(seed), [f"c{number}" for number in range(commits)]
    taken: Measurements = {name: [{"failing": [noise.choice([0.0, 0.005, 0.01])]}] for name in names}

    assert isinstance(next_step(names, taken, {"failing": Difference(0.02)}), NoDifference)
