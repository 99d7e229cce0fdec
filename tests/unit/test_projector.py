"""How projections keep up with their ledger: what is read, what is thrown away, and what is done if nothing stores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.core.errors import Broken, Refused, Retryable
from harness.core.ids import event_id
from harness.core.projections.tickets import TICKETS
from harness.core.record import Kept, NewEvent, Projected, StreamWrite, Told
from harness.ledger.store import Ledger
from harness.projector import ALL, PAGE, documents, follow, rebuild
from harness.simulation.ledger import MemoryLedger
from harness.simulation.lives import BEGAN_AT, history

NAMES = [one.name for one in ALL]
NEWER = replace(TICKETS, version=TICKETS.version + 1)


def now() -> datetime:
    return BEGAN_AT


class CountingLedger(MemoryLedger):
    """Counts the events that are read to be folded."""

    replayed = 0

    def replay(self, *, after_position: int, limit: int) -> list[Told]:
        page = super().replay(after_position=after_position, limit=limit)
        self.replayed += len(page)
        return page


class SealedLedger(CountingLedger):
    """Stores no projection from a moment on: as one that may only be read, or whose disk is full."""

    because: Refused | Retryable | None = None

    def project(self, steps: Sequence[Projected]) -> bool:
        if self.because is not None:
            raise self.because
        return super().project(steps)


class SharedLedger(MemoryLedger):
    """One to which somebody appends, and which another follower folds, by chance before any call of a follower's."""

    def __init__(self, ahead: list[StreamWrite]) -> None:
        super().__init__(now=now)
        self.ahead, self.chance, self.racing = ahead, Random(1), True

    def projected(self, names: Collection[str], keys: Collection[str] | None = None) -> dict[str, Kept]:
        self._race()
        return super().projected(names, keys)

    def project(self, steps: Sequence[Projected]) -> bool:
        self._race()
        return super().project(steps)

    def _race(self) -> None:
        if self.racing and self.ahead:
            self.racing = False
            for _ in range(self.chance.randint(0, min(3, len(self.ahead)))):
                self.append([self.ahead.pop(0)])
            if self.chance.random() < 0.3:
                follow(self)
            self.racing = True


def filled(ledger: Any, events: int, *, seed: int = 1, skip: int = 0) -> Any:
    """The ledger after so many more events of a history by chance."""
    for number, write in enumerate(history(Random(seed), events=skip + events, at_once=3)):
        if number >= skip:
            ledger.append([write])
    return ledger


def stored(ledger: Any) -> dict[str, Kept]:
    kept: dict[str, Kept] = ledger.projected(NAMES)
    return kept


def noted(type: str, stream: str, *, schema_version: int = 1, **data: Any) -> StreamWrite:
    event = NewEvent(
        id=event_id(f"{stream} {type}"), type=type, data=data, actor="ada", occurred_at=BEGAN_AT,
        schema_version=schema_version,
    )  # fmt: skip
    return StreamWrite(stream, None, [event])


def test_a_reader_sees_what_was_recorded_before_it_asked_and_reads_only_what_is_new() -> None:
    # given a list that was read once
    ledger = filled(CountingLedger(now=now), 200)
    documents(ledger, TICKETS)
    ledger.replayed = 0

    # when little happens and it is read again
    filled(ledger, 5, skip=200)
    (tickets,) = documents(ledger, TICKETS)

    # then it knows of that, and has read no more than that and the last event that it knew
    assert ledger.projected(["tickets"])["tickets"].progress.position == 205
    assert ledger.replayed <= 5 + 2
    assert tickets == documents(filled(MemoryLedger(now=now), 205), TICKETS)[0]


def test_a_ledger_of_several_pages_is_folded_to_its_end(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "l.db", now=now)
    writes = [noted("WatchBeat", f"watch-{number}", ticks=1) for number in range(PAGE + 1)]
    for first in range(0, len(writes), 1000):
        ledger.append(writes[first : first + 1000])

    follow(ledger)

    assert {one.progress.position for one in stored(ledger).values()} == {PAGE + 1}
    ledger.close()


