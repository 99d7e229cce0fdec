"""Rules that `harness slo rules` prints, judged by promtool: they are taken, and each tier fires and stops in time.

What is expected comes from windows and factors alone, for a step of errors in steady traffic; never from the rules.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.adapters.declarations import load_windows
from harness.cli import app
from harness.core.slo import Tier, Windows

ROOT = Path(__file__).parents[2]
SHELF = ROOT.parent / "shared/fixtures/slo"
TABLES = load_windows(ROOT / "slos/windows")
TABLE = TABLES["30d"]
TIERS = TABLE.over(TABLE.period_s)
EVERY_TIER = [
    pytest.param(table, number, id=f"{name} {tier.factor:.3g}x")
    for name, table in TABLES.items()
    for number, tier in enumerate(table.over(table.period_s))
]
BUDGET = 0.01
REQUESTS_A_STEP = 100_000


@dataclass(frozen=True)
class Errors:
    """A share of all requests that fails from one moment to another, in steps from the start."""

    share: float
    begin: int
    end: int
    step_s: float

    def ratio(self, window_s: float, at: int) -> float:
        """The error ratio over the window before a moment; traffic is the same all the time."""
        window = min(window_s / self.step_s, at)
        return self.share * max(0.0, min(at, self.end) - max(at - window, self.begin)) / window

    def fire(self, tiers: tuple[Tier, ...], at: int) -> bool:
        """Whether one of the tiers is exceeded over both its windows."""
        return any(
            min(self.ratio(tier.long_s, at), self.ratio(tier.short_s, at)) > tier.factor * BUDGET for tier in tiers
        )

    def series(self, until: int) -> list[dict[str, str]]:
        """Counters in promtool's notation, a sample a step."""
        bad = round(self.share * REQUESTS_A_STEP)
        errors = (
            f"0+0x{self.begin - 1} 0+{bad}x{self.end - self.begin} {bad * (self.end - self.begin)}+0x{until - self.end}"
        )
        return [
            {"series": "errors_total", "values": errors},
            {"series": "requests_total", "values": f"0+{REQUESTS_A_STEP}x{until}"},
        ]


