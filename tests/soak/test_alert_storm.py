"""Ten thousand alerts as fast as a real server takes them: few tickets, none lost, memory flat, and it dies in between.

The goal is ten seconds; how long each storm took is in the evidence.

Alertmanager tries again what was answered with 5xx or by nobody; so does the sender here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from harness.adapters.clock import SystemClock
from harness.core import events as e
from harness.core.ids import INTAKE_STREAM
from harness.journal import decode
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger
from tests.alert_load import Outcome, post
from tests.alerts import alert, message
from tests.integration.alert_world import Serving, serving

ALERTS = 10_000
NAMES = 10
MEMORY_MORE_BYTES = 64 * 1024 * 1024
"""How much a storm may leave behind in the server beyond what it had after the first alerts."""
LANES = 64
EACH, KILLS, SEEDS = 10, 8, (1, 2, 3)
"""Of the storms in which the server dies: alerts in a body, how often it does, and what the moments are drawn from."""
WEBHOOK = "/api/v1/signals/alertmanager"


def storm(first: int, each: int) -> list[bytes]:
    """The bodies of ALERTS alerts with numbers from ``first``, so many each."""
    numbers = range(first, first + ALERTS)
    alerts = [alert(number, alertname=f"Name{number % NAMES}") for number in numbers]
    return [json.dumps(message(*alerts[at : at + each])).encode() for at in range(0, ALERTS, each)]


def fired(server: Serving) -> set[str]:
    """The alerts that the ledger says have begun."""
    ledger = Ledger.open(server.home / "ledger.db", now=SystemClock().now)
    found: set[str] = set()
    after = 0
    while rows := ledger.read_all(after_position=after):
        after = rows[-1].position
        told = (decode(row) for row in rows if row.type == e.AlertsTold.__name__)
        found |= {name for event in told if isinstance(event, e.AlertsTold) for name in event.began}
    ledger.close()
    return found


def until(found: Callable[[], bool]) -> float:
    """Seconds until it holds."""
    began_s = time.monotonic()
    while not found():
        assert time.monotonic() - began_s < 300
        time.sleep(0.2)
    return time.monotonic() - began_s


def memory_bytes(server: Serving) -> int:
    assert server.process is not None
    return int(psutil.Process(server.process.pid).memory_info().rss)


@pytest.mark.parametrize("each", [1, 100])
def test_a_storm_makes_few_tickets_loses_none_and_leaves_no_memory_behind(
    tmp_path: Path, each: int, record_property: Callable[[str, Any], None]
) -> None:
    with serving(tmp_path) as server:
        asyncio.run(post(f"{server.url}{WEBHOOK}", server.token, storm(0, each)[: 1_000 // each]))
        until(lambda: len(fired(server)) == 1_000)
        before = memory_bytes(server)
        sizes = []
        for number in range(1, 4):
            bodies = storm(number * ALERTS, each)
            outcome: Outcome = asyncio.run(post(f"{server.url}{WEBHOOK}", server.token, bodies, connections=LANES))
            assert outcome.statuses == {200: len(bodies)}
            filed_s = until(lambda number=number: len(fired(server)) == 1_000 + number * ALERTS)  # type: ignore[misc]
            sizes.append(memory_bytes(server))
            record_property(f"storm_{number}_took_s", round(outcome.took_s, 1))
            record_property(f"storm_{number}_slowest_answer_s", round(max(outcome.seconds), 2))
            record_property(f"storm_{number}_filed_after_s", round(filed_s, 1))
        record_property("memory_bytes", [before, *sizes])
        counts = server.counts()
        record_property("appends_of_the_intake", counts["SignalsReceived"])
        record_property("tickets", counts["TicketFiled"])

        assert len(server.tickets()) == NAMES
        assert counts["TicketFiled"] <= NAMES
        assert max(sizes) - before < MEMORY_MORE_BYTES


@dataclass
class Sender:
    """As Alertmanager is one: sends a body again until it is taken. Counts by itself what it was told."""

    server: Serving
    bodies: Sequence[bytes]
    tries: Counter[int] = field(default_factory=Counter)
    """Of each body, by its number."""
    taken: set[int] = field(default_factory=set)
    """The bodies that were answered with 200."""

    async def send(self) -> None:
        left = iter(range(len(self.bodies)))
        await asyncio.gather(*(self._lane(left) for _ in range(LANES)))

    async def _lane(self, left: Iterator[int]) -> None:
        for number in left:
            while number not in self.taken:
                self.tries[number] += 1
                url, body = f"{self.server.url}{WEBHOOK}", self.bodies[number]
                try:
                    outcome = await post(url, self.server.token, [body], connections=1)
                except (ConnectionError, asyncio.IncompleteReadError):
                    await asyncio.sleep(0.1)
                    continue
                assert set(outcome.statuses) <= {200, 503}
                if outcome.statuses[200]:
                    self.taken.add(number)


def recorded(server: Serving) -> Counter[int]:
    """How often the ledger has each body, by the number of its first alert; read while nobody has it open."""
    ledger = Ledger.open(server.home / "ledger.db", now=SystemClock().now)
    blobs = Blobs(server.home / "blobs")
    found: Counter[int] = Counter()
    for row in ledger.read_stream(INTAKE_STREAM):
        event = decode(row)
        assert isinstance(event, e.SignalsReceived)
        requests = blobs.get_json(event.body)["requests"]
        assert all(len(one["alerts"]) == EACH and not one["refused"] for one in requests)
        found.update(int(one["alerts"][0]["fingerprint"], 16) // EACH for one in requests)
    ledger.close()
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_server_that_is_killed_anywhere_in_a_storm_has_recorded_whatever_it_answered(
    tmp_path: Path, seed: int, record_property: Callable[[str, Any], None]
) -> None:
    # given a storm, and moments all over it at which the server dies, each a while after so many answers
    chance = Random(seed)
    bodies = storm(0, EACH)
    moments = [(after, chance.uniform(0, 0.1)) for after in sorted(chance.sample(range(len(bodies)), KILLS))]
    with serving(tmp_path) as server:
        sender = Sender(server, bodies)

        async def play() -> None:
            sending = asyncio.create_task(sender.send())
            for after, later_s in moments:
                while len(sender.taken) < after and not sending.done():
                    await asyncio.sleep(0.005)
                await asyncio.sleep(later_s)
                server.kill()
                # then what was answered until then is in the ledger that it left behind, before anybody mends anything
                answered = set(sender.taken)
                assert answered <= (await asyncio.to_thread(recorded, server)).keys()
                await asyncio.to_thread(server.start)
            await sending

        asyncio.run(play())
        until(lambda: len(fired(server)) == ALERTS)
        record_property("tries_of_bodies", sender.tries.total())
        record_property("kills_before_the_last_answer", sum(after < len(bodies) for after, _ in moments))

        # and each body is there once for what was answered, and at most once more for a try that nobody answered
        times = recorded(server)
        assert sender.taken == times.keys() == set(range(len(bodies)))
        assert all(1 <= times[number] <= sender.tries[number] for number in times)
        # and what came of it came once: an alert began once, a cause and a ticket were opened once
        began = Counter(
            name for row in server.rows() if isinstance(event := decode(row), e.AlertsTold) for name in event.began
        )
        assert len(began) == ALERTS and set(began.values()) == {1}
        causes = [row.data["fingerprint"] for row in server.rows() if row.type == "CauseOpened"]
        assert len(server.tickets()) == NAMES and len(causes) == len(set(causes)) <= NAMES
