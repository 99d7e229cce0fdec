"""Bodies are put, referred to, forgotten, aged and collected, by several at once and killed at any step: none is lost.

On the real folder with its real times and locks. Time passes by setting the files' times back.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.core import events as e
from harness.core.blob import reference
from harness.core.canonical import canonical_bytes
from harness.core.errors import Dropped, Invalid
from harness.core.ids import cause_stream, ticket_stream
from harness.core.record import NewEvent, Recorded, StreamWrite
from harness.core.retention import Retention
from harness.ledger.blobs import Blobs, Entry, Shelf
from harness.ledger.bodies import audit_bodies, drop_of
from harness.ledger.collect import collect, forget
from harness.simulation.ledger import MemoryLedger

POLICY = Retention.parse({"unreferenced": "7d", "outputs": "30d"}, "retention.yaml")
DAY_NS = 24 * 3600 * 10**9
BODIES = [canonical_bytes({"text": f"body {number}"}) for number in range(3)]
REFS = [reference(body) for body in BODIES]
SHELVES = [ref[7:9] for ref in REFS]
FORGETTABLE = 2
"""The only one that is ever forgotten: nothing much happens to a body after that."""
POINTS = (
    "clock read", "ledger read", "shelf locked", "before its file goes", "after its file went", "shelf left",
    "before a drop is recorded", "after a drop is recorded",
)  # fmt: skip
numbers = st.sampled_from(range(len(BODIES)))


class Clock:
    """The harness's own clock, which here goes only when it is told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Killed(BaseException):
    """The collecting process ends here."""


class Between:
    """At a point of a collection, when it first comes to it on this shelf, something else happens."""

    def __init__(self, point: str, shelf: str, then: Callable[[str | None], None]) -> None:
        self.point, self.shelf, self.then = point, shelf, then
        self.held: str | None = None

    def come_to(self, point: str, shelf: str | None = None) -> None:
        if point == self.point and shelf in (None, self.shelf):
            self.point = "over"
            self.then(self.held)


class SteppedLedger(MemoryLedger):
    """The same events as those of ``whole``, step by step."""

    def __init__(self, whole: MemoryLedger, between: Between) -> None:
        self.__dict__ = whole.__dict__ | {"between": between}

    def append(self, writes: Sequence[StreamWrite]) -> list[Recorded]:
        self.between.come_to("before a drop is recorded", self.between.held)
        done = super().append(writes)
        self.between.come_to("after a drop is recorded", self.between.held)
        return done

    def read_all(self, *, after_position: int = 0, limit: int = 1_000) -> list[Recorded]:
        page = super().read_all(after_position=after_position, limit=limit)
        self.between.come_to("ledger read")
        return page


class SteppedShelf(Shelf):
    between: Between

    def entries(self) -> Iterator[Entry]:
        found = list(super().entries())
        self.between.come_to("shelf locked", self.folder.name)
        yield from found

    def take(self, name: str) -> None:
        self.between.come_to("before its file goes", self.folder.name)
        super().take(name)
        self.between.come_to("after its file went", self.folder.name)


class SteppedBlobs(Blobs):
    between: Between

    def now_ns(self) -> int:
        now_ns = super().now_ns()
        self.between.come_to("clock read")
        return now_ns

    @contextmanager
    def shelf(self, name: str) -> Iterator[Shelf]:
        with super().shelf(name) as plain:
            shelf = SteppedShelf(plain.folder)
            shelf.between, self.between.held = self.between, name
            try:
                yield shelf
            finally:
                self.between.held = None
        self.between.come_to("shelf left", name)


