"""Events of earlier versions, and of later ones, as they are read. Touches nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from harness.core import events as e
from harness.core.errors import Broken, Refused
from harness.core.ids import event_id
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.upcast import UPCASTERS, decode
from harness.simulation.ledger import MemoryLedger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHECKED: dict[str, Any] = {"attempt": 1, "commit": "c" * 40, "tree": "d" * 40, "outcomes": [], "waits": []}


def ledger_with(type: str, data: dict[str, Any], version: int) -> MemoryLedger:
    ledger = MemoryLedger(now=lambda: NOON)
    new = NewEvent(id=event_id("one"), type=type, data=data, actor="harness", occurred_at=NOON, schema_version=version)
    ledger.append([StreamWrite("ticket-INF-1", 0, [new])])
    return ledger


def written(type: str, data: dict[str, Any], version: int = 1) -> Recorded:
    [row] = ledger_with(type, data, version).read_all()
    return row


def test_there_is_a_way_up_from_every_version_below_todays_and_no_other() -> None:
    below = {(name, n) for name, kind in e.EVENTS.items() for n in range(1, kind.schema_version)}

    assert set(UPCASTERS) == below, "an event of a higher version needs an upcaster from every version below it"


def test_what_was_not_recorded_then_is_unknown_now() -> None:
    checks = decode(written("ChecksPassed", CHECKED))

    assert isinstance(checks, e.ChecksPassed) and checks.onto is None
    with pytest.raises(Refused, match="answer the ticket"):
        assert checks.base


def test_what_was_recorded_under_the_earlier_version_is_kept() -> None:
    checks = decode(written("ChecksPassed", {**CHECKED, "onto": "a" * 40}))

    assert isinstance(checks, e.ChecksPassed) and checks.base == "a" * 40


def test_an_upcaster_leaves_the_row_as_it_was_written() -> None:
    row = written("ChecksPassed", CHECKED)

    decode(row)

    assert row.data == CHECKED


@pytest.mark.parametrize(
    ("type", "version", "knows"),
    [("Teleported", 1, "no event of that type"), ("TicketPaused", 7, "that event up to version 1")],
)
def test_what_a_newer_harness_wrote_is_refused_by_place_and_name_and_the_chain_is_walked_all_the_same(
    type: str, version: int, knows: str
) -> None:
    ledger = ledger_with(type, {"by": "ada", "to": "the moon"}, version)

    with pytest.raises(Broken) as refused:
        decode(ledger.read_all()[0])

    assert str(refused.value).startswith(f"position 1: {type} of schema version {version} was written by a newer")
    assert knows in str(refused.value) and "`harness ledger verify`" in str(refused.value)
    found = ledger.verify()
    assert (found.ok, found.events) == (True, 1)


@pytest.mark.parametrize(
    ("type", "data", "version", "fault"),
    [
        ("TicketPaused", {}, 1, "1 faults, the first at 'by'"),
        ("TicketPaused", {"by": "ada", "colour": "vermilion"}, 1, "the first at 'colour'"),
        ("ChecksPassed", {}, 1, "5 faults"),
        ("ChecksPassed", CHECKED, 2, "1 faults, the first at 'onto'"),
    ],
)
def test_data_that_is_not_of_its_versions_shape_is_broken(
    type: str, data: dict[str, Any], version: int, fault: str
) -> None:
    with pytest.raises(Broken) as refused:
        decode(written(type, data, version))

    said = str(refused.value)
    assert f"position 1: {type} of schema version {version}" in said and fault in said
    assert "vermilion" not in said, "what stands in an event is no part of an error"
