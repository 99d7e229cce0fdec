"""service.yaml as a specification: what is read from it, and how each mistake is told. Touches no service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.adapters.declarations import load_manifest, parse_manifest
from harness.core.bisect import Difference, Ratio
from harness.core.errors import Invalid
from harness.core.manifest import Manifest

ROOT = Path(__file__).parents[3]
SHARE = {"kind": "ratio", "bad": 'slow{arm=~"{arm}"}', "total": "all", "unit": "%", "direction": "lower", "good": "0"}


def document(**changed: Any) -> dict[str, Any]:
    return {
        "name": "shop",
        "repository": "repos/shop.git",
        "owners": ["shop-team"],
        "build": {"lock": "requirements.lock", "python_path": "src"},
        "run": {"command": ["serve", "{socket}"], "health": "/readyz", "drain": "/drain", "stop_grace": "5s"},
        "checks": [{"name": "tests", "command": ["pytest"], "lock": "dev.lock", "timeout": "2m", "memory": "1GiB"}],
        "capacity": {"requests_per_s_per_node": 100},
        "metrics": {"slow_share": SHARE},
        "traffic": {"cluster": "stable"},
        "canary": {"guards": ["slow_share"]},
    } | changed


def test_the_sample_service_declares_itself_in_this_form() -> None:
    manifest = load_manifest(ROOT / "services/ratelimiter/service.yaml")

    assert manifest.run.stop_grace_s == 5
    assert (manifest.checks[0].timeout_s, manifest.checks[0].memory_bytes) == (60, 2**30)
    assert manifest.probes[0].scales() == {"wall_ms": Ratio(5.0), "cpu_ms": Ratio(1.5)}
    assert set(manifest.probes[1].scales().values()) == {Difference(0.02)}
    assert set(manifest.canary.guards) <= set(manifest.metrics)
    assert manifest.peak_hours is not None and manifest.peak_hours.hours == "09:00-17:00"


def test_what_may_be_left_out_is_empty() -> None:
    manifest = Manifest.parse(document(), "service.yaml")

    assert (manifest.probes, manifest.actions, manifest.peak_hours, manifest.canary.keys) == ((), (), None, None)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"owner": "me"}, "service.yaml: owner: unknown key; allowed: name, repository, owners, "),
        ({"owner": "me"}, "nearest: owners"),
        ({"owners": []}, "owners: "),
        ({"metrics": {"slow_share": SHARE | {"unit": "percent"}}}, "metrics.slow_share: unknown unit 'percent'"),
        ({"metrics": {"slow_share": SHARE | {"query": "up"}}}, "kind ratio has bad, total; given: bad, query, total"),
        ({"metrics": {"slow_share": SHARE | {"bad": "rate(slow[1m])"}}}, "'rate(slow[1m])' is not a plain selector"),
        ({"metrics": {"slow_share": SHARE | {"bad": 'slow{arm="{amr}"}'}}}, "unknown placeholder 'amr'"),
        ({"metrics": {"slow_share": SHARE | {"direction": "up"}}}, "not 'up'"),
        (
            {"canary": {"guards": ["slow_shar"]}},
            "'slow_shar' is no metric of kind ratio; allowed: slow_share; nearest:",
        ),
        ({"protected_paths": ["../other"]}, "protected_paths[0]: '../other' leads out of the repository"),
        ({"build": {"lock": "/etc/passwd"}}, "build.lock: '/etc/passwd' leads out of the repository"),
        ({"peak_hours": {"hours": "9-17", "days": "Mon-Fri", "zone": "Europe/Berlin"}}, "peak_hours.hours: "),
    ],
)
def test_a_mistake_is_told_by_path_reason_and_what_is_allowed(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        Manifest.parse(document(**changed), "service.yaml")

    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("timeout", "60", "'60' is not a time above 0"),
        ("timeout", 60, "60 is not text"),
        ("memory", "1Gb", "nearest: GB"),
    ],
)
def test_a_duration_or_size_needs_its_unit(field: str, value: object, told: str) -> None:
    check = document()["checks"][0] | {field: value}

    with pytest.raises(Invalid) as refused:
        Manifest.parse(document(checks=[check]), "service.yaml")

    assert f"checks[0].{field}: " in str(refused.value) and told in str(refused.value)


COST = {"kind": "probe", "probe": "cost", "measure": "cpu_s", "quantile": 0.5, "unit": "us", "direction": "lower",
        "good": "low"}  # fmt: skip
TUNABLE = {"name": "keep", "file": "a.py", "key": "KEEP", "range": [1, 64], "factor": 4, "metric": "cost",
           "margin": "10%", "what": "how many"}  # fmt: skip


def tuned(**changed: Any) -> dict[str, Any]:
    probe = {"name": "cost", "command": ["cost"], "timeout": "9s", "measures": {"cpu_s": {"ratio": 1.2}}}
    tunable = {**TUNABLE, **changed}
    return document(
        probes=[probe], metrics={"slow_share": SHARE, "cost": COST}, tunables=[tunable], protected_paths=["locked/"]
    )


def test_a_tunable_is_found_by_its_name_or_refused_with_the_nearest() -> None:
    manifest = Manifest.parse(tuned(), "service.yaml")

    assert (manifest.tunable("keep").range, manifest.tunable("keep").margin) == ((1, 64), 0.10)
    with pytest.raises(Invalid, match="tunable `kep` is not declared by shop; allowed: keep; nearest: keep"):
        manifest.tunable("kep")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"range": [8, 8]}, "range: [8, 8] has nothing to try in it"),
        ({"range": [0, 8]}, "range: [0, 8] has nothing to try in it"),
        ({"factor": 1}, "tunables[0].factor: "),
        ({"margin": "0%"}, "is nothing to win by"),
        ({"metric": "slow_share"}, "keep: metric has to be of kind probe, with a direction; "),
        ({"metric": "cots"}, "nearest: cost"),
        ({"file": "locked/a.py"}, "keep: locked/a.py is protected"),
        ({"file": "../a.py"}, "leads out of the repository"),
        ({"key": "A = 1"}, "tunables[0].key: "),
    ],
)
def test_a_tunable_that_cannot_be_tried_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        Manifest.parse(tuned(**changed), "service.yaml")

    assert told in str(refused.value)


def test_a_service_cannot_declare_what_an_objective_counts() -> None:
    own = {**SHARE, "kind": "objective", "bad": None, "total": None, "counted": {"of": {"total": "t"}, "min_events": 1}}

    with pytest.raises(Invalid, match="kind objective is that of a file in slos/; allowed: ratio, latency"):
        Manifest.parse(document(metrics={"slow_share": SHARE, "own": own}), "service.yaml")


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        Manifest.parse(document(name="Shop!", traffic={}), "service.yaml")

    assert [line.split(": ")[1] for line in str(refused.value).splitlines()] == ["name", "traffic.cluster"]


def test_yaml_turns_no_text_into_another_type() -> None:
    # Given values that YAML 1.1 reads as false, as a number to the base of 60, and as a date
    text = yaml.safe_dump(document()) + "peak_hours: {hours: 09:00-17:00, days: Mon, zone: no}\n"

    # When it is read, then they are the text that they were
    assert parse_manifest(text, "service.yaml").peak_hours.zone == "no"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "told"),
    [("a: [", "is no YAML"), ("name: a\nname: b", "line 2: key 'name' comes twice"), ("", "document: ")],
)
def test_what_is_no_document_is_refused_with_its_file(text: str, told: str) -> None:
    with pytest.raises(Invalid, match=r"service\.yaml: ") as refused:
        parse_manifest(text, "service.yaml")

    assert told in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff")

    with pytest.raises(Invalid, match=r"none\.yaml: cannot be read"):
        load_manifest(tmp_path / "none.yaml")
    with pytest.raises(Invalid, match=r"bytes\.yaml: byte 6 is not UTF-8"):
        load_manifest(tmp_path / "bytes.yaml")
