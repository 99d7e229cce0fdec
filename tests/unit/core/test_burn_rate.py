"""Burning, and every way not to know: each is told apart. Pure values."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.adapters.declarations import load_slos, load_windows
from harness.core.burn_rate import SloState, State, WindowReading, evaluate
from harness.core.slo import Slo, parse_slos

ROOT = Path(__file__).parents[3]
WINDOWS = load_windows(ROOT / "slos/windows")
LATENCY: Slo = load_slos(ROOT / "slos/ratelimiter.yaml", WINDOWS)[0]  # 90 %, 2.5x over 12 s and 3 s


def read(share: float, window_s: float, *, total: float | None = None) -> WindowReading:
    events = 400 * window_s if total is None else total
    return WindowReading(share * events, events, window_s)


def state(long: WindowReading, short: WindowReading) -> State:
    return evaluate(LATENCY, {12.0: long, 3.0: short}).state


def test_it_burns_when_both_windows_exceed_the_factor() -> None:
    told = evaluate(LATENCY, {12.0: read(0.30, 12), 3.0: read(0.90, 3)})

    assert told.state == "burning" and told.tier == LATENCY.tiers[0]
    assert told.burn == {12.0: pytest.approx(3.0), 3.0: pytest.approx(9.0)}
    assert told.reason == "burns 3x over 12s and 9x over 3s, more than 2.5x"


@pytest.mark.parametrize(("long", "short"), [(0.30, 0.10), (0.10, 0.90), (0.25, 0.90), (0.0, 0.0)])
def test_one_window_alone_or_the_factor_itself_is_not_enough(long: float, short: float) -> None:
    assert state(read(long, 12), read(short, 3)) == "ok"


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        (WindowReading(None, None, 0), "no_data"),  # a missing series
        (WindowReading(None, 1200, 3), "no_data"),
        (WindowReading(0, 0, 3), "no_data"),  # zero traffic
        (WindowReading(float("nan"), 1200, 3), "no_data"),
        (WindowReading(0, float("nan"), 3), "no_data"),
        (WindowReading(-5, 1200, 3), "no_data"),
        (WindowReading(0, 199, 3), "no_data"),  # too few events
        (WindowReading(0, 200, 3), "ok"),
        (WindowReading(0, 1200, 1.4), "no_data"),  # a stale target: less than half covered
        (WindowReading(0, 1200, 1.5), "ok"),
        (WindowReading(0, 1200, 3, failed="timeout after 2 s"), "query_failed"),
    ],
)
def test_what_is_not_known_is_neither_ok_nor_burning(short: WindowReading, expected: State) -> None:
    assert state(read(0.0, 12), short) == expected
    if expected != "ok":
        assert state(read(1.0, 12), short) == expected


def test_a_window_that_was_not_read_is_no_data() -> None:
    assert evaluate(LATENCY, {12.0: read(0, 12)}).burn[3.0] is None
    assert evaluate(LATENCY, {}).state == "no_data"


def test_a_failed_query_is_told_before_missing_data() -> None:
    told = evaluate(LATENCY, {12.0: WindowReading(None, None, 0), 3.0: WindowReading(None, None, 0, failed="refused")})

    assert told.state == "query_failed" and told.reason == "3s: refused"


def test_a_tier_that_fires_is_told_even_when_another_one_has_no_data() -> None:
    # Given an objective with four tiers on a service that is an hour old
    slo = parse_slos({"slos": [{"name": "a", "target": "99.9%", "window": "30d"}]}, "f", WINDOWS)[0]
    burning = {window: read(0.05, window) for window in (300.0, 3600.0)}

    # When only its fastest tier is covered, and exceeds its factor, then it burns
    assert evaluate(slo, burning).state == "burning"

    # and when it does not, the others are still unknown
    assert evaluate(slo, {window: read(0.0, window) for window in (300.0, 3600.0)}).state == "no_data"


def after_closing(fresh_long: float, fresh_short: float | None, fresh_total: float | None = None) -> SloState:
    """Windows that are all bad, and a ticket that was closed in the long one, or in both."""
    long = WindowReading(4800, 4800, 12, fresh=fresh_long, fresh_total=fresh_total)
    short = WindowReading(1200, 1200, 3, fresh=fresh_short, fresh_total=fresh_total)
    return evaluate(LATENCY, {12.0: long, 3.0: short})


def test_after_a_closing_only_what_is_new_counts_until_the_short_window_begins_after_it() -> None:
    assert after_closing(1200, 1200, 1200).burns is None  # a quarter of the long window is new: the factor itself
    assert after_closing(1201, 1200, 1201).burns is True
    assert after_closing(0, None).burns is True


@pytest.mark.parametrize(
    ("bad", "total", "ended"),
    [(0, 0, False), (0, None, False), (0, 40, False), (0, 60, True), (300, 1000, False), (200, 1000, False),
     (170, 1000, True), (10, 400, True)],
)  # fmt: skip
def test_what_burns_on_through_a_closing_has_ended_once_events_since_then_say_so(
    bad: int, total: int | None, ended: bool
) -> None:
    told = after_closing(bad, bad, total)

    assert (told.state, told.burns) == (("ok", False) if ended else ("burning", None))


def test_what_burnt_most_is_told_of_what_is_new() -> None:
    slo = load_slos(ROOT / "slos/ratelimiter.yaml", WINDOWS)[1]
    long = WindowReading(4800, 4800, 12, parts=(4700, 100), fresh=1200, fresh_parts=(0, 1200))
    short = WindowReading(1200, 1200, 3, parts=(1100, 100), fresh=600, fresh_parts=(0, 600))

    told = evaluate(slo, {12.0: long, 3.0: short})

    assert told.burnt == {"error_share": 0.0, "wrong_denial_share": 0.5}
    assert told.reason.endswith("25x of it since its last ticket was closed, more than 10x")


def test_what_slow_windows_lack_keeps_no_signal_alive_and_makes_nobody_blind() -> None:
    # Given an objective with four tiers on a service that is an hour old
    slo = parse_slos({"slos": [{"name": "a", "target": "99.9%", "window": "30d"}]}, "f", WINDOWS)[0]

    told = evaluate(slo, {window: read(0.0, window) for window in (300.0, 3600.0)})
    assert (told.state, told.burns, told.blind) == ("no_data", False, None)

    told = evaluate(slo, {3600.0: read(0.0, 3600)})
    assert told.burns is None and told.blind is not None and "300s: no such series" in told.blind
