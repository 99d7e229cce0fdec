"""What tests of notices share: a receiver as policy declares it, a history to tell of, a clock that waits less."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from random import Random

from harness.adapters.clock import SystemClock
from harness.core import events as e
from harness.core.ids import notices_stream
from harness.core.notice import TYPES, Receiver
from harness.core.record import Recorded
from harness.ports import Ledger
from harness.simulation.lives import history

PEOPLE = Receiver.model_validate({
    "name": "people", "url_from": "HARNESS_WEBHOOK_URL", "secret_from": "HARNESS_WEBHOOK_SECRET",
    "tell": sorted(set(TYPES.values())),
})  # fmt: skip


class Hurried(SystemClock):
    """The real time, in which a pause between two tries takes a thousandth of what it should."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 1000)


def lived(ledger: Ledger, *, events: int, seed: int) -> None:
    """Append a history by chance."""
    for write in history(Random(seed), events=events, at_once=4):
        ledger.append([write])


def rows(ledger: Ledger) -> list[Recorded]:
    """All of them."""
    return ledger.read_all(limit=1_000_000)


def told_of(ledger: Ledger) -> list[str]:
    """The ids of the events that the receiver is told of: those behind the one that added it, in order."""
    (added,) = (row.position for row in ledger.read_stream(notices_stream(PEOPLE.name), from_version=1)[:1])
    return [row.id for row in rows(ledger) if row.type in TYPES and row.position > added]


def handled(ledger: Ledger) -> bool:
    """Whether the ledger says of each that it was sent or given up."""
    return recorded(ledger) == told_of(ledger)


def recorded(ledger: Ledger, kinds: Iterable[type[e.Event]] = (e.NoticeSent, e.NoticeGivenUp)) -> list[str]:
    """The ids of what the ledger says was sent or given up, in order."""
    names = {kind.__name__ for kind in kinds}
    return [row.data["about"] for row in ledger.read_stream(notices_stream(PEOPLE.name)) if row.type in names]
