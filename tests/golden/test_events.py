"""Every version of every event that was ever written is read as today's. Reads the golden files and the schemas."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.core import events as e
from harness.core.canonical import canonical_bytes
from harness.core.ids import event_id
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.upcast import UPCASTERS, decode
from harness.simulation.ledger import MemoryLedger
from tests.golden.golden import FOLDER, Golden, shape, shape_of

SCHEMAS = Path(__file__).parents[2] / "docs/schemas/events"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOLDEN = [Golden.read(path) for path in sorted(FOLDER.iterdir())]
EXAMPLES = [
    pytest.param(golden, example, id=f"{golden.name}-{n}")
    for golden in GOLDEN
    for n, example in enumerate(golden.examples, 1)
]
VERSIONS = {f"{name}.v{n}" for name, kind in e.EVENTS.items() for n in range(1, kind.schema_version + 1)}
HOW = """
An event that is written differently is another version of it:
1. raise `schema_version` of {0} by one, and write the way up from {1} into UPCASTERS of harness/core/upcast.py;
2. where that changes data, add to tests/golden/events/{0}.v{1}.json what each example `becomes`;
3. take the golden file of the new version: `python -m pytest -p tests.golden.record` with the tests that write it;
4. `make docs`. docs/schemas/events/{0}.v{1}.schema.json stays as it is."""


def how(golden: Golden) -> str:
    return HOW.format(golden.type, golden.version)


def written(golden: Golden, data: dict[str, Any]) -> Recorded:
    new = NewEvent(
        id=event_id("golden"), type=golden.type, data=data, actor="harness", occurred_at=NOON,
        schema_version=golden.version,
    )  # fmt: skip
    [row] = MemoryLedger(now=lambda: NOON).append([StreamWrite("golden", 0, [new])])
    return row


def test_every_version_of_every_event_has_examples_and_a_schema() -> None:
    assert {golden.name for golden in GOLDEN if golden.examples} == VERSIONS
    assert {path.name.removesuffix(".schema.json") for path in SCHEMAS.iterdir()} == VERSIONS


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
def test_a_shape_does_not_change_under_its_version(golden: Golden) -> None:
    schema = json.loads((SCHEMAS / f"{golden.name}.schema.json").read_text())

    assert shape_of(schema) == golden.shape, how(golden)
    kind = e.EVENTS[golden.type]
    assert golden.version < kind.schema_version or shape(kind) == golden.shape, how(golden)


@pytest.mark.parametrize(("golden", "example"), EXAMPLES)
def test_what_was_written_is_read_as_todays_event(golden: Golden, example: dict[str, Any]) -> None:
    event = decode(written(golden, example["data"]))

    assert type(event) is e.EVENTS[golden.type]
    if golden.version < event.schema_version:
        above = UPCASTERS[golden.type, golden.version](example["data"])
        assert canonical_bytes(above) == canonical_bytes(example.get("becomes", example["data"])), how(golden)
    else:
        again = canonical_bytes(event.model_dump(mode="json"))
        assert again == canonical_bytes(example.get("with_defaults", example["data"])), how(golden)
