"""The demo ten times from nothing: it ends verified every time, and how long that took. Starts the real stack."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNS = 10


def demo(home: Path) -> dict[str, Any]:
    """One headless demo in a home of its own; its JSON document."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "harness"), "demo", "--headless", "--json"],
        env={**os.environ, "HARNESS_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_ten_demos_end_verified(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    reports = [demo(tmp_path / str(run)) for run in range(RUNS)]

    for name in ("fault_to_ticket_s", "fault_to_deploy_s", "fault_to_verified_s", "overhead_s"):
        values = [report[name] for report in reports]
        record_property(f"{name}_median", statistics.median(values))
        record_property(f"{name}_worst", max(values))
    assert [report["outcome"] for report in reports] == ["resolved"] * RUNS
