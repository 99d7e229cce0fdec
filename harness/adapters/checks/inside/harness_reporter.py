"""A pytest plugin, loaded inside the sandbox: prints which tests were collected and which passed. Touches nothing else.

A check counts by what this reporter saw, not by its exit code: a run that ends early, collects nothing or is told to
skip prints no such line, or one without the ids that are required. Standard library and pytest only.
"""

import json
import sys

import pytest

MARK = "harness-reporter: "
_collected: list[str] = []
_outcomes: dict[str, str] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Every test that is going to run, after all deselection."""
    _collected.extend(item.nodeid for item in session.items)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test passed when its call passed and neither its set-up nor its tear-down failed."""
    if report.when == "call" or report.outcome != "passed":
        worst = report.outcome if _outcomes.get(report.nodeid, "passed") == "passed" else _outcomes[report.nodeid]
        _outcomes[report.nodeid] = worst


def pytest_unconfigure(config: pytest.Config) -> None:
    """The report, as the last thing that is printed."""
    passed = sorted(test for test, outcome in _outcomes.items() if outcome == "passed")
    failed = sorted(test for test, outcome in _outcomes.items() if outcome == "failed")
    line = MARK + json.dumps({"collected": _collected, "passed": passed, "failed": failed})
    print("\n" + line, file=sys.__stdout__, flush=True)