def test_rules_of_a_higher_version_fold_anew_by_themselves_and_leave_the_other_projections() -> None:
    ledger = filled(CountingLedger(now=now), 100)
    follow(ledger)
    before = stored(ledger)
    ledger.project([Projected("tickets", before["tickets"].progress, before["tickets"].progress, {"INF-1": '"old"'})])

    documents(ledger, NEWER)

    after = stored(ledger)
    assert after["tickets"].progress.version == NEWER.version
    assert after["tickets"].documents == before["tickets"].documents
    assert {name: after[name] for name in after if name != "tickets"} == {
        name: before[name] for name in before if name != "tickets"
    }


def test_what_a_newer_harness_keeps_is_left_alone_and_told_or_folded_aside() -> None:
    ledger = filled(CountingLedger(now=now), 100)
    expected = documents(filled(MemoryLedger(now=now), 100), TICKETS)
    documents(ledger, NEWER)
    kept = stored(ledger)

    versions = rf"\(its version {NEWER.version}, here {TICKETS.version}\)"
    with pytest.raises(Refused, match=f"projection tickets: a newer harness keeps it {versions}"):
        follow(ledger)

    assert documents(ledger, TICKETS) == expected
    assert stored(ledger) == kept


@pytest.mark.parametrize("because", [Refused("readonly"), Retryable("the disk is full")])
def test_a_ledger_that_takes_no_documents_is_folded_in_memory(because: Refused | Retryable) -> None:
    # given one that was followed for a while, and then became one to read only
    ledger = filled(SealedLedger(now=now), 60)
    follow(ledger)
    ledger.because, kept = because, stored(ledger)
    filled(ledger, 60, skip=60)

    assert documents(ledger, *ALL) == documents(filled(MemoryLedger(now=now), 120), *ALL)

    assert stored(ledger) == kept
    with pytest.raises(type(because)):
        rebuild(ledger)


def test_a_database_that_may_only_be_read_gives_the_same_lists(tmp_path: Path) -> None:
    ledger = filled(Ledger.open(tmp_path / "l.db", now=now), 30)
    follow(ledger)
    filled(ledger, 30, skip=30)
    ledger.close()

    sealed = Ledger.open(f"sqlite:///file:{tmp_path / 'l.db'}?mode=ro&uri=true", now=now)

    assert documents(sealed, *ALL) == documents(filled(MemoryLedger(now=now), 60), *ALL)
    assert stored(sealed)["tickets"].progress.position == 30
    sealed.close()


@pytest.mark.parametrize("events", [60, 90], ids=["as long", "longer"])
def test_documents_of_another_ledger_are_thrown_away(events: int) -> None:
    # given a ledger in which the documents of another history are stored, as after a copy was restored
    other, ledger = filled(MemoryLedger(now=now), events, seed=7), filled(MemoryLedger(now=now), 60)
    follow(other)
    ledger.project([Projected(name, None, *kept) for name, kept in stored(other).items()])

    assert documents(ledger, *ALL) == documents(filled(MemoryLedger(now=now), 60), *ALL)


def test_two_followers_at_once_do_no_harm() -> None:
    ahead = list(history(Random(1), events=250, at_once=3))
    ledger = SharedLedger(ahead)
    ledger.append([ahead.pop(0)])

    while ledger.ahead:
        rebuild(ledger) if ledger.chance.random() < 0.1 else follow(ledger)
    follow(ledger)

    alone = filled(MemoryLedger(now=now), 250)
    follow(alone)
    assert stored(ledger) == stored(alone)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (noted("NeverHeardOf", "ticket-INF-1"), "position 1: NeverHeardOf of schema version 1 was written by a newer"),
        (
            noted("TicketFiled", "ticket-INF-1", schema_version=99),
            "TicketFiled of schema version 99 was written by a newer",
        ),
        (noted("TicketAdmitted", "ticket-INF-1"), "position 1: TicketAdmitted is in 'ticket-INF-1', which does not"),
    ],
)
def test_what_cannot_be_folded_is_broken_and_named(write: StreamWrite, says: str) -> None:
    ledger = MemoryLedger(now=now)
    ledger.append([write])

    with pytest.raises(Broken, match=says):
        documents(ledger, TICKETS)
