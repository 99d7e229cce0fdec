"""Starts pytest inside the sandbox, and reports what passed by a word that only the harness gave it. Touches no file.

It runs as ``python -I harness_pytest.py ORDER``, before any code of the tree can: ``-I`` keeps the tree's
``sitecustomize`` and modules away, and ORDER, a JSON file with the word, is read and removed before pytest is told of
the tree. So a printed line is no report, and a run that ends early has none. What a test imports runs in this very
process and could search its memory: hence protected tests run apart from those that a change brings (``runner.py``).
Standard library and pytest only.
"""

import ctypes
import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import pytest

_PR_SET_DUMPABLE = 4


class TrustedFirst:
    """Finds every top-level module in the interpreter, its locked packages and ``folders`` before it is looked for
    in the tree: a change can't put itself in the place of what judges it.
    """

    def __init__(self, folders: list[str]) -> None:
        self._path = [*sys.path, *folders]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As the import system asks for it; submodules and bare folders are left to the others."""
        found = PathFinder.find_spec(name, self._path) if path is None else None
        return found if found is not None and found.loader is not None else None


class Reporter:
    """A pytest plugin that keeps which tests were collected, and how each ended."""

    def __init__(self) -> None:
        self.collected: list[str] = []
        self._outcomes: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Every test that is going to run, after all deselection."""
        self.collected.extend(item.nodeid for item in session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test passed when its call passed and neither its set-up nor its tear-down failed."""
        counts = report.when == "call" or report.outcome != "passed"
        if counts and self._outcomes.get(report.nodeid, "passed") == "passed":
            self._outcomes[report.nodeid] = report.outcome

    def ids(self, outcome: str) -> list[str]:
        """The tests that ended so."""
        return sorted(test for test, ended in self._outcomes.items() if ended == outcome)


def main(order_path: str) -> int:
    """Run the order. Its keys: ``word``, ``arguments`` (pytest's), ``paths`` (of the tree) and ``trusted`` (folders
    that come before them, or None when nothing of the tree is to be kept from shadowing another module).
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # other processes of this uid can't read our memory
    with open(order_path) as file:
        order = json.load(file)
    os.unlink(order_path)
    sys.dont_write_bytecode = True
    if order["trusted"] is not None:
        sys.meta_path.insert(0, TrustedFirst(order["trusted"]))
    sys.path[:0] = order["paths"]
    sys.argv = ["pytest", *order["arguments"]]
    reporter = Reporter()
    code = int(pytest.main(order["arguments"], plugins=[reporter]))
    listing = "--collect-only" in order["arguments"]
    report = {
        "exit_code": code,
        "collected": reporter.collected if listing else [],
        "passed": reporter.ids("passed"),
        "failed": reporter.ids("failed"),
    }
    sys.stdout.flush()
    os.write(1, f"\n{order['word']} {json.dumps(report)}\n".encode())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
