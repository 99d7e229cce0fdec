"""What people say to a ticket is in its summary, its explanation, its view and its export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.cli.explain import explained
from harness.cli.summary import rendered, week_document
from harness.cli.ticket import explanation
from harness.cli.trajectory_export import check, export_atif
from harness.core.lifecycle import State
from harness.core.week import Week
from harness.simulation.clock import START, run
from tests.simulation.operations import Operations, days_work, incident
from tests.simulation.test_told import asked, at
from tests.simulation.test_view import moments


def faces(operations: Operations, folder: Path) -> tuple[dict[str, Any], str]:
    """The week's document, and the explanation; every other form is made as well and has to hold."""
    document = week_document(operations.harness.record, Week.of(START))
    for form in ("md", "html"):
        assert rendered(document, form)  # type: ignore[arg-type]
    export_atif(operations.harness.record, folder / "out", None)
    assert check(folder / "out") == (1, [])
    assert moments(operations)[-1].state is operations.state("INF-1")
    return document, "\n".join(explained(explanation(operations.harness.record, operations.ticket("INF-1"))))


def test_a_change_that_a_person_approved_names_who_and_where(tmp_path: Path) -> None:
    async def story() -> None:
        operations = await asked()
        request = operations.ticket("INF-1").asked
        assert request is not None
        await operations.tell("approve", hash=request.hash)
        await operations.settle()
        document, told = faces(operations, tmp_path)
        [change] = document["changes"]
        assert [one["by"] for one in change["approved_by"]] == ["ada"]
        assert change["signal"] is None and change["agent"] == "none"
        assert "ada approved" in told

    run(story())


def test_a_final_rejection_is_among_what_was_refused(tmp_path: Path) -> None:
    async def story() -> None:
        operations = await asked()
        request = operations.ticket("INF-1").asked
        assert request is not None
        await operations.tell("reject", hash=request.hash, text="not before the feast", final=True)
        document, _ = faces(operations, tmp_path)
        [refused] = document["refused"]
        assert (refused["by"], refused["reasons"]) == ("ada", ["not before the feast"])
        assert document["changes"] == [] == document["asks"]

    run(story())


def test_a_ticket_that_a_person_ended_half_done_is_no_change_of_the_week(tmp_path: Path) -> None:
    async def story() -> None:
        operations = await incident(days_work(2, of=4))
        await at(operations, State.VERIFYING)
        await operations.tell("cancel", text="not now")
        document, told = faces(operations, tmp_path)
        assert document["changes"] == []
        assert [one["reasons"] for one in document["refused"]] == [["not now"]]
        assert "not now" in told

    run(story())
