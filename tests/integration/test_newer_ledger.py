"""An older `harness` as a process on a ledger that a newer one has gone on with: it says so, and loses nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.core.ids import event_id
from harness.core.record import NewEvent, StreamWrite
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger
from tests.acceptance.newcomer import Newcomer

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    """Somebody whose ledger has a ticket with an event that nobody here knows."""
    ledger = Ledger.open(tmp_path / "ledger.db", now=lambda: NOON)
    filed = {
        "ticket_id": "INF-1", "type": "incident", "service": "ratelimiter", "priority": "P1", "source": "human",
        "spec": Blobs(tmp_path / "blobs").put_json({"ticket": {}}),
    }  # fmt: skip
    later = [("TicketFiled", filed, 1), ("TicketTeleported", {"to": "the moon"}, 3)]
    events = [
        NewEvent(id=event_id(type), type=type, data=data, actor="harness", occurred_at=NOON, schema_version=version)
        for type, data, version in later
    ]
    ledger.append([StreamWrite("ticket-INF-1", 0, events)])
    ledger.close()
    return Newcomer(tmp_path)


def test_a_command_that_has_to_understand_the_event_says_where_it_is_and_what_to_do(newcomer: Newcomer) -> None:
    for words in (("ticket", "show", "INF-1"), ("trajectory", "list")):
        answer = newcomer.types(*words)

        assert answer.code == 1, words
        assert "position 2: TicketTeleported of schema version 3 was written by a newer harness" in answer.stderr
        assert "read the ledger with that harness" in answer.stderr
        assert "Traceback" not in answer.stderr and "the moon" not in answer.stderr


def test_the_chain_is_walked_over_it(newcomer: Newcomer) -> None:
    answer = newcomer.types("ledger", "verify", "--json")

    assert answer.code == 0
    assert (answer.document["ok"], answer.document["events"]) == (True, 2)
