"""The alert that tells when nothing is watched any more, judged by promtool: it is taken, fires, and stops in time."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

import workflows.activities  # noqa: F401  # whoever imports it exposes what the worker does

ALERTS = Path(__file__).parents[2] / "policies" / "alerts.yaml"
GAUGE = "harness_watch_last_tick_seconds"
TICKS = "0+1x120"
"""The gauge of a watch that ticks: promtool's time begins at 0 and a sample comes every second."""


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)


def judged(folder: Path, values: str | None, at_s: int, firing: int) -> str:
    """What promtool finds wrong with this many alerts firing at this moment; empty for nothing."""
    series = [] if values is None else [{"series": f'{GAUGE}{{job="worker"}}', "values": values}]
    expected = [{"labels": "{}", "value": firing}] if firing else []
    check: dict[str, Any] = {
        "expr": 'count(ALERTS{alertname=~"HarnessWatchIs(Dead|Unknown)", alertstate="firing", severity="page"})',
        "eval_time": f"{at_s}s", "exp_samples": expected,
    }  # fmt: skip
    test = {"interval": "1s", "input_series": series, "promql_expr_test": [check]}
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1s", "tests": [test]}))
    done = promtool("test", "rules", file)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_rules_are_taken() -> None:
    done = promtool("check", "rules", ALERTS)
    assert done.returncode == 0 and "2 rules found" in done.stdout, done.stderr


def test_the_worker_exposes_what_the_rules_ask_for() -> None:
    assert f"\n{GAUGE} " in generate_latest().decode()


@pytest.mark.parametrize(
    ("values", "at_s", "firing"),
    [
        (TICKS, 119, 0),  # it ticks
        ("0+1x10 10x110", 55, 0),  # it ticked last at 10, and has 30 s and 15 s more
        ("0+1x10 10x110", 57, 1),
        ("0+1x10 10x60 71+1x60", 72, 0),  # and is there again
        ("0x120", 44, 0),  # a worker that came up
        ("0x120", 47, 1),  # and whose watch never ticked
        (None, 14, 0),  # nobody says anything
        (None, 16, 1),
        ("0+1x30 stale _x90", 44, 0),  # the worker went away at 31
        ("0+1x30 stale _x90", 47, 1),
    ],
)
def test_it_fires_when_the_watch_is_stale_or_absent_for_long_enough_and_not_before(
    values: str | None, at_s: int, firing: int, tmp_path: Path
) -> None:
    assert judged(tmp_path, values, at_s, firing) == ""
