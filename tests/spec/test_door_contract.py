"""What the door before ledger and blobs promises, on SQLite, on PostgreSQL and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.core.ids import REDACTIONS_STREAM, event_id
from harness.core.plain_text import storable
from harness.core.record import NewEvent, StreamWrite
from harness.core.redaction import REDACTED, Secrets
from harness.ledger.door import GuardedBlobs, GuardedLedger
from harness.simulation.ledger import GuardedMemoryBlobs, GuardedMemoryLedger
from tests.acceptance.searching import found, places
from tests.hostile import HOSTILE

SECRET = "s3cret-of-the-door"
SECRETS = Secrets.of({"DOOR_TOKEN": SECRET})
AT = datetime(2026, 11, 26, tzinfo=UTC)


@dataclass
class Kept:
    ledger: Any
    blobs: Any


@pytest.fixture(params=["files", "postgresql", "memory"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    def now() -> datetime:
        return AT

    if request.param != "memory":
        where = tmp_path / "ledger.db" if request.param == "files" else request.getfixturevalue("postgresql").url()
        ledger: Any = GuardedLedger.guarded(where, now=now, secrets=SECRETS)
        blobs: Any = GuardedBlobs(tmp_path / "blobs", ledger=ledger, secrets=SECRETS, now=now)
    else:
        ledger = GuardedMemoryLedger(now=now, secrets=SECRETS)
        blobs = GuardedMemoryBlobs(ledger=ledger, secrets=SECRETS, now=now)
    yield Kept(ledger, blobs)
    ledger.close()
    assert found(places(tmp_path), {"it": SECRET}) == []


def write(reason: str, stream: str = "a", key: str = "one") -> StreamWrite:
    event = NewEvent(id=event_id(key), type="Seen", data={"reason": reason, "n": 1}, actor="me", occurred_at=AT)
    return StreamWrite(stream, None, [event])


def told(kept: Kept) -> list[dict[str, Any]]:
    return [row.data for row in kept.ledger.read_stream(REDACTIONS_STREAM)]


def test_an_event_is_recorded_without_its_secret_and_that_is_told_in_the_same_append(kept: Kept) -> None:
    recorded = kept.ledger.append([write(f"it said {SECRET}, {SECRET}"), write("fine", "b", "two")])

    assert [(row.stream, row.data["reason"]) for row in recorded] == [
        ("a", f"it said {REDACTED}, {REDACTED}"), ("b", "fine"),
    ]  # fmt: skip
    assert told(kept) == [{"found": {"DOOR_TOKEN": 2}, "body": None, "event": event_id("one")}]
    assert kept.ledger.head().position == 3 and kept.ledger.verify().ok


def test_the_same_append_again_gives_the_first_result_and_tells_nothing_new(kept: Kept) -> None:
    first = kept.ledger.append([write(f"it said {SECRET}")])

    assert kept.ledger.append([write(f"it said {SECRET}")]) == first
    assert len(told(kept)) == 1 and kept.ledger.head().position == 2


def test_a_body_is_stored_without_its_secret_and_told_once_however_often_it_comes(kept: Kept) -> None:
    refs = {kept.blobs.put_json({"text": f"{SECRET} and password=hunter2"}) for _ in range(3)}

    [ref] = refs
    assert kept.blobs.get_json(ref) == {"text": f"{REDACTED} and password={REDACTED}"}
    digest = ref.removeprefix("sha256:")
    assert told(kept) == [{"found": {"DOOR_TOKEN": 1, "assignment": 1}, "body": digest, "event": None}]


def test_what_is_shown_in_part_is_cleaned_whole_and_counted(kept: Kept) -> None:
    assert kept.blobs.cleaned(f"a {SECRET} b") == f"a {REDACTED} b"
    [one] = told(kept)
    assert kept.blobs.get_json(f"sha256:{one['body']}") == f"a {REDACTED} b"
    assert kept.blobs.cleaned("nothing") == "nothing" and len(told(kept)) == 1


def test_what_holds_none_is_written_as_it_came_and_costs_no_event(kept: Kept) -> None:
    ref = kept.blobs.put_json({"text": "plain"})
    kept.ledger.append([write("plain")])

    assert kept.blobs.get_json(ref) == {"text": "plain"}
    assert kept.ledger.head().position == 1 and told(kept) == []


def test_whatever_somebody_wrote_is_kept_as_it_is_but_for_what_a_database_refuses(kept: Kept) -> None:
    for number, whole in enumerate(HOSTILE.values()):
        text = whole[:10_000]
        clean = storable(text)
        [row] = kept.ledger.append([write(text, key=f"text {number}")])
        assert row.data["reason"] == kept.ledger.read_stream("a")[-1].data["reason"] == clean
        assert kept.blobs.get_json(kept.blobs.put_json({text: [text]})) == {clean: [clean]}
        assert clean == text or set(text) & set("\0\ud800\udfff")
    assert kept.ledger.verify().ok