class Keeping(RuleBasedStateMachine):
    """Several processes that put, append, forget and collect, and what must be there in spite of all."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.ledger = MemoryLedger(now=self.clock.now)
        self.drops = partial(drop_of, self.ledger)
        self.blobs = Blobs(self.folder, drops=self.drops)
        self.waiting: dict[int, float] = {}
        """Bodies that were put and whose event is to come → days since."""
        self.ticket = 0
        self.others = ThreadPoolExecutor(1)
        self.under_way: list[Future[Any]] = []

    @initialize()
    def begin(self) -> None:
        self.open_a_ticket()

    def teardown(self) -> None:
        try:
            self.waiting.clear()
            self.pass_days(8)
            self.collects()
            self.nothing_is_lost()
            files = {f"sha256:{one.parent.name}{one.name}" for one in self.folder.glob("??/*")}
            assert files == {row_ref for row_ref in self.mentioned() if self.is_needed(row_ref)}
        finally:
            self.others.shutdown()
            shutil.rmtree(self.folder)

    # -- what is done ---------------------------------------------------------------------------------------------

    @rule(number=numbers)
    def put(self, number: int) -> None:
        assert self.blobs.put(BODIES[number]) == REFS[number]
        self.waiting[number] = 0

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), output=st.booleans())
    def append(self, data: st.DataObject, output: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[number]
        self.refer(number, output=output)

    @rule(number=numbers, output=st.booleans())
    def put_and_append(self, number: int, output: bool) -> None:
        self.blobs.put(BODIES[number])
        self.refer(number, output=output)

    @rule(number=numbers)
    def put_and_die(self, number: int) -> None:
        self.blobs.put(BODIES[number])
        self.pass_days(8)

    @rule(number=numbers)
    def outlive_a_ticket(self, number: int) -> None:
        self.put_and_append(number, output=True)
        self.close_the_ticket()
        self.pass_days(31)

    @rule(days=st.sampled_from([1, 6]))
    def pass_days(self, days: int) -> None:
        self.clock.time += timedelta(days=days)
        for file in self.folder.glob("??/*"):
            then = file.stat().st_mtime_ns - days * DAY_NS
            os.utime(file, ns=(then, then))
        aged = {number: age + days for number, age in self.waiting.items()}
        self.waiting = {number: age for number, age in aged.items() if age < 7}  # the others' processes are dead

    @rule()
    def close_the_ticket(self) -> None:
        why = self.blobs.put_json({"text": "done"})
        self.record(ticket_stream(f"INF-{self.ticket}"), e.TicketCancelled(by="ada", why=why))
        self.open_a_ticket()

    @rule()
    def a_put_is_killed_half_way(self) -> None:
        shelf = self.folder / "aa"
        shelf.mkdir(exist_ok=True)
        (shelf / f".{uuid4()}").write_bytes(b"half")

    @rule()
    def forget(self) -> None:
        with suppress(Invalid):  # nobody ever knew it
            forget(self.ledger, self.blobs, self.clock, REFS[FORGETTABLE], why="because", by="ada")
            assert not self.blobs.has(REFS[FORGETTABLE])

    @rule()
    def collects(self) -> None:
        collect(self.ledger, self.blobs, self.clock, POLICY, dry_run=False)

    @rule(point=st.sampled_from(POINTS), number=numbers)
    def a_collection_is_killed(self, point: str, number: int) -> None:
        def killed(_: str | None) -> None:
            raise Killed

        with suppress(Killed):
            self.stepped(Between(point, SHELVES[number], killed))

    @rule(point=st.sampled_from(POINTS), number=numbers, output=st.booleans())
    def another_puts_and_appends_while_one_collects(self, point: str, number: int, output: bool) -> None:
        def other() -> None:
            self.blobs.put(BODIES[number])
            self.refer(number, output=output)

        self.stepped(Between(point, SHELVES[number], partial(self.beside, other, SHELVES[number])))

    @precondition(lambda self: self.waiting)
    @rule(point=st.sampled_from(POINTS), data=st.data(), output=st.booleans())
    def an_event_comes_while_one_collects(self, point: str, data: st.DataObject, output: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))

        def other() -> None:
            del self.waiting[number]
            self.refer(number, output=output)

        self.stepped(Between(point, SHELVES[number], partial(self.beside, other, "")))

    @rule(point=st.sampled_from(POINTS))
    def another_forgets_while_one_collects(self, point: str) -> None:
        shelf = SHELVES[FORGETTABLE]
        self.stepped(Between(point, shelf, partial(self.beside, self.forget, shelf)))

    @rule(point=st.sampled_from(POINTS), number=numbers)
    def two_collect_at_once(self, point: str, number: int) -> None:
        self.stepped(Between(point, SHELVES[number], partial(self.beside, self.collects, None)))

    # -- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost(self) -> None:
        for number, ref in enumerate(REFS):
            if self.is_needed(ref) or (number in self.waiting and not self.is_forgotten(ref)):
                assert self.blobs.get(ref) == BODIES[number]
        found = audit_bodies(self.ledger, self.blobs)
        assert found.faults == () and self.ledger.verify().ok

    @invariant()
    def what_was_forgotten_is_told_as_such_once_it_is_gone(self) -> None:
        for ref in filter(self.is_forgotten, REFS):
            try:
                self.blobs.get(ref)
                raise AssertionError(f"{ref} came back")
            except Dropped as dropped:
                assert "by human:ada because: because" in str(dropped)

    @invariant()
    def only_what_policy_bounds_expired(self) -> None:
        for row in self.rows():
            if row.data.get("cause") == "expired":
                before = [one for one in self.rows() if one.position < row.position]
                drops = [one.position for one in before if one.data.get("blob") == row.data["blob"]]
                later = [one for one in before if one.position > max(drops, default=0)]
                since = [one for one in later if refers(one, row.data["blob"])]
                assert since and {one.type for one in since} == {"ObservationRecorded"}
                ends = {one.stream: one.occurred_at for one in before if one.type == "TicketCancelled"}
                assert all(row.occurred_at - ends[one.stream] >= timedelta(days=30) for one in since)

    # -- the hands ------------------------------------------------------------------------------------------------

    def stepped(self, between: Between) -> None:
        """A collection, step by step; whoever came in between has come to an end when it is over."""
        blobs = SteppedBlobs(self.folder, drops=self.drops)
        blobs.between = between
        try:
            collect(SteppedLedger(self.ledger, between), blobs, self.clock, POLICY, dry_run=False)
        finally:
            for one in self.under_way:
                one.result()
            self.under_way.clear()

    def beside(self, other: Callable[[], Any], shelf: str | None, held: str | None) -> None:
        """Another process's doing; where it needs the shelf that is held it waits, and is not waited for."""
        doing = self.others.submit(other)
        if held is None or (shelf is not None and held != shelf):
            doing.result()
        else:
            self.under_way.append(doing)

    def open_a_ticket(self) -> None:
        self.ticket += 1
        name = f"INF-{self.ticket}"
        spec = self.blobs.put_json({"ticket": name})
        for event in (
            e.TicketFiled(ticket_id=name, type="incident", service="s", priority="P1", source="human", spec=spec),
            e.TicketAdmitted(policy="p", criteria=(), sick=(), attempts_allowed=3),
            e.AttemptStarted(attempt=1, agent="runbook", runbook=None, base="c"),
        ):
            self.record(ticket_stream(name), event)

    def refer(self, number: int, *, output: bool) -> None:
        if output:
            step = len(self.ledger.read_stream(ticket_stream(f"INF-{self.ticket}")))
            seen = e.ObservationRecorded(attempt=1, step=step, tool="look", ok=True, body=REFS[number])
            self.record(ticket_stream(f"INF-{self.ticket}"), seen)
        else:
            self.record(cause_stream("c"), e.SignalAttached(fingerprint="c", ticket_id="INF-1", evidence=REFS[number]))

    def record(self, stream: str, event: e.Event) -> None:
        data = event.model_dump(mode="json")
        kind, at = type(event).__name__, self.clock.now()
        new = NewEvent(id=str(uuid4()), type=kind, data=data, actor="harness", occurred_at=at)
        self.ledger.append([StreamWrite(stream, None, [new])])

    def rows(self) -> list[Recorded]:
        return self.ledger.read_all(limit=100_000)

    def mentioned(self) -> set[str]:
        return {ref for row in self.rows() for ref in row.data.values() if str(ref).startswith("sha256:")}

    def is_forgotten(self, ref: str) -> bool:
        return any(row.data.get("blob") == ref and row.data["cause"] == "forgotten" for row in self.rows())

    def is_needed(self, ref: str) -> bool:
        drops = [row.position for row in self.rows() if row.data.get("blob") == ref]
        mentions = [row.position for row in self.rows() if refers(row, ref)]
        return max(mentions, default=0) > max(drops, default=0) and not self.is_forgotten(ref)


def refers(row: Recorded, ref: str) -> bool:
    return any(value == ref for name, value in row.data.items() if name != "blob")


Keeping.TestCase.settings = settings(max_examples=60, stateful_step_count=15)
test_no_body_that_is_needed_is_ever_lost = Keeping.TestCase
