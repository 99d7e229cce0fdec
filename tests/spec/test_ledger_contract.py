"""What every ledger and every store of blobs promises, said once and held against the real ones and those in memory."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid5

import pytest

from harness.core.canonical import LARGEST_INT, canonical_bytes, canonical_value
from harness.core.chain import Row, opened, seal
from harness.core.errors import Broken, Invalid, VersionConflict
from harness.core.record import GENESIS, Head, NewEvent, Recorded, StreamWrite, Verification
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger
from harness.simulation.ledger import MemoryBlobs, MemoryLedger

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
NAMES = UUID("9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a111")


class LedgerPort(Protocol):
    def append(self, writes: Sequence[StreamWrite]) -> list[Recorded]: ...
    def read_stream(self, stream: str, *, from_version: int = 1) -> list[Recorded]: ...
    def read_all(self, *, after_position: int = 0, limit: int = 1_000) -> list[Recorded]: ...
    def stored(self, *, after_position: int, limit: int) -> list[Row]: ...
    def find(self, id: str) -> Recorded | None: ...
    def head(self) -> Head: ...
    def stream_version(self, stream: str) -> int: ...
    def streams(self, prefix: str = "") -> list[str]: ...
    def wait_past(self, position: int, *, timeout_s: float) -> bool: ...
    def checkpoint(self, name: str) -> int: ...
    def save_checkpoint(self, name: str, position: int) -> None: ...
    def verify(self) -> Verification: ...
    def close(self) -> None: ...


class BlobsPort(Protocol):
    def put(self, body: bytes) -> str: ...
    def get(self, ref: str) -> bytes: ...
    def put_json(self, value: Any) -> str: ...
    def get_json(self, ref: str) -> Any: ...


def now() -> datetime:
    return NOON


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerPort]:
    kept: LedgerPort
    match request.param:
        case "sqlite":
            kept = Ledger.open(tmp_path / "ledger.db", now=now)
        case "postgresql":
            kept = Ledger.open(request.getfixturevalue("postgresql").url(), now=now)
        case _:
            kept = MemoryLedger(now=now)
    yield kept
    kept.close()


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobsPort:
    return Blobs(tmp_path / "blobs") if request.param == "folder" else MemoryBlobs()


def event(name: str, **given: Any) -> NewEvent:
    """An event whose id follows from its name."""
    plain = NewEvent(
        id=str(uuid5(NAMES, name)), type="TicketFiled", data={"name": name}, actor="human:ada", occurred_at=NOON
    )
    return replace(plain, **given)


def test_an_append_gives_each_event_its_version_its_position_and_its_place_in_the_chain(ledger: LedgerPort) -> None:
    # given an event with everything that an event can say
    told = event("a", schema_version=3, causation_id="c-1", correlation_id="INF-1")

    # when it is appended with others, over two streams
    first, second, other = ledger.append(
        [StreamWrite("ticket-1", 0, [told, event("b")]), StreamWrite("ticket-2", None, [event("c")])]
    )

    # then it comes back as it was told, counted per stream and over all
    assert (first.stream, first.version, first.position) == ("ticket-1", 1, 1)
    assert (second.stream, second.version, second.position) == ("ticket-1", 2, 2)
    assert (other.stream, other.version, other.position) == ("ticket-2", 1, 3)
    assert {name: getattr(first, name) for name in asdict(told)} == asdict(told)
    assert first.recorded_at == NOON
    assert [first.prev_hash, second.prev_hash, other.prev_hash] == [GENESIS, first.hash, second.hash]
    # and every way of reading gives the same
    assert ledger.read_all() == [first, second, other]
    assert ledger.read_stream("ticket-1") == [first, second]
    assert ledger.find(told.id) == first
    assert ledger.head() == (3, other.hash)


def test_the_hash_can_be_computed_from_the_columns_with_any_json_library(ledger: LedgerPort) -> None:
    (recorded,) = ledger.append([StreamWrite("s", 0, [event("a", data={"b": [1, 0.5, None], "a": "ü"})])])

    us = (NOON - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    columns = [1, recorded.id, "s", 1, "TicketFiled", 1, {"a": "ü", "b": [1, 0.5, None]}, "human:ada", None, None]
    columns += [us, us, "0" * 64]
    written = json.dumps(columns, ensure_ascii=False, separators=(",", ":")).encode()
    assert recorded.hash == hashlib.sha256(written).hexdigest()


def test_the_rows_as_they_are_stored_are_what_the_chain_is_walked_by(ledger: LedgerPort) -> None:
    events = ledger.append([StreamWrite("s", 0, [event("a"), event("b")]), StreamWrite("t", 0, [event("c")])])

    rows = ledger.stored(after_position=0, limit=10)

    assert [opened(row) for row in rows] == events
    assert [row.hash for row in rows] == [seal(row[:-1]) for row in rows]
    assert ledger.stored(after_position=1, limit=1) == rows[1:2] and ledger.stored(after_position=3, limit=5) == []


def test_an_empty_ledger_has_a_head_and_nothing_else(ledger: LedgerPort) -> None:
    assert ledger.head() == (0, GENESIS)
    assert ledger.read_all() == ledger.read_stream("none") == []
    assert ledger.streams() == []
    assert ledger.find(event("a").id) is None
    assert ledger.stream_version("none") == 0
    assert ledger.verify() == Verification(True, 0, GENESIS, None, None)


def test_a_stream_that_moved_on_is_a_conflict_that_says_where_it_is(ledger: LedgerPort) -> None:
    ledger.append([StreamWrite("s", 0, [event("a"), event("b")])])

    with pytest.raises(VersionConflict, match=r"'s' is at version 2, not at 1") as conflict:
        ledger.append([StreamWrite("new", 0, [event("c")]), StreamWrite("s", 1, [event("d")])])

    # nothing of the append was recorded, in no stream
    assert (conflict.value.stream, conflict.value.expected, conflict.value.actual) == ("s", 1, 2)
    assert ledger.streams() == ["s"]
    assert ledger.head().position == 2


def test_a_write_without_events_states_what_must_hold_for_the_rest(ledger: LedgerPort) -> None:
    ledger.append([StreamWrite("lock", 0, [event("taken")])])

    with pytest.raises(VersionConflict):
        ledger.append([StreamWrite("lock", 0), StreamWrite("ticket", None, [event("a")])])
    ledger.append([StreamWrite("lock", 1), StreamWrite("ticket", None, [event("a")])])

    assert [recorded.stream for recorded in ledger.read_all()] == ["lock", "ticket"]


def test_the_same_append_again_gives_the_first_result_whatever_it_expects(ledger: LedgerPort) -> None:
    writes = [StreamWrite("s", 0, [event("a"), event("b")]), StreamWrite("t", 0, [event("c")])]
    first = ledger.append(writes)
    ledger.append([StreamWrite("s", 2, [event("later")])])

    # a retry after a lost answer: it tells the cause and the time anew, and the streams have moved on
    retold = [event("a", occurred_at=NOON + timedelta(hours=1), causation_id="retry"), event("b")]
    again = ledger.append([StreamWrite("s", 0, retold), StreamWrite("t", 0, [event("c")])])

    assert again == first
    assert ledger.head().position == 4


@pytest.mark.parametrize(
    "other",
    [
        StreamWrite("s", None, [event("a", type="TicketRejected")]),
        StreamWrite("s", None, [event("a", schema_version=2)]),
        StreamWrite("s", None, [event("a", data={"name": "a", "more": 1})]),
        StreamWrite("s", None, [event("a", actor="agent:x")]),
        StreamWrite("elsewhere", None, [event("a")]),
    ],
    ids=["type", "schema_version", "data", "actor", "stream"],
)
def test_the_same_id_with_other_content_is_broken(ledger: LedgerPort, other: StreamWrite) -> None:
    ledger.append([StreamWrite("s", 0, [event("a")])])

    with pytest.raises(Broken, match=f"{event('a').id} .* other content at position 1"):
        ledger.append([other])

    assert ledger.head().position == 1


def test_an_append_of_which_only_a_part_is_recorded_is_broken(ledger: LedgerPort) -> None:
    ledger.append([StreamWrite("s", 0, [event("a")])])

    with pytest.raises(Broken, match=f"{event('a').id} is recorded but {event('b').id}"):
        ledger.append([StreamWrite("s", None, [event("a"), event("b")])])

    assert ledger.head().position == 1


def test_a_follower_reads_on_behind_its_checkpoint(ledger: LedgerPort) -> None:
    ledger.append([StreamWrite("s", 0, [event(str(number)) for number in range(7)])])

    assert ledger.checkpoint("pump") == 0
    page = ledger.read_all(after_position=2, limit=3)
    ledger.save_checkpoint("pump", page[-1].position)
    rest = ledger.read_all(after_position=ledger.checkpoint("pump"))

    assert [recorded.position for recorded in page + rest] == [3, 4, 5, 6, 7]
    assert [recorded.version for recorded in ledger.read_stream("s", from_version=6)] == [6, 7]
    with pytest.raises(Invalid, match="limit: 0 is not"):
        ledger.read_all(limit=0)
    # a rebuild goes back to the start; a checkpoint where no event is would skip what comes
    ledger.save_checkpoint("pump", 0)
    assert ledger.checkpoint("pump") == 0
    for nowhere in (-1, 8):
        with pytest.raises(Invalid, match=f"{nowhere} of checkpoint 'pump'"):
            ledger.save_checkpoint("pump", nowhere)


def test_streams_are_found_by_how_they_begin_and_nothing_in_it_is_a_wildcard(ledger: LedgerPort) -> None:
    names = ["ticket-2", "ticket-10", "Ticket-1", "t%cket-1", "signal-x", "ticket", "ticket-é"]
    ledger.append([StreamWrite(name, 0, [event(name), event(name + "again")]) for name in names])

    assert ledger.streams() == sorted(names)
    assert ledger.streams("ticket-") == ["ticket-10", "ticket-2", "ticket-é"]
    assert ledger.streams("t%") == ["t%cket-1"]
    assert ledger.streams("ticket-é") == ["ticket-é"]
    assert ledger.streams("none") == []


def test_waiting_ends_with_the_event_or_with_the_time(ledger: LedgerPort) -> None:
    assert not ledger.wait_past(0, timeout_s=0.03)

    woken: list[bool] = []
    waiting = threading.Thread(target=lambda: woken.append(ledger.wait_past(0, timeout_s=10)))
    waiting.start()
    ledger.append([StreamWrite("s", 0, [event("a")])])
    waiting.join()

    assert woken == [True]
    assert ledger.wait_past(0, timeout_s=0)
    assert not ledger.wait_past(1, timeout_s=0)


def test_what_is_read_is_the_readers_own(ledger: LedgerPort) -> None:
    data = {"list": [1]}
    (recorded,) = ledger.append([StreamWrite("s", 0, [event("a", data=data)])])

    data["list"].append(2)
    recorded.data["list"].append(3)

    assert ledger.read_all()[0].data == {"list": [1]}
    assert ledger.verify().ok


def test_times_come_back_in_utc_to_the_microsecond(ledger: LedgerPort) -> None:
    berlin = timezone(timedelta(hours=1))
    told = [
        NOON.astimezone(berlin),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ]
    recorded = ledger.append([StreamWrite("s", 0, [event(str(time), occurred_at=time) for time in told])])

    assert [one.occurred_at for one in recorded] == told
    assert {one.occurred_at.tzinfo for one in recorded} == {UTC}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"id": "INF-1"}, "id: 'INF-1' is not a UUID"),
        ({"id": "9A6F0A39-5E0C-4C0E-8A0D-54A5F8B7A111"}, "lower case"),
        ({"type": ""}, "type: '' is not 1 to 200 printable"),
        ({"actor": "a\nb"}, "actor: .* printable"),
        ({"actor": "a" * 201}, "actor: .* printable"),
        ({"correlation_id": "a\0"}, "correlation_id: .* printable"),
        ({"schema_version": 0}, "schema_version: 0 of TicketFiled"),
        ({"schema_version": True}, "schema_version: True of TicketFiled"),
        ({"occurred_at": datetime(2026, 1, 1)}, "occurred_at: .* no time zone"),
        (
            {"occurred_at": datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))},
            "occurred_at: .* outside the years",
        ),
        ({"data": []}, "data: list of TicketFiled is not an object"),
        ({"data": {"a": {"b": [0, float("nan")]}}}, r"data\.a\.b\[1\]: nan is not finite"),
        ({"data": {"text": "x" * 300_000}}, "data: 300011 bytes in TicketFiled, .*blobs"),
    ],
)
def test_an_event_of_bad_form_is_refused_by_the_field(ledger: LedgerPort, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        ledger.append([StreamWrite("s", None, [event("good"), event("a", **wrong)])])

    assert ledger.head().position == 0


@pytest.mark.parametrize(
    ("writes", "says"),
    [
        ([StreamWrite("", 0)], "stream: ''"),
        ([StreamWrite("s", -1)], "expected_version: -1"),
        ([StreamWrite("s", 0), StreamWrite("s", None)], "stream: 's' stands twice"),
        ([StreamWrite("s", 0, [event("a")]), StreamWrite("t", 0, [event("a")])], "the same id stands twice"),
        ([StreamWrite("s", 0, [event(str(n)) for n in range(1001)])], "1001 in one append, at most 1000"),
    ],
)
def test_an_append_of_bad_form_is_refused(ledger: LedgerPort, writes: list[StreamWrite], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        ledger.append(writes)


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -LARGEST_INT, 1.0, -0.0, 5e-324, 1e300, "", "\u2028 \0 😀", [], {}, [[{}]], {"e": 1, "é": 2}],
)
def test_a_json_value_comes_back_the_same(value: Any) -> None:
    # repr, because 1 == 1.0 == True and 0.0 == -0.0
    assert repr(canonical_value(canonical_bytes(value))) == repr(value)


def test_an_enum_of_text_comes_back_as_its_text() -> None:
    assert canonical_bytes({"colour": Colour.RED}) == b'{"colour":"red"}'


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"a": [1, float("inf")]}, r"value\.a\[1\]: inf is not finite"),
        ({"a": LARGEST_INT + 1}, r"value\.a: 9007199254740992 needs more than 53 bits"),
        ({"a": (1, 2)}, r"value\.a: tuple is not a JSON value"),
        ({"a": NOON}, r"value\.a: datetime is not a JSON value"),
        ({"a": UUID(int=0)}, r"value\.a: UUID is not a JSON value"),
        ({"a": b""}, r"value\.a: bytes is not a JSON value"),
        ({"a": {1: 2}}, r"value\.a: key 1 is not a plain Unicode string"),
        ({"a": {"\ud800": 2}}, r"value\.a: key '\\ud800' is not a plain Unicode string"),
        (["\ud800"], r"value\[0\]: text with a lone surrogate"),
        (json.loads("[" * 300 + "]" * 300), "value: nested 254 levels deep"),
    ],
)
def test_what_would_not_come_back_the_same_is_refused_with_its_path(value: Any, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        canonical_bytes(value)


def test_a_blob_is_known_by_its_hash_and_comes_back_the_same(blobs: BlobsPort) -> None:
    body = b"a prompt\n" * 1000

    ref = blobs.put(body)

    assert ref == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert blobs.put(body) == ref
    assert blobs.get(ref) == body
    assert blobs.get(blobs.put(b"")) == b""


def test_a_json_blob_does_not_depend_on_the_order_of_its_keys(blobs: BlobsPort) -> None:
    ref = blobs.put_json({"b": [1, 2.5, None], "a": "é"})

    assert blobs.put_json({"a": "é", "b": [1, 2.5, None]}) == ref
    assert blobs.get_json(ref) == {"a": "é", "b": [1, 2.5, None]}
    with pytest.raises(Invalid, match=r"value\.a: tuple"):
        blobs.put_json({"a": ()})
    with pytest.raises(Invalid, match="not JSON"):
        blobs.get_json(blobs.put(b"no json"))


def test_a_missing_blob_is_broken_and_a_bad_reference_is_invalid(blobs: BlobsPort) -> None:
    missing = "sha256:" + "0" * 64
    with pytest.raises(Broken, match=f"{missing} is missing"):
        blobs.get(missing)
    for bad in ("0" * 64, "sha256:../../etc/passwd", "sha256:" + "A" * 64):
        with pytest.raises(Invalid, match="no reference"):
            blobs.get(bad)
