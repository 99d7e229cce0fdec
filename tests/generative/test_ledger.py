"""Histories, values and damages nobody thought of: the ledger does as its oracle does, and nothing slips through."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.core.canonical import LARGEST_INT, canonical_bytes, canonical_value
from harness.core.chain import Row, Walk, linked
from harness.core.errors import HarnessError
from harness.core.record import GENESIS, Draft, Head, NewEvent, StreamWrite, drafted
from harness.ledger.store import Ledger
from harness.simulation.ledger import MemoryLedger

if TYPE_CHECKING:
    from tests.postgresql import Postgresql

NAMES = UUID("9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a112")
STREAMS = ("ticket-1", "ticket-2", "watch")

plain = (
    st.none()
    | st.booleans()
    | st.integers(-LARGEST_INT, LARGEST_INT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
json_values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


class Clock:
    """A clock that goes on when it is told to, and alike for everybody who has one."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def go_on(self) -> None:
        self.time += timedelta(seconds=1)


@dataclass(frozen=True)
class Append:
    """A new attempt to write."""

    writes: tuple[StreamWrite, ...]


@dataclass(frozen=True)
class Again:
    """A retry of an earlier append, counted from the first."""

    number: int


@dataclass(frozen=True)
class SaveCheckpoint:
    """A follower that says where it is."""

    position: int


@dataclass(frozen=True)
class Reopen:
    """The process ends and the next one goes on."""


@dataclass(frozen=True)
class Crash:
    """A process that ends in the middle of an append, while it holds the write lock; the next one goes on."""

    append: Append


class Died(BaseException):
    """The end of a process."""


