"""`harness ticket watch` as a process on a real ledger: lines come as events do, and it ends when the ticket does."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from harness.adapters.clock import SystemClock
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger
from harness.simulation.clock import run
from tests.acceptance.newcomer import Newcomer
from tests.simulation.histories import given_up, repaired
from tests.simulation.operations import Operations


class Home:
    """A home whose ledger repeats what the stages did on a modelled world, as far as it is told to."""

    def __init__(self, root: Path, operations: Operations) -> None:
        self.root = root
        self.rows = operations.ledger.read_all(limit=100_000)
        self.ledger = Ledger.open(root / "ledger.db", now=SystemClock().now)
        blobs = Blobs(root / "blobs")
        for row in self.rows:
            for value in row.data.values():
                if isinstance(value, str) and value.startswith("sha256:"):
                    blobs.put(operations.blobs.get(value))

    def append(self, rows: list[Recorded]) -> None:
        for row in rows:
            event = NewEvent(
                id=row.id, type=row.type, data=row.data, actor=row.actor, occurred_at=row.occurred_at,
                schema_version=row.schema_version, causation_id=row.causation_id, correlation_id=row.correlation_id,
            )  # fmt: skip
            self.ledger.append([StreamWrite(row.stream, None, [event])])

    def watch(self, *words: str) -> subprocess.Popen[str]:
        return Newcomer(self.root).starts("ticket", "watch", "INF-1", *words)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path, run(repaired()))
    yield home
    home.ledger.close()


def first(stream: IO[str] | None, word: str) -> str:
    """The next line with this word; the session's time limit bounds the wait."""
    assert stream is not None
    return next(line for line in stream if word in line)


def test_lines_come_while_the_ticket_is_under_way_and_the_end_ends_it(home: Home) -> None:
    # given a ticket whose canary runs
    until = next(number for number, row in enumerate(home.rows) if row.type == "CanaryLooked")
    home.append(home.rows[:until])
    process = home.watch()
    assert "attempt 1" in first(process.stdout, "attempt 1")
    first(process.stdout, "stand on n1")
    # when the rest happens
    home.append(home.rows[until:])
    # then it is told, and the watching ends with the ticket
    rest, complaints = process.communicate()
    assert "look 1:" in rest and "VERIFY passed" in rest and complaints == ""
    assert process.returncode == 0


def test_an_interruption_ends_the_watching_and_says_how_to_go_on(home: Home) -> None:
    home.append(home.rows[: len(home.rows) // 2])
    process = home.watch()
    first(process.stdout, "ticket INF-1")

    process.send_signal(signal.SIGINT)

    _, complaints = process.communicate()
    assert process.returncode == 130
    assert "harness ticket watch INF-1" in complaints and "Traceback" not in complaints


def test_a_ticket_that_ends_with_a_person_is_a_no_and_json_is_one_document(tmp_path: Path) -> None:
    home = Home(tmp_path, run(given_up()))
    home.append(home.rows)
    process = home.watch("--json")

    answer, complaints = process.communicate()

    document = json.loads(answer)
    assert process.returncode == 1 and complaints == ""
    assert document["state"] == "escalated" and len(document["attempts"]) == 1
