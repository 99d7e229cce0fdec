"""Notices reach a receiver that fails, and a notifier that is killed tells on: each once, by its id."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from harness.adapters.webhook import Webhook
from harness.core import events as e
from harness.core.errors import Retryable
from harness.core.ids import notices_stream
from harness.core.notice import TYPES
from harness.core.record import Recorded
from harness.ledger.store import Ledger
from harness.simulation.clock import run
from harness.simulation.ledger import MemoryBlobs
from tests.acceptance.newcomer import Newcomer
from tests.integration.notices import PEOPLE, Hurried, handled, lived, recorded, rows, told_of
from tests.simulation.operations import Operations, days_work, incident
from tests.webhooks import SECRET, TAKES, Deed, Inbox, receiving
from workflows.follow import follow
from workflows.notifier import Notifier

PROGRAM = Path(__file__).with_name("killed_notifiers.py")
ROOT = Path(__file__).parents[2]
LONG_S = 1e9


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    where = tmp_path / "l.db" if request.param == "sqlite" else request.getfixturevalue("postgresql").url()
    with closing(Ledger.open(where, now=Hurried().now)) as opened:
        yield opened


def notifier(ledger: Ledger, inbox: Inbox, *, give_up_after_s: float = LONG_S) -> Notifier:
    return Notifier(
        PEOPLE, Webhook(inbox.url, SECRET, timeout_s=0.1), ledger=ledger, blobs=MemoryBlobs(), clock=Hurried(),
        give_up_after_s=give_up_after_s,
    )  # fmt: skip


def tell_all(ledger: Ledger, *notifiers: Notifier) -> None:
    """Let them follow until the ledger says that nothing is left to tell."""

    async def told() -> None:
        following = [asyncio.create_task(follow(ledger, one.name, one.see)) for one in notifiers]
        while not handled(ledger):
            assert not any(task.done() for task in following), [task for task in following if task.done()]
            await asyncio.sleep(0.05)
        for task in following:
            task.cancel()
        await asyncio.wait(following)

    asyncio.run(asyncio.wait_for(told(), timeout=60))


def by_chance(seed: int, *troubles: Deed) -> Callable[[int], Deed]:
    """Half of the requests are taken, to half of them something happens."""
    chance = Random(seed)
    return lambda _: TAKES if chance.random() < 0.5 else chance.choice(troubles)


def test_a_receiver_that_fails_half_the_time_gets_each_exactly_once_by_its_id(ledger: Ledger) -> None:
    with receiving(by_chance(5, 500, 503, 429, "reset", "lost", "late")) as inbox:
        one = notifier(ledger, inbox)
        lived(ledger, events=700, seed=5)

        tell_all(ledger, one)

    # in the ledger's order, all of them, though some came more than once
    assert inbox.ids() == told_of(ledger) == recorded(ledger, [e.NoticeSent])
    assert len(inbox.ids()) > 50
    assert inbox.requests > 1.5 * len(inbox.ids()) and len(inbox.taken) > len(inbox.ids())
    assert inbox.unsigned == 0


def test_notifiers_that_are_killed_at_any_moment_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with receiving() as inbox, closing(Ledger.open(path, now=Hurried().now)) as ledger:
        notifier(ledger, inbox)
        lived(ledger, events=900, seed=7)

        command = [sys.executable, str(PROGRAM), str(path), inbox.url, "12", "20260301"]
        told = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, timeout=120, check=True
        )
        came_while_killed = len(inbox.taken)
        tell_all(ledger, notifier(ledger, inbox))

        assert inbox.ids() == told_of(ledger) == recorded(ledger, [e.NoticeSent])
    # and the kills were neither before the work nor after it
    assert came_while_killed and int(told.stdout) > 1


def test_two_notifiers_of_one_receiver_record_each_notice_once(ledger: Ledger) -> None:
    with receiving() as inbox:
        pair = [notifier(ledger, inbox), notifier(ledger, inbox)]
        lived(ledger, events=120, seed=3)

        tell_all(ledger, *pair)

        assert sorted(inbox.ids()) == sorted(told_of(ledger))
        assert recorded(ledger) == told_of(ledger)


@pytest.mark.parametrize("status", [400, 410, 422])
def test_one_that_is_refused_holds_up_no_other(ledger: Ledger, status: int) -> None:
    with receiving(lambda n: status if n == 3 else TAKES) as inbox:
        one = notifier(ledger, inbox)
        lived(ledger, events=60, seed=11)

        tell_all(ledger, one)

    expected = told_of(ledger)
    assert inbox.ids() == [*expected[:2], *expected[3:]]
    (given_up,) = (row.data for row in rows(ledger) if row.type == e.NoticeGivenUp.__name__)
    assert given_up["about"] == expected[2]
    assert (given_up["why"], given_up["status"]) == ("refused", status)


def test_what_a_receiver_has_not_taken_in_time_is_given_up(ledger: Ledger) -> None:
    # given a history that is long over
    with receiving(lambda _: 500) as inbox:
        one = notifier(ledger, inbox, give_up_after_s=3600)
        lived(ledger, events=60, seed=11)

        tell_all(ledger, one)

    assert recorded(ledger, [e.NoticeGivenUp]) == told_of(ledger)
    assert {row.data["why"] for row in rows(ledger) if row.type == e.NoticeGivenUp.__name__} == {"too_old"}
    assert inbox.requests == 0


def test_a_new_receiver_is_not_told_what_was_before_it(ledger: Ledger) -> None:
    lived(ledger, events=60, seed=11)
    with receiving() as inbox:
        one = notifier(ledger, inbox)
        before = len(rows(ledger))
        assert any(row.type in TYPES for row in rows(ledger))

        tell_all(ledger, one)

    assert inbox.taken == [] and len(rows(ledger)) == before


def test_a_receiver_is_left_alone_for_as_long_as_it_asks(ledger: Ledger) -> None:
    waits: list[float] = []

    class Counting(Hurried):
        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            await super().sleep(seconds)

    with receiving(lambda n: 429 if n <= 2 else TAKES) as inbox:
        inbox.headers["retry-after"] = "120"
        one = Notifier(
            PEOPLE, Webhook(inbox.url), ledger=ledger, blobs=MemoryBlobs(), clock=Counting(), give_up_after_s=LONG_S
        )
        lived(ledger, events=4, seed=11)

        tell_all(ledger, one)

    assert waits == [120.0, 120.0]
    assert inbox.unsigned == len(inbox.taken) > 0


async def test_what_a_receiver_took_is_not_sent_again_while_the_ledger_does_not_take_that(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with receiving() as inbox, closing(Ledger.open(path, now=Hurried().now, busy_timeout_s=0.05)) as ledger:
        one = notifier(ledger, inbox)
        lived(ledger, events=10, seed=11)
        first = next(row for row in rows(ledger) if row.type in TYPES)
        # given another writer that holds the ledger
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(3):
                with pytest.raises(Retryable):
                    await one.see(first)
            other.execute("ROLLBACK")
        await one.see(first)

        assert inbox.requests == 1 and recorded(ledger, [e.NoticeSent]) == [first.id]


def test_people_read_what_happens_to_a_ticket() -> None:
    # given a receiver that takes all but what is deployed
    with receiving(lambda n: 422 if n == 2 else TAKES) as inbox:
        operations, one = run(slow_release(inbox))

        asyncio.run(seen(one, operations.ledger.read_all()))

    told = [(body["type"], body["text"]) for _, body in inbox.taken]
    assert [type for type, _ in told] == ["ticket.filed", "ticket.resolved"]
    assert told[0][1].startswith("INF-1: ticket INF-1 (incident, P")
    assert told[1][1].startswith("INF-1: VERIFY passed: ")
    # and so does the ledger
    stream = operations.events(notices_stream(PEOPLE.name))
    assert [type(event) for event in stream] == [e.ReceiverAdded, e.NoticeSent, e.NoticeGivenUp, e.NoticeSent]


async def slow_release(inbox: Inbox) -> tuple[Operations, Notifier]:
    """A modelled incident from its begin to its end; the receiver was there before it."""
    operations = await incident([])
    one = Notifier(
        PEOPLE, Webhook(inbox.url, SECRET), ledger=operations.ledger, blobs=operations.blobs, clock=Hurried(),
        give_up_after_s=LONG_S,
    )  # fmt: skip
    operations.world.release(days_work(3))
    await operations.settle()
    return operations, one


async def seen(one: Notifier, rows: Sequence[Recorded]) -> None:
    for row in rows:
        await one.see(row)


def test_a_person_tries_the_address_before_anything_happens(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path)
    with receiving(lambda n: TAKES if n == 1 else 404) as inbox:
        here = {"HARNESS_WEBHOOK_URL": inbox.url, "HARNESS_WEBHOOK_SECRET": SECRET}

        taken = newcomer.types("notice", "probe", "--json", environment=here)
        not_found = newcomer.types("notice", "probe", environment=here)

    assert (taken.code, taken.document) == (
        0, [{"receiver": "people", "taken": True, "status": TAKES, "trouble": ""}]
    )  # fmt: skip
    ((_, body),) = inbox.taken
    assert body["type"] == "harness.probe" and inbox.unsigned == 0
    assert (not_found.code, not_found.stdout.split()) == (1, ["people", "404"])
    # and nobody at the address, no address, one that is none, a receiver that is none
    assert newcomer.types("notice", "probe", environment=here).code == 4
    nowhere = newcomer.types("notice", "probe")
    assert nowhere.code == 2 and "HARNESS_WEBHOOK_URL: not set here" in nowhere.stderr
    unknown = newcomer.types("notice", "probe", "nobody", environment=here)
    assert (
        unknown.code == 2
        and "receiver 'nobody': is not in policies/notifications.yaml; there: people" in unknown.stderr
    )
    clear = newcomer.types("notice", "probe", environment={"HARNESS_WEBHOOK_URL": "http://chat.example/hook-abc"})
    assert clear.code == 2 and "hook-abc" not in clear.stderr


def test_the_list_says_what_was_told_and_what_waits(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path)
    with receiving() as inbox, closing(Ledger.open(tmp_path / "ledger.db", now=Hurried().now)) as ledger:
        (before,) = newcomer.types("notice", "list", "--json").document
        one = notifier(ledger, inbox)
        lived(ledger, events=60, seed=11)
        (waiting,) = newcomer.types("notice", "list", "--json").document
        tell_all(ledger, one)
        (after,) = newcomer.types("notice", "list", "--json").document

    there = len(inbox.ids())
    assert there and (before["since"], before["sent"], before["waiting"]) == (None, 0, 0)
    assert (waiting["sent"], waiting["waiting"]) == (0, there)
    assert (after["sent"], after["given_up"], after["waiting"]) == (there, 0, 0)
    assert not after["address"] and after["since"] is not None