def event(number: int, data: dict[str, Any]) -> NewEvent:
    """Few ids, so that they meet again; the number in the id decides nothing else."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return NewEvent(id=str(uuid5(NAMES, str(number))), type="Seen", data=data, actor="harness", occurred_at=at)


events = st.builds(event, st.integers(0, 60), st.fixed_dictionaries({}, optional={"value": json_values}))
writes = st.builds(StreamWrite, st.sampled_from(STREAMS), st.none() | st.integers(0, 4), st.lists(events, max_size=3))
appends = st.builds(Append, st.lists(writes, min_size=1, max_size=2).map(tuple))
again = st.builds(Again, st.integers(0, 9))
checkpoints = st.builds(SaveCheckpoint, st.integers(-1, 12))
steps = appends | again | checkpoints | st.just(Reopen()) | st.builds(Crash, appends)


def die() -> datetime:
    raise Died


def outcome(ledger: Ledger | MemoryLedger, step: Append | SaveCheckpoint) -> object:
    """What a step gives: the result, or the error with its words."""
    try:
        if isinstance(step, Append):
            return ledger.append(step.writes)
        ledger.save_checkpoint("follower", step.position)
        return ledger.checkpoint("follower")
    except HarnessError as error:
        return type(error), str(error)


class Kept:
    """A ledger in a database, and the place and the clock that outlive its processes."""

    def __init__(self, where: str | Path, clock: Clock) -> None:
        self.where = where
        self.clock = clock
        self.ledger = Ledger.open(where, now=clock.now)

    def begin_anew(self, ended_in: Append | None = None) -> None:
        """The process ends, perhaps in the middle of an append; the next one opens the ledger."""
        if ended_in is not None:
            with closing(Ledger.open(self.where, now=die)) as dying, suppress(Died, HarnessError):
                dying.append(ended_in.writes)
        self.ledger.close()
        self.ledger = Ledger.open(self.where, now=self.clock.now)


@contextmanager
def databases(postgresql: Postgresql, clock: Clock) -> Iterator[list[Kept]]:
    """An empty ledger on each; on the server in a schema of its own, which is made sooner than a database."""
    with tempfile.TemporaryDirectory() as folder, postgresql.session() as session:
        session.execute("DROP SCHEMA IF EXISTS history CASCADE; CREATE SCHEMA history")
        in_schema = f"{postgresql.url_of('postgres')}?options=-csearch_path%3Dhistory"
        kept = [Kept(Path(folder, "l.db"), clock), Kept(in_schema, clock)]
        try:
            yield kept
        finally:
            for one in kept:
                one.ledger.close()


@settings(max_examples=60, deadline=None)
@given(history=st.lists(steps, min_size=1, max_size=12))
def test_the_ledger_in_each_database_does_what_the_one_in_memory_does(
    postgresql: Postgresql, history: list[Append | Again | SaveCheckpoint | Reopen | Crash]
) -> None:
    clock = Clock()
    oracle = MemoryLedger(now=clock.now)
    with databases(postgresql, clock) as kept:
        done: list[Append] = []
        for step in history:
            clock.go_on()
            if isinstance(step, Reopen | Crash):
                for one in kept:
                    one.begin_anew(step.append if isinstance(step, Crash) else None)
                continue
            if isinstance(step, Again):
                if step.number >= len(done):
                    continue
                step = done[step.number]
            expected = outcome(oracle, step)
            for one in kept:
                assert outcome(one.ledger, step) == expected
            if isinstance(step, Append):
                done.append(step)
        for one in kept:
            assert_alike(one.ledger, oracle)


def assert_alike(ledger: Ledger, oracle: MemoryLedger) -> None:
    """Whatever can be asked of a ledger is answered alike, and what it holds is whole."""
    recorded = ledger.read_all()
    assert recorded == oracle.read_all()
    assert [one.position for one in recorded] == list(range(1, len(recorded) + 1))
    assert len({one.id for one in recorded}) == len(recorded)
    for stream in STREAMS:
        in_stream = ledger.read_stream(stream)
        assert in_stream == oracle.read_stream(stream) == [one for one in recorded if one.stream == stream]
        assert [one.version for one in in_stream] == list(range(1, len(in_stream) + 1))
        assert ledger.stream_version(stream) == oracle.stream_version(stream) == len(in_stream)
    assert ledger.streams() == oracle.streams()
    assert ledger.head() == oracle.head()
    assert ledger.checkpoint("follower") == oracle.checkpoint("follower")
    assert ledger.verify() == oracle.verify()
    assert ledger.verify().ok


@given(
    value=st.recursive(
        plain | st.floats() | st.integers(), lambda inner: st.lists(inner) | st.tuples(inner), max_leaves=8
    )
)
def test_what_is_written_comes_back_the_same_or_is_refused(value: Any) -> None:
    try:
        written = canonical_bytes(value)
    except HarnessError:
        not_json = any(sign in repr(value) for sign in ("nan", "inf", "("))
        assert not_json or largest_int(value) > LARGEST_INT
    else:
        assert repr(canonical_value(written)) == repr(value)
        assert json.loads(written) == value


@given(value=st.dictionaries(st.text(max_size=3), json_values, min_size=2, max_size=5))
def test_the_order_in_which_a_dict_was_filled_leaves_no_trace(value: dict[str, Any]) -> None:
    assert canonical_bytes(dict(reversed(value.items()))) == canonical_bytes(value)


def chain_of(count: int) -> list[Row]:
    """Rows as an honest ledger writes them."""
    told = [
        StreamWrite(stream, None, [event(n + 100 * k, {"n": n}) for n in range(count)])
        for k, stream in enumerate(STREAMS)
    ]
    return linked(drafted(told), head=Head(0, GENESIS), versions={}, recorded_at=Clock().now())


def first_bad(rows: list[Any]) -> int | None:
    """The position that a walk over the rows names."""
    walk = Walk()
    for columns in rows:
        found = walk.step(columns)
        if found is not None:
            return found.first_bad_position
    return None


columns_but_position = st.sampled_from([name for name in Row._fields if name != "position"])
in_sqlite = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.binary()
anything = in_sqlite | st.sampled_from(["{}", "[]", '{"n": 1}', '{"n":1,"n":1}', "1"])


@settings(max_examples=300)
@given(at=st.integers(0, 8), column=columns_but_position, value=anything)
def test_whatever_is_put_into_whatever_column_is_named_by_its_position(at: int, column: str, value: object) -> None:
    rows: list[Any] = list(chain_of(3))
    assume(repr(value) != repr(getattr(rows[at], column)))

    rows[at] = rows[at]._replace(**{column: value})

    assert first_bad(rows) == at + 1


@given(at=st.integers(0, 7), other=st.integers(0, 8))
def test_rows_that_are_gone_swapped_or_doubled_are_named_by_the_first(at: int, other: int) -> None:
    rows = chain_of(3)
    assert first_bad(rows) is None
    assert first_bad(rows[:at] + rows[at + 1 :]) == at + 1
    assert first_bad(rows[: at + 1] + rows[at:]) == at + 1
    assume(at != other)
    swapped = [row._replace(position=place + 1) for place, row in enumerate(rows)]
    swapped[at], swapped[other] = rows[other]._replace(position=at + 1), rows[at]._replace(position=other + 1)
    assert first_bad(swapped) == min(at, other) + 1


def test_a_chain_with_right_hashes_over_wrong_content_does_not_hold() -> None:
    # somebody who computes the hashes anew still cannot begin a stream at 2, or hash a text that is not canonical
    draft = Draft("watch", event(0, {}), "{}")
    for drafts, versions in (
        ([draft], {"watch": 1}),
        ([draft._replace(data="{ }")], {}),
        ([draft._replace(data="{")], {}),
    ):
        assert first_bad(linked(drafts, head=Head(0, GENESIS), versions=versions, recorded_at=Clock().now())) == 1


def largest_int(value: Any) -> int:
    """The largest whole number anywhere in a value, without its sign."""
    if isinstance(value, list | tuple):
        return max(map(largest_int, value), default=0)
    return abs(value) if isinstance(value, int) else 0
