"""Rules of every test session: a skip needs a listed reason, a soak writes its evidence, Ctrl-C can be pressed.

Touches reports, and what a session does on SIGINT.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--evidence", metavar="DIR", help="write outcomes and recorded numbers to DIR/<date>-<commit>.json"
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # What a shell starts in the background ignores Ctrl-C, and so would every command that a test interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    allowed = tomllib.loads((ROOT / "tests/skips.toml").read_text()).get("skip", [])
    config.pluginmanager.register(SkipRule([re.compile(entry["reason"]) for entry in allowed]), "skip-rule")
    if folder := config.getoption("--evidence"):
        config.pluginmanager.register(Evidence(Path(folder)), "evidence")


def why_not_run(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """The reason of a skip or of an expected failure; None for a test that ran."""
    if (expected := getattr(report, "wasxfail", None)) is not None:
        return f"expected to fail: {expected}"
    if not report.skipped:
        return None
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return told.removeprefix("Skipped: ")


@dataclass(eq=False)
class SkipRule:
    """Fails the session when a test did not run for a reason that ``tests/skips.toml`` does not list."""

    allowed: list[re.Pattern[str]]
    unlisted: dict[str, str] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.look(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.look(report)

    def look(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = why_not_run(report)
        if reason is not None and not any(pattern.fullmatch(reason) for pattern in self.allowed):
            self.unlisted[report.nodeid] = reason

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unlisted and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.unlisted:
            terminalreporter.section("skips that tests/skips.toml does not list", red=True)
            for test, reason in sorted(self.unlisted.items()):
                terminalreporter.line(f"{test}: {reason}")


@dataclass(eq=False)
class Evidence:
    """Writes what each test proved (outcome, seconds, numbers given to ``record_property``), with when and on what."""

    folder: Path
    tests: list[dict[str, Any]] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.tests.append(
                {
                    "test": report.nodeid,
                    "outcome": report.outcome,
                    "seconds": round(report.duration, 3),
                    "numbers": dict(report.user_properties),
                }
            )

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        now = datetime.now(UTC)
        asked = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
        commit = asked.stdout.strip() or "uncommitted"
        document = {
            "commit": commit,
            "finished_at": now.isoformat(timespec="seconds"),
            "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
            "exit_status": int(exitstatus),
            "tests": self.tests,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{now:%Y-%m-%d}-{commit}"
        before = len(list(self.folder.glob(f"{name}*.json")))  # of another session on this commit: both are kept
        path = self.folder / (f"{name}-{before + 1}.json" if before else f"{name}.json")
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
