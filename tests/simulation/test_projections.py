"""Lists of real histories: what is said of tickets, deliveries and deployments while incidents are worked on."""

from __future__ import annotations

from random import Random
from typing import Any, cast

from harness.bootstrap import Record
from harness.cli import budget, deployment, ticket, ticket_list
from harness.cli.trajectory_export import Shelf, listed
from harness.core.ids import ticket_stream
from harness.core.lifecycle import State
from harness.core.record import Recorded, StreamWrite
from harness.core.trajectory import trajectory
from harness.journal import decode
from harness.projector import ALL, follow, rebuild
from harness.simulation.clock import run
from harness.simulation.ledger import MemoryLedger
from harness.simulation.lives import history
from tests.simulation.operations import TERMS, Operations, days_work
from tests.simulation.test_interruptions import to_the_end, verifying
from tests.simulation.test_models import played, repairing

NAMES = [one.name for one in ALL]


def queue(operations: Operations) -> list[tuple[str, bool]]:
    """Which ticket delivers, and which wait."""
    return [(row["ticket"], row["delivers"]) for row in ticket_list.queued(operations.harness.record, TERMS.aging_s)]


def test_an_interrupted_delivery_is_seen_in_every_list_while_it_happens() -> None:
    async def story() -> None:
        # given an improvement that is verified, read by a list at every step from then on
        operations = await verifying()
        operations.ledger.after = lambda: follow(operations.ledger)
        assert queue(operations) == [("INF-1", True)]

        # when an incident takes the lock from it
        operations.world.release(days_work(3, of=5))
        await operations.watch(lambda: operations.reached(State.QUEUED))
        assert queue(operations) == [("INF-2", True), ("INF-1", False)]
        waiting = ticket_list.backlog_now(operations.harness.record)
        assert {priority: waits.depth for priority, waits in waiting.items() if waits.depth} == {"P3": 1}
        assert [row["outcome"] for row in deployment.listed(operations.harness.record)] == ["deployed"]
        # and a person pauses the one that waits
        await operations.tell("pause")
        assert queue(operations) == [("INF-2", True)]
        assert not any(waits.depth for waits in ticket_list.backlog_now(operations.harness.record).values())
        await operations.tell("resume")
        await to_the_end(operations, "INF-1", "INF-2")

        # then nothing waits, both are verified, and each list says what the streams say
        record = operations.harness.record
        assert queue(operations) == []
        assert {(one["ticket"], one["outcome"]) for one in deployment.listed(record)} == {
            ("INF-1", "verified"), ("INF-2", "verified"),
        }  # fmt: skip
        rows = {row["id"]: row for row in ticket_list.listed(record)}
        for ticket_id in operations.tickets():
            folded, shown = operations.ticket(ticket_id), ticket.ticket_document(record, ticket_id)
            assert rows[ticket_id]["state"] == shown["state"] == "resolved"
            assert rows[ticket_id]["title"] == shown["objective"]
            assert folded.closed_at is not None and rows[ticket_id]["closed_at"] == folded.closed_at.isoformat()
        assert [row["id"] for row in ticket_list.listed(record)] == ["INF-2", "INF-1"]
        for row in listed(Shelf.of(record)):
            same_as_whole(operations, row)
        # and what was folded event by event is what a rebuild folds
        stepwise = operations.ledger.projected(NAMES)
        rebuild(operations.ledger)
        assert operations.ledger.projected(NAMES) == stepwise

    run(story())


def same_as_whole(operations: Operations, row: dict[str, Any]) -> None:
    """A row of the list says what the whole trajectory does."""
    record = operations.harness.record
    stream = [(one, decode(one)) for one in record.ledger.read_stream(ticket_stream(row["ticket"]))]
    whole = trajectory(operations.ticket(row["ticket"]), stream, record.blobs.get_json)
    assert {name: row[name] for name in ("state", "reward", "attempts")} == {
        name: whole["outcome"][name] for name in ("state", "reward", "attempts")
    }
    assert row["steps"] == len(whole["steps"])
    assert [row["first_position"], row["last_position"]] == [
        whole["provenance"]["first_position"], whole["provenance"]["last_position"],
    ]  # fmt: skip


class CountingLedger:
    """Counts the events that are read."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger, self.read = ledger, 0

    def read_stream(self, stream: str, *, from_version: int = 1) -> list[Recorded]:
        rows = self._ledger.read_stream(stream, from_version=from_version)
        self.read += len(rows)
        return rows


def test_showing_a_ticket_reads_its_own_streams_however_long_the_ledger_is() -> None:
    async def story() -> None:
        operations = await verifying()
        record = operations.harness.record

        def read() -> int:
            counting = CountingLedger(operations.ledger)
            ticket.ticket_document(Record(cast(Any, counting), record.blobs, record.clock), "INF-1")
            return counting.read

        before = read()
        for write in history(Random(1), events=300, at_once=3):
            operations.ledger.append([StreamWrite(f"other-{write.stream}", None, write.events)])
        assert read() == before == len(operations.ledger.read_stream("ticket-INF-1"))

    run(story())


def test_what_a_model_took_is_shown_by_ticket_service_model_and_label() -> None:
    def check(operations: Operations, _: object) -> None:
        record = operations.harness.record
        cost = ticket.ticket_document(record, "INF-1")["cost"]
        assert cost["tokens_in"] > 0
        rows = {by: budget.summed(record, by) for by in ("ticket", "service", "model", "team")}
        for found in rows.values():
            assert [{name: one[name] for name in ("usd", "tokens_in", "tokens_out")} for one in found] == [
                {name: cost[name] for name in ("usd", "tokens_in", "tokens_out")}
            ]
        assert rows["ticket"][0]["ticket"] == "INF-1" and rows["ticket"][0]["limit_usd"] is None
        assert rows["service"][0]["service"] == "ratelimiter"
        assert rows["team"][0]["team"] is None

    played("anthropic", repairing, check)
