"""How a bisection goes, step by step. Pure values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from harness.core.bisect import Difference, Found, Measure, NoDifference, Ratio, Scales, Skipped, Step, next_step
from harness.core.errors import Invalid

COMMITS = [f"c{number}" for number in range(11)]
SCALES = {"wall_ms": Ratio(5.0), "cpu_ms": Ratio(1.5)}
Reading = dict[str, list[float]]


def ms(wall: float, cpu: float) -> Reading:
    return {"wall_ms": [wall * 1.3, wall], "cpu_ms": [cpu, cpu * 1.1]}


def bisected(
    reading: Callable[[int, int], Reading | None], commits: Sequence[str] = COMMITS, scales: Scales = SCALES
) -> tuple[Step, list[str]]:
    """The end of a bisection and what it measured; ``reading(commit, n)`` is the n-th of a commit, None: no build."""
    taken: dict[str, list[Reading] | Skipped] = {}
    asked: list[str] = []
    while isinstance(step := next_step(commits, taken, scales), Measure):
        asked.append(step.commit)
        so_far = taken.setdefault(step.commit, [])
        assert isinstance(so_far, list)
        read = reading(commits.index(step.commit), len(so_far))
        if read is None:
            taken[step.commit] = Skipped("does not build")
        else:
            so_far.append(read)
    return step, asked


def test_it_finds_the_commit_that_waits_by_its_wall_time() -> None:
    found, asked = bisected(lambda commit, _: ms(100 if commit >= 7 else 10, 5))

    assert found == Found("c7", "wall_ms", 10, 100, pytest.approx(31.6, abs=0.1), "c6")
    assert asked[:2] == ["c10", "c0"]  # both ends first
    assert sorted(asked[-2:]) == ["c6", "c7"] and asked.count("c6") == asked.count("c7") == 2  # confirmed
    assert len(asked) <= 9


def test_it_takes_the_measure_that_tells_the_ends_apart_best() -> None:
    # Given a commit that needs three times the CPU (2 x its ratio) and so six times as long (1.2 x its ratio)
    found, _ = bisected(lambda commit, _: ms(60, 15) if commit >= 3 else ms(10, 5))

    assert isinstance(found, Found) and (found.commit, found.measure) == ("c3", "cpu_ms")


def test_ends_that_measure_alike_are_no_difference() -> None:
    step, asked = bisected(lambda commit, _: ms(10 + commit, 5))

    assert step == NoDifference(
        "head and the good commit measure alike: cpu_ms x 1.00, needs x 1.5; wall_ms x 2.00, needs x 5"
    )
    assert len(asked) == 2


def test_commits_that_do_not_build_are_stepped_around() -> None:
    found, _ = bisected(lambda commit, _: None if commit in (4, 5, 10) else ms(100 if commit >= 3 else 10, 5))

    assert isinstance(found, Found) and (found.commit, found.unbuildable) == ("c3", ())


def test_a_commit_that_does_not_build_may_hide_the_change_and_is_told() -> None:
    found, _ = bisected(lambda commit, _: None if commit in (6, 7) else ms(100 if commit >= 7 else 10, 5))

    assert isinstance(found, Found)
    assert (found.parent, found.unbuildable, found.commit) == ("c5", ("c6", "c7"), "c8")


def test_a_disturbed_measurement_is_corrected_by_the_second_one() -> None:
    # Given a good commit whose first measurement was disturbed
    found, _ = bisected(lambda commit, n: ms(100 if commit >= 8 or (commit == 5 and n == 0) else 10, 5))

    # When it is about to be named, it is measured again, and the search goes on
    assert isinstance(found, Found) and found.commit == "c8"


def test_a_history_that_cannot_be_measured_says_so() -> None:
    assert bisected(lambda *_: None)[0] == NoDifference("fewer than two of the commits could be measured")
    assert "no declared measure" in str(bisected(lambda *_: {"other": [1.0]})[0])


SHARES = {"failing": Difference(0.02), "denied": Difference(0.02)}


def test_a_share_that_is_nought_on_good_commits_is_told_by_its_difference() -> None:
    found, asked = bisected(lambda n, _: {"failing": [0.2 if n >= 4 else 0.0], "denied": [0.0]}, scales=SHARES)

    assert found == Found("c4", "failing", 0.0, 0.2, 0.1, "c3")
    assert len(asked) <= 9


def test_a_difference_that_is_too_small_is_no_difference() -> None:
    step, _ = bisected(lambda commit, _: {"failing": [0.015 if commit else 0.0], "denied": [0.0]}, scales=SHARES)

    assert step == NoDifference(
        "head and the good commit measure alike: denied +0, needs +0.02; failing +0.015, needs +0.02"
    )


def test_a_measure_that_fell_is_no_fault() -> None:
    step, _ = bisected(lambda commit, _: {"failing": [0.0 if commit else 0.9], "denied": [0.0]}, scales=SHARES)

    assert isinstance(step, NoDifference)


def test_the_share_that_stands_out_most_is_taken() -> None:
    found, _ = bisected(
        lambda commit, _: {"failing": [0.05 if commit >= 2 else 0.0], "denied": [1.0 if commit >= 6 else 0.0]},
        scales=SHARES,
    )

    assert isinstance(found, Found) and (found.commit, found.measure) == ("c6", "denied")


@pytest.mark.parametrize("commits", [[], ["a"], ["a", "b", "a"]])
def test_a_history_needs_two_ends_and_each_commit_once(commits: list[str]) -> None:
    with pytest.raises(Invalid, match="candidates: "):
        next_step(commits, {}, SCALES)
