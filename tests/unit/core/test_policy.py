"""Profiles: the demo's, and what a profile may not say. Reads policies/, changes nothing."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from harness.adapters.declarations import read_yaml
from harness.bootstrap import CHECKOUT
from harness.core.errors import Invalid
from harness.core.policy import Approvals, Profile, Registry

DEMO = read_yaml(CHECKOUT / "policies" / "profiles" / "demo.yaml")


def test_the_demo_profile_gives_the_canary_time_for_its_sample() -> None:
    profile = Profile.parse(DEMO, "demo.yaml")
    requests = sum(step.share * step.hold_s * 400 for step in profile.canary.steps)  # 400 requests a second
    assert requests >= profile.canary.planned_per_arm
    assert profile.canary.steps[-1].share * 4_000 >= profile.canary.keys_per_arm  # of 4,000 keys
    assert profile.verify.window_s * 400 >= profile.verify.min_samples


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("admission.attempts", 0),
        ("session.repeats", 1),
        ("canary.steps", []),
        ("canary.alpha", 1),
        ("canary.steps.0.share", 0.6),
        ("deploy.gate_s", -1),
        ("verify.ticks", 0),
        ("canary.unknown", 1),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused_with_the_place(path: str, value: Any) -> None:
    document = deepcopy(DEMO)
    *outer, last = path.split(".")
    inner = document
    for step in outer:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    inner[last] = value
    with pytest.raises(Invalid) as refused:
        Profile.parse(document, "demo.yaml")
    assert "demo.yaml" in str(refused.value)
    assert all(step in str(refused.value) for step in path.split("."))


def test_one_service_is_registered_and_more_are_refused() -> None:
    one = {"service": "ratelimiter", "profile": "demo"}
    assert Registry.parse({"services": [one]}, "services.yaml").services[0].service == "ratelimiter"
    with pytest.raises(Invalid, match="services"):
        Registry.parse({"services": [one, one]}, "services.yaml")


APPROVALS = Approvals(
    risk_of_kind={"code": "medium", "config": "low", "operation": "medium"}, high_paths=("locks/", "*.toml"),
    high_from_files=3, ask_from="high",
)  # fmt: skip


@pytest.mark.parametrize(
    ("files", "risk"),
    [
        (("src/a.py",), "medium"),
        (("src/a.py", "locks/x"), "high"),
        (("setup.toml",), "high"),
        (("blocks/x",), "medium"),
        (("a", "b", "c"), "high"),
    ],
)
def test_the_highest_risk_that_applies_to_a_change_counts(files: tuple[str, ...], risk: str) -> None:
    found, why = APPROVALS.risk("code", files)
    assert found == risk and why
    assert APPROVALS.asks(found) == (risk == "high")


def test_what_is_asked_for_is_what_policy_says() -> None:
    assert APPROVALS.model_copy(update={"ask_from": "low"}).asks("medium")
    assert not APPROVALS.asks("medium")
