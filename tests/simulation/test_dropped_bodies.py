"""Every page about a ticket says who dropped a body and why, and goes on; a live ticket calls a person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from harness.cli.explain import explained
from harness.cli.shown import Shown
from harness.cli.summary import rendered, week_document
from harness.cli.ticket import explanation, ticket_document
from harness.cli.trajectory_export import Shelf, check, export_atif, listed
from harness.core import events as e
from harness.core.canonical import canonical_bytes
from harness.core.errors import Dropped
from harness.core.lifecycle import State
from harness.core.referring import declared, mentioned
from harness.core.trajectory import trajectory
from harness.core.week import Week
from harness.journal import decode
from harness.ledger.blobs import Blobs
from harness.ledger.bodies import audit_bodies, drop_of
from harness.ledger.collect import forget
from harness.simulation.clock import START, run
from tests.simulation.histories import given_up, repaired_at_the_second_try, replaced
from tests.simulation.operations import Operations, days_work, incident
from tests.simulation.test_models import played as a_models
from tests.simulation.test_models import repairing
from tests.simulation.test_told import asked
from tests.simulation.test_view import moments

TOLD = "by human:ada because: nobody may see it"


def on_disk(operations: Operations, folder: Path) -> Operations:
    """The same history with its bodies in a real folder, from where one can be dropped."""
    blobs = Blobs(folder, drops=partial(drop_of, operations.ledger))
    for ref in references(operations):
        assert blobs.put(canonical_bytes(operations.blobs.get_json(ref))) == ref
    record = replace(operations.harness.record, blobs=blobs)
    return replace(operations, blobs=cast(Any, blobs), harness=replace(operations.harness, record=record))


def references(operations: Operations) -> list[str]:
    rows = operations.ledger.read_all(limit=100_000)
    return list(dict.fromkeys(ref for row in rows for ref in declared(e.EVENTS[row.type], row.data)))


def drop(operations: Operations, ref: str) -> None:
    record = operations.harness.record
    forget(record.ledger, record.blobs, record.clock, ref, why="nobody may see it", by="ada")


def every_page_tells(played: Operations, folder: Path) -> None:
    """When every body is dropped, each page is made all the same, and says what is missing and why."""
    operations = on_disk(played, folder / "blobs")
    record = operations.harness.record
    before = ticket_document(record, "INF-1")
    for ref in references(operations):
        # no body refers to another, so that a collection need not read them: an event refers to what has to be kept
        assert list(mentioned(record.blobs.get_json(ref))) == []
        drop(operations, ref)

    after = ticket_document(record, "INF-1")
    texts = {"objective", "constraints", "labels", "question", "approval"}
    assert {name for name in before if before[name] != after[name]} <= texts
    assert TOLD in after["objective"]
    assert after["question"] is None or TOLD in after["question"]
    assert after["approval"] is None or TOLD in after["approval"]["why"]
    assert TOLD in "\n".join(explained(explanation(record, operations.ticket("INF-1"))))
    week = week_document(record, Week.of(START))
    for form in ("md", "html", "json"):
        assert TOLD in rendered(week, form)  # type: ignore[arg-type]
    assert moments(operations)[-1].state is operations.state("INF-1")

    # what is exported to learn from keeps the rules of its format
    history = [(row, decode(row)) for row in record.ledger.read_stream("ticket-INF-1")]
    document = trajectory(operations.ticket("INF-1"), history, Shown(record.blobs).get_json)
    assert all(set(step["action"]) == {"dropped_body"} for step in document["steps"])
    assert [one["ticket"] for one in listed(Shelf.of(record))] == ["INF-1"]
    export_atif(record, folder / "out", None)
    assert check(folder / "out") == (1, [])
    assert audit_bodies(record.ledger, record.blobs).faults == () and record.ledger.verify().ok


@pytest.mark.parametrize("history", [repaired_at_the_second_try, given_up, replaced, asked])
def test_a_ticket_of_which_every_body_is_dropped_can_still_be_read(
    history: Callable[[], Awaitable[Operations]], tmp_path: Path
) -> None:
    async def story() -> None:
        every_page_tells(await history(), tmp_path)

    run(story())


def test_a_models_ticket_of_which_every_body_is_dropped_can_still_be_read(tmp_path: Path) -> None:
    a_models("openai", repairing, lambda operations, _: every_page_tells(operations, tmp_path))


def test_a_live_ticket_whose_text_is_dropped_calls_a_person_who_is_told_why(tmp_path: Path) -> None:
    async def story() -> None:
        # given a ticket under way
        operations = await incident(days_work(2, of=4))
        await operations.watch(lambda: operations.reached(State.WORKING))
        await operations.lose_temporal()
        operations = on_disk(operations, tmp_path / "blobs")

        # when what it says is dropped, and it goes on
        drop(operations, operations.ticket("INF-1").filed.spec)
        await operations.carry_to_a_person()

        # then a person has it, with the words, and can end it
        assert operations.state("INF-1") is State.ESCALATED
        assert TOLD in operations.question()
        assert await operations.tell("cancel", text="filed anew") == State.CANCELLED

    run(story())


def test_what_stages_decide_by_is_never_the_words(tmp_path: Path) -> None:
    async def story() -> None:
        operations = on_disk(await given_up(), tmp_path / "blobs")
        drop(operations, operations.ticket("INF-1").filed.spec)

        with pytest.raises(Dropped, match=TOLD):
            operations.journal("INF-1").spec()

    run(story())
