"""Reads what a finished check or probe printed, and says why it did not pass. Pure, starts nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from harness.adapters.sandbox import Finished
from harness.core.manifest import Check, Probe

_NO_TESTS: Final = 5
"""pytest's exit code when it collected none."""


@dataclass(frozen=True, slots=True)
class Report:
    """What our own reporter saw of a run of pytest: ids of tests."""

    exit_code: int
    collected: tuple[str, ...]
    passed: frozenset[str]
    failed: tuple[str, ...]


def without_report(stdout: str, word: str) -> str:
    """What people and agents are shown of it: the report names every test, and would be most of the end."""
    return "".join(line for line in stdout.splitlines(keepends=True) if not line.startswith(f"{word} "))


def read_report(stdout: str, word: str) -> Report | None:
    """The report that carries this run's word; None when there is none, or more than one."""
    begin = f"{word} "
    lines = [line.removeprefix(begin) for line in stdout.splitlines() if line.startswith(begin)]
    if len(lines) != 1:
        return None
    try:
        document = json.loads(lines[0])
    except ValueError:  # its middle was left out, as the output was too long
        return None
    return Report(
        document["exit_code"], tuple(document["collected"]), frozenset(document["passed"]), tuple(document["failed"])
    )


def why_ended(finished: Finished, check: Check) -> str:
    """Why it counts as failed whatever it says of itself; empty for a run that ended by itself with 0."""
    if finished.timed_out:
        return f"not done after {check.timeout_s:g} s"
    if finished.out_of_memory:
        return f"more than {check.memory_bytes} bytes of memory were used"
    return f"exit code {finished.exit_code}" if finished.exit_code != 0 else ""


def why_own_failed(finished: Finished, check: Check, report: Report | None, *, may_be_none: bool) -> str:
    """Why the tests that a change brings did not pass; empty when they did."""
    if may_be_none and report is not None and finished.exit_code == report.exit_code == _NO_TESTS:
        return ""
    if why := why_ended(finished, check):
        return why + _failures(report)
    if report is None:
        return "exit code 0, but the run ended without its report: not one test is known to have passed"
    if report.exit_code != 0 or report.failed:
        return f"exit code 0, but pytest's own was {report.exit_code}{_failures(report)}"
    return "" if report.passed or may_be_none else "no test ran"


def why_protected_failed(finished: Finished, check: Check, report: Report | None, required: frozenset[str]) -> str:
    """Why the protected tests did not pass; a skipped one did not."""
    if report is None or not required <= report.passed:
        missing = sorted(required - (report.passed if report else frozenset()))
        how = why_ended(finished, check) or ("exit code 0" if report else "exit code 0 without a report")
        return f"{len(missing)} protected tests did not pass, {missing[0]} among them ({how})"
    return why_ended(finished, check)


def read_measures(finished: Finished, probe: Probe) -> tuple[dict[str, list[float]] | None, str]:
    """The measures by name from the last line, or None and why there are none."""
    if finished.exit_code != 0:
        said = (finished.stdout + finished.stderr).strip()[-300:]
        return None, f"the probe ended with {'no answer in time' if finished.timed_out else finished.exit_code}: {said}"
    try:
        document = json.loads(finished.stdout.strip().splitlines()[-1])
        measures = {name: [float(value) for value in document[name]] for name in probe.measures}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return None, f"the probe printed no measures ({error!r}): {finished.stdout[-300:]}"
    return measures, ""


def _failures(report: Report | None) -> str:
    return f": {', '.join(report.failed[:5])}" if report and report.failed else ""
