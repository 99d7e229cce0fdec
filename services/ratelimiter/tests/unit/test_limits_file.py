"""What a limits file may say, and what is said about one that may not be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratelimiter.gcra import Quota
from ratelimiter.limits import InvalidLimits, read_limits


def written(folder: Path, text: str) -> Path:
    path = folder / "limits.yaml"
    path.write_text(text)
    return path


def one(**changes: object) -> str:
    limit = {"name": "a", "algorithm": "gcra", "rate": "44/1m", "burst": 10} | changes
    return f"limits: [{limit!r}]"


def test_a_limit_is_read_exactly(tmp_path: Path) -> None:
    file = read_limits(written(tmp_path, one()))
    assert file.limits[0].quota == Quota(count=44, period_ns=60_000_000_000, burst=10)
    assert len(file.version) == 12


@pytest.mark.parametrize(
    ("rate", "period_ns"), [("5/250ms", 250 * 10**6), ("5/2h", 7_200 * 10**9), ("5/1d", 86_400 * 10**9)]
)
def test_a_period_has_a_number_and_a_unit(tmp_path: Path, rate: str, period_ns: int) -> None:
    assert read_limits(written(tmp_path, one(rate=rate))).limits[0].quota.period_ns == period_ns


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("limits: [", "cannot be read"),
        ("[]", "single key `limits`"),
        ("limits: []", "at least one limit"),
        ("limits: [{}]", "exactly the fields"),
        (one(extra=1), "exactly the fields"),
        (one(name="no name"), "limits[0].name"),
        (one(algorithm="guess"), "limits[0].algorithm: 'guess' is unknown; known: gcra"),
        (one(rate=44), "limits[0].rate: 44 is no rate"),
        (one(rate="44/m"), "limits[0].rate"),
        (one(rate="-1/1m"), "limits[0].rate"),
        (one(rate="0/1m"), "out of bounds"),
        (one(rate="1/0m"), "out of bounds"),
        (one(burst=0), "limits[0].burst: 0 is no burst"),
        (one(burst=1.5), "limits[0].burst"),
        ("limits: [{name: a, algorithm: gcra, rate: 1/1s, burst: true}]", "limits[0].burst"),
        (one(rate="1/1d", burst=1000), "more than 366d"),
        (one()[:-1] + "," + one()[9:], "used more than once"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_the_place(tmp_path: Path, text: str, reason: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidLimits) as refusal:
        read_limits(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert reason in str(refusal.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidLimits, match=r"nowhere\.yaml: cannot be read"):
        read_limits(tmp_path / "nowhere.yaml")
