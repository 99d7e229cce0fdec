"""A ticket that an earlier harness was at work on when today's took over, on a modelled world in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.core.ids import ticket_stream
from harness.core.lifecycle import State
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.trajectory import trajectory
from harness.journal import decode
from harness.simulation.clock import run
from tests.simulation.operations import Operations, days_work, incident


def first_harness_tests(operations: Operations) -> None:
    """The checks of the first attempt are recorded as the first harness did: without the main that they were on."""
    append = operations.ledger.append

    def as_then(writes: Sequence[StreamWrite]) -> list[Recorded]:
        return append([replace(write, events=[older(event) for event in write.events]) for write in writes])

    operations.ledger.append = as_then  # type: ignore[method-assign]


def older(event: NewEvent) -> NewEvent:
    if event.type != "ChecksPassed" or event.data["attempt"] > 1:
        return event
    return replace(event, schema_version=1, data={name: part for name, part in event.data.items() if name != "onto"})


def test_a_change_tested_onto_nobody_knows_what_is_not_delivered_but_tried_again_at_a_persons_word() -> None:
    async def story() -> None:
        operations = await incident(days_work(4))
        first_harness_tests(operations)
        await operations.settle()
        assert operations.state("INF-1") is State.ESCALATED
        assert "did not record onto which main; answer the ticket" in operations.question()

        await operations.tell("answer", text="yes, once more")
        await operations.settle()

        rows = operations.ledger.read_stream(ticket_stream("INF-1"))
        assert operations.state("INF-1") is State.RESOLVED
        assert {row.schema_version for row in rows if row.type == "ChecksPassed"} == {1, 2}
        told = trajectory(operations.ticket("INF-1"), [(row, decode(row)) for row in rows], operations.blobs.get_json)
        onto = [one["data"]["onto"] for one in told["pipeline"] if one["event"] == "ChecksPassed"]
        assert onto[0] is None and onto[1]

    run(story())