def written(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    app(["slo", "rules", *words], standalone_mode=False)
    return capsys.readouterr().out


def judged(folder: Path, errors: Errors, severity: str, expected: dict[int, bool]) -> str:
    """What promtool finds wrong with ``rules.yaml`` in the folder; expected: step → whether the alert fires."""
    step = f"{errors.step_s * 1000:.0f}ms"
    firing = f'count(ALERTS{{alertstate="firing", sloth_severity="{severity}"}})'
    checks = [
        {"expr": firing, "eval_time": f"{at * errors.step_s * 1000:.0f}ms",
         "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}
        for at, fires in expected.items()
    ]  # fmt: skip
    scenario = {"interval": step, "input_series": errors.series(max(expected)), "promql_expr_test": checks}
    return promtool_on(folder, {"evaluation_interval": step, "tests": [scenario]})


def promtool_on(folder: Path, document: dict[str, Any]) -> str:
    """Runs a test file over ``rules.yaml``. Groups are evaluated in any order unless told: alerts read records."""
    groups = [group["name"] for group in yaml.safe_load((folder / "rules.yaml").read_text())["groups"]]
    document = document | {"rule_files": ["rules.yaml"], "group_eval_order": groups}
    (folder / "test.yaml").write_text(yaml.safe_dump(document))
    return promtool(folder, "test", "rules", "test.yaml")


def promtool(folder: Path, *words: str) -> str:
    """What it says when it is not content."""
    done = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def native(folder: Path, window: str) -> str:
    """A file with one objective on two counters."""
    ratio = {"bad": "errors_total", "total": "requests_total"}
    slo = {
        "name": "availability",
        "target": f"{100 * (1 - BUDGET):g}%",
        "window": window,
        "indicator": {"ratio": ratio},
    }
    path = folder / "slos.yaml"
    path.write_text(yaml.safe_dump({"slos": [slo]}))
    return str(path)


@pytest.mark.parametrize(("table", "number"), EVERY_TIER)
def test_a_tier_fires_when_both_its_windows_burn_and_stops_with_the_short_one(
    table: Windows, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tier, share = table.over(table.period_s)[number], table.tiers[number].budget_share
    assert share is not None
    alone = {
        "period": f"{table.period_s:g}s",
        "tiers": [{"severity": tier.severity, "budget": f"{share * 100:g}%", "long": f"{tier.long_s:g}s",
                   "short": f"{tier.short_s:g}s"}],
    }  # fmt: skip
    (tmp_path / "windows").mkdir()
    (tmp_path / "windows/alone.yaml").write_text(yaml.safe_dump(alone))
    rules = written(capsys, native(tmp_path, "alone"), "--slo-period-windows-path", str(tmp_path / "windows"))
    (tmp_path / "rules.yaml").write_text(rules)

    judge_a_step_of_errors(tier, tmp_path)


def test_the_short_form_fires_and_stops_by_the_windows_of_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given the objective of a demo, whose table states no share of a budget: 12 s and 3 s, with a factor of its own
    (windows,) = TABLES["demo"].tiers
    path = Path(native(tmp_path, "demo"))
    slo = yaml.safe_load(path.read_text())["slos"][0] | {"burn_rate_alert": "20x"}
    path.write_text(yaml.safe_dump({"slos": [slo]}))
    (tmp_path / "rules.yaml").write_text(written(capsys, str(path)))

    judge_a_step_of_errors(Tier(windows.severity, windows.long_s, windows.short_s, 20), tmp_path)


def judge_a_step_of_errors(tier: Tier, folder: Path) -> None:
    """Errors begin, exceed the tier's factor, and end: promtool has to find the alert when both windows burn, and gone
    when the short one no longer does."""
    step_s = tier.short_s / 10
    long, begin = round(tier.long_s / step_s), round(tier.long_s / step_s * 0.4)
    fires = begin + round(long * 0.8)  # a fifth more than it takes: four fifths of the long window have to be bad
    end = fires + 4
    errors = Errors(1.25 * tier.factor * BUDGET, begin, end, step_s)
    moments = (begin, fires - 2, fires + 2, end, end + 5)  # a fifth of the short window has to be good again
    expected = {at: errors.fire((tier,), at) for at in moments}

    assert list(expected.values()) == [False, False, True, True, False]
    assert judged(folder, errors, tier.severity, expected) == ""


@pytest.mark.parametrize(
    ("burn", "minutes", "fires"),
    [(20, 70, "page"), (20, 30, None), (8, 300, "page")],
    ids=["quick", "quick but short", "slow"],
)
def test_a_page_of_the_whole_table_comes_from_either_of_its_tiers(
    burn: int, minutes: int, fires: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules.yaml").write_text(written(capsys, native(tmp_path, "30d")))
    errors = Errors(burn * BUDGET, 360, 360 + minutes, 60)
    pages = tuple(tier for tier in TIERS if tier.severity == "page")
    expected = {360 + minutes: fires == "page", 360 + minutes + 60: False}

    assert expected == {at: errors.fire(pages, at) for at in expected}
    assert judged(tmp_path, errors, "page", expected) == ""


def test_no_alert_comes_from_a_ratio_without_traffic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules.yaml").write_text(written(capsys, native(tmp_path, "30d")))
    idle = {
        "interval": "1m",
        "input_series": [{"series": name, "values": "5+0x90"} for name in ("errors_total", "requests_total")],
        "promql_expr_test": [
            {"expr": "count(ALERTS)", "eval_time": "90m", "exp_samples": []},
            {"expr": "slo:sli_error:ratio_rate1h >= 0", "eval_time": "90m", "exp_samples": []},
        ],
    }

    assert promtool_on(tmp_path, {"evaluation_interval": "1m", "tests": [idle]}) == ""


def test_a_latency_is_the_share_of_what_is_in_no_bucket_up_to_its_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(native(tmp_path, "30d"))
    indicator = {"latency": {"histogram": 'took_seconds_bucket{path="/"}', "below": "1s"}}
    slo = yaml.safe_load(path.read_text())["slos"][0] | {"indicator": indicator}
    path.write_text(yaml.safe_dump({"slos": [slo]}))
    (tmp_path / "rules.yaml").write_text(written(capsys, str(path)))
    buckets = {"0.5": 50, "1.0": 90, "+Inf": 100}
    scenario = {
        "interval": "1m",
        "input_series": [
            {"series": f'took_seconds_bucket{{path="/", le="{bound}"}}', "values": f"0+{count}x20"}
            for bound, count in buckets.items()
        ],
        "promql_expr_test": [
            {"expr": "round(max(slo:sli_error:ratio_rate5m), 0.001)", "eval_time": "20m",
             "exp_samples": [{"labels": "{}", "value": 0.1}]}
        ],
    }  # fmt: skip

    assert promtool_on(tmp_path, {"evaluation_interval": "1m", "tests": [scenario]}) == ""


def test_rules_of_the_sample_service_are_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules.yaml").write_text(written(capsys, str(ROOT / "slos/ratelimiter.yaml"), "--extra-labels", "a=1"))

    assert promtool(tmp_path, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml") == ""


def shelf(kind: str) -> list[Any]:
    if not SHELF.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason="no fixture shelf at ../shared/fixtures"))]
    return [pytest.param(case, id=case["id"]) for case in json.loads((SHELF / "manifest.json").read_text())[kind]]


@pytest.mark.parametrize("case", shelf("tests"))
def test_unit_tests_of_others_hold_for_our_rules(
    case: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = json.loads((SHELF / "manifest.json").read_text())["pairs"]
    (pair,) = (each for each in pairs if each["id"] == case["pair"])
    (tmp_path / "rules.yaml").write_text(
        written(capsys, str(SHELF / pair["input"]), "--format", pair["format"], *pair["args"])
    )

    assert promtool_on(tmp_path, yaml.safe_load((SHELF / case["test"]).read_text())) == ""
