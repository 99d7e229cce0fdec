"""What every store of projections promises, said once and held against the real one and the one in memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from harness.core.errors import Invalid
from harness.core.record import NewEvent, Progress, Projected, StreamWrite, Told
from harness.ledger.projected import ROWS_PER_PUT
from harness.ledger.store import Ledger
from harness.simulation.ledger import MemoryLedger

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
NAMES = UUID("9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a114")
FIRST, SECOND = Progress(1, 3, "a" * 64), Progress(1, 5, "b" * 64)


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger | MemoryLedger]:
    match request.param:
        case "sqlite":
            kept: Ledger | MemoryLedger = Ledger.open(tmp_path / "l.db", now=now)
        case "postgresql":
            kept = Ledger.open(request.getfixturevalue("postgresql").url(), now=now)
        case _:
            kept = MemoryLedger(now=now)
    yield kept
    kept.close()


def now() -> datetime:
    return NOON


def test_documents_and_progress_are_stored_together_and_come_back_whole_or_by_key(
    ledger: Ledger | MemoryLedger,
) -> None:
    assert ledger.projected(["tickets", "queue"]) == {}

    assert ledger.project([
        Projected("tickets", None, FIRST, {"INF-1": '{"a":1}', "INF-2": "{}"}), Projected("queue", None, SECOND, {}),
    ])  # fmt: skip

    assert ledger.projected(["tickets", "queue", "none"]) == {
        "tickets": (FIRST, {"INF-1": '{"a":1}', "INF-2": "{}"}),
        "queue": (SECOND, {}),
    }
    assert ledger.projected(["tickets"], keys={"INF-2", "INF-9"}) == {"tickets": (FIRST, {"INF-2": "{}"})}
    assert ledger.projected(["tickets"], keys=()) == {"tickets": (FIRST, {})}


def test_a_step_changes_adds_and_takes_away_and_leaves_the_rest(ledger: Ledger | MemoryLedger) -> None:
    ledger.project(
        [Projected("tickets", None, FIRST, {"a": "1", "b": "2", "c": "3"}), Projected("q", None, FIRST, {"a": "9"})]
    )

    assert ledger.project([Projected("tickets", FIRST, SECOND, {"a": "4", "b": None, "d": "5", "never": None})])

    assert ledger.projected(["tickets"])["tickets"] == (SECOND, {"a": "4", "c": "3", "d": "5"})
    assert ledger.projected(["q"])["q"] == (FIRST, {"a": "9"})


def test_a_step_that_does_not_begin_where_its_projection_is_stores_nothing_of_any(
    ledger: Ledger | MemoryLedger,
) -> None:
    # given two followers that have read the same progress, of which one was faster
    ledger.project([Projected("tickets", None, FIRST, {"a": "1"})])

    for before in (None, SECOND, Progress(2, *FIRST[1:]), Progress(1, 3, "c" * 64)):
        assert not ledger.project([Projected("q", None, FIRST, {}), Projected("tickets", before, SECOND, {"a": "2"})])

    assert ledger.projected(["tickets", "q"]) == {"tickets": (FIRST, {"a": "1"})}


def test_one_that_begins_anew_leaves_nothing_of_what_was(ledger: Ledger | MemoryLedger) -> None:
    ledger.project([Projected("tickets", None, SECOND, {"a": "1", "b": "2"}), Projected("q", None, FIRST, {"a": "9"})])

    assert ledger.project([Projected("tickets", SECOND, FIRST, {"c": "3"}, anew=True)])

    assert ledger.projected(["tickets", "q"]) == {"tickets": (FIRST, {"c": "3"}), "q": (FIRST, {"a": "9"})}


def test_more_documents_than_one_statement_takes_are_stored_in_one_step(ledger: Ledger | MemoryLedger) -> None:
    documents = {f"INF-{number}": str(number) for number in range(2 * ROWS_PER_PUT + 1)}

    ledger.project([Projected("tickets", None, FIRST, documents)])

    assert ledger.projected(["tickets"])["tickets"].documents == documents
    assert ledger.projected(["tickets"], keys=set(documents))["tickets"].documents == documents


def test_a_replay_tells_of_each_event_what_reading_it_does(ledger: Ledger | MemoryLedger) -> None:
    told = [
        NewEvent(id=str(uuid5(NAMES, str(n))), type="Seen", data={"b": n, "a": "ü"}, actor="ada", occurred_at=NOON)
        for n in range(5)
    ]
    ledger.append([StreamWrite("s", 0, told)])

    page = ledger.replay(after_position=1, limit=3)

    read = ledger.read_all(after_position=1, limit=3)
    us = (NOON - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000
    assert page == [Told(n, "s", "Seen", 1, f'{{"a":"ü","b":{n - 1}}}', int(us), read[n - 2].hash) for n in (2, 3, 4)]
    assert [one.occurred_at for one in page] == [one.occurred_at for one in read]
    with pytest.raises(Invalid, match="limit: 0 is not"):
        ledger.replay(after_position=0, limit=0)
