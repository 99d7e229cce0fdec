"""Writes the golden file of every event that has none in today's version, from what the modelled world records.

    .venv/bin/python -m pytest -p tests.golden.record tests/simulation/test_incidents.py

Run by people, with the tests in whose histories the event is. What is there already is left as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from harness.core.events import EVENTS
from harness.core.record import Recorded, StreamWrite
from harness.simulation.ledger import MemoryLedger
from tests.golden.golden import FOLDER, Golden, chosen, shape

written: dict[str, list[dict[str, Any]]] = defaultdict(list)
under_way = ""


def pytest_configure() -> None:
    append = MemoryLedger.append

    def and_keep(ledger: MemoryLedger, writes: Sequence[StreamWrite]) -> list[Recorded]:
        rows = append(ledger, writes)
        for row in rows:
            written[row.type].append({"from": under_way, "data": row.data})
        return rows

    MemoryLedger.append = and_keep  # type: ignore[method-assign]


def pytest_runtest_setup(item: pytest.Item) -> None:
    global under_way
    under_way = item.nodeid


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, kind in sorted(EVENTS.items()):
        if (FOLDER / f"{name}.v{kind.schema_version}.json").exists():
            continue
        if examples := chosen(written[name]):
            Golden(name, kind.schema_version, shape(kind), examples).write()
        else:
            terminalreporter.write_line(f"{name}: these tests don't write it; name some that do, or write one by hand")
