"""Ten thousand alerts in ten seconds on a real server: few tickets, none lost, memory flat, and it dies in between.

Alertmanager tries again what was answered with 5xx or by nobody; so does the sender here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.adapters.clock import SystemClock
from harness.core import events as e
from harness.journal import decode
from harness.ledger.store import Ledger
from tests.alert_load import Outcome, post
from tests.alerts import alert, message
from tests.integration.alert_world import Serving, serving

ALERTS = 10_000
WITHIN_S = 10.0
NAMES = 10
MEMORY_MORE_BYTES = 64 * 1024 * 1024
"""How much a storm may leave behind in the server beyond what it had after the first alerts."""
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
            outcome: Outcome = asyncio.run(
                post(f"{server.url}{WEBHOOK}", server.token, bodies, connections=64, rate=len(bodies) / WITHIN_S)
            )
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


def test_a_server_that_is_killed_again_and_again_in_a_storm_loses_none(
    tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    with serving(tmp_path) as server:
        kills = 0

        async def sent(body: bytes) -> None:
            """As Alertmanager does it: again, until it is taken."""
            while True:
                try:
                    outcome = await post(f"{server.url}{WEBHOOK}", server.token, [body], connections=1)
                    if outcome.statuses[200]:
                        return
                except (ConnectionError, asyncio.IncompleteReadError):
                    pass
                await asyncio.sleep(0.2)

        async def play() -> None:
            nonlocal kills
            sending = asyncio.gather(*(sent(body) for body in storm(0, 100)))
            while not sending.done() and kills < 5:
                await asyncio.sleep(0.5)
                server.kill()
                kills += 1
                await asyncio.to_thread(server.start)
            await sending

        asyncio.run(play())
        until(lambda: len(fired(server)) == ALERTS)
        record_property("kills", kills)
        causes = [row.data["fingerprint"] for row in server.rows() if row.type == "CauseOpened"]
        assert kills and len(server.tickets()) == NAMES and len(causes) == len(set(causes)) <= NAMES
