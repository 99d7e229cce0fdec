"""What users were promised: where it is read from, and when it counts as kept. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from harness.adapters.declarations import load_manifest
from harness.bootstrap import CHECKOUT, read_rules
from harness.core.contract import Kept, Promise, with_promises
from harness.core.errors import Invalid
from harness.core.events import Measurement
from harness.core.policy import Registry

PROMISE = Promise(metric="kept_out", bad="bad_total", total="all_total", at_most="0.5%", what="nothing")  # type: ignore[arg-type]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def measured(value: float | None, samples: int | None = 4000) -> Measurement:
    before = NOW - timedelta(seconds=10)
    return Measurement(
        metric="kept_out", query="q", window_from=before, window_to=NOW, value=value, samples=samples if value else None
    )


def kept(now: float | None, before: float | None = None) -> Kept:
    return Kept(PROMISE, measured(before), measured(now), design_effect=3.0, alpha=0.05)


@pytest.mark.parametrize(
    ("before", "now", "condition", "met"),
    [
        (None, 0.0, "<= 0.5%", True),
        (0.0, 0.005, "<= 0.5%", True),
        (0.0, 0.006, "<= 0.5%", False),
        (0.0, None, "<= 0.5%", None),
        (0.05, None, "no regression", None),
        (0.05, 0.052, "no regression", True),
        (0.05, 0.09, "no regression", False),
        (0.05, 0.001, "no regression", True),
    ],
)
def test_a_promise_is_kept_within_its_bound_or_where_it_was_broken_before_when_it_is_not_worse(
    before: float | None, now: float | None, condition: str, met: bool | None
) -> None:
    one = kept(now, before)
    assert (one.condition, one.met) == (condition, met)


def test_the_service_cannot_move_the_measure_of_what_was_promised() -> None:
    # given a service that declares a metric of a promise's name, which shows nothing
    rules = read_rules()
    (promise,) = rules.promises
    manifest = load_manifest(CHECKOUT / "services" / rules.service / "service.yaml")
    moved = manifest.metrics["slow_share"].model_copy(update={"bad": "nothing_total"})
    forged = manifest.model_copy(update={"metrics": {**manifest.metrics, promise.metric: moved}})
    # then what is read is what was promised
    assert with_promises(forged, rules.promises).metrics[promise.metric].bad == promise.bad
    assert promise.metric not in manifest.metrics


def test_a_promise_that_allows_everything_or_nothing_is_refused() -> None:
    entry = {"metric": "m", "bad": "b_total", "total": "t_total", "what": "w"}
    for at_most in ("0%", "100%"):
        with pytest.raises(Invalid, match="at_most"):
            Registry.parse(
                {"services": [{"service": "s", "profile": "p", "promises": [{**entry, "at_most": at_most}]}]}, "file"
            )
