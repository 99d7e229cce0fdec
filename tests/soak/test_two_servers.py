"""Two servers of one ledger, told of the same, while either dies and the database goes away: counted from outside.

The counts are SQL on what is stored, and bodies read from their folder: nothing of what filed them has a say in it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.adapters.clock import SystemClock
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger
from tests.alerts import alert, message
from tests.integration.alert_world import Serving
from tests.postgresql import Postgresql
from tests.soak.test_alert_storm import Sender, until

NAMES, INSTANCES, EACH = 10, 300, 10
BODIES = 400
"""Each told to both servers."""
KILLS, RESTARTS = 4, 3
Told = tuple[tuple[str, bool], ...]
"""Of a message: each alert by its fingerprint, and whether it fires."""


class Stored:
    """The hand that counts: SQL on the database of a ledger, and nothing of the harness but its folder of bodies."""

    def __init__(self, home: Path, postgresql: Postgresql | None, url: str | None) -> None:
        self._home, self._postgresql, self._url = home, postgresql, url
        self._blobs = Blobs(home / "blobs")

    def asked(self, sql: str) -> list[tuple[Any, ...]]:
        if self._postgresql is not None and self._url is not None:
            with closing(self._postgresql.session(self._url)) as session:
                return session.execute(sql).fetchall()
        with closing(sqlite3.connect(self._home / "ledger.db")) as file:
            return file.execute(sql).fetchall()

    def events(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """Stream and data of all events of a type, in order."""
        rows = self.asked(f"SELECT stream, data FROM events WHERE type = '{kind}' ORDER BY position")
        return [(stream, json.loads(data)) for stream, data in rows]

    def received(self) -> list[Told]:
        """What every request that is on record told, in order."""
        bodies = [self._blobs.get_json(data["body"]) for _, data in self.events("SignalsReceived")]
        return [
            tuple((alert["fingerprint"], alert["firing"]) for alert in request["alerts"])
            for body in bodies for request in body["requests"]
        ]  # fmt: skip

    def is_filed(self) -> bool:
        """Whether all that came in is filed."""
        [(last,)] = self.asked("SELECT max(position) FROM events WHERE type = 'SignalsReceived'")
        found = self.asked("SELECT position FROM checkpoints WHERE name = 'intake'")
        return bool(found) and found[0][0] >= last


def drawn(chance: Random) -> list[list[dict[str, Any]]]:
    """Messages in which alerts begin, are over, and begin again."""

    def one(number: int, status: str) -> dict[str, Any]:
        return alert(number, status, alertname=f"Name{number % NAMES}")

    return [
        [one(chance.randrange(INSTANCES), chance.choice(("firing", "resolved"))) for _ in range(EACH)]
        for _ in range(BODIES)
    ]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_either_of_two_servers_answered_is_on_record_and_comes_to_one_ticket_a_cause(
    tmp_path: Path, request: pytest.FixtureRequest, database: str, seed: int,
    record_property: Callable[[str, Any], None],
) -> None:  # fmt: skip
    # given two servers of one home, and moments at which one dies or the database goes away
    chance = Random(seed)
    messages = drawn(chance)
    bodies = [json.dumps(message(*alerts)).encode() for alerts in messages]
    postgresql: Postgresql | None = request.getfixturevalue("postgresql") if database == "postgresql" else None
    url = postgresql.url() if postgresql else None
    stored = Stored(tmp_path / "home", postgresql, url)
    servers = [Serving(tmp_path / "home", url) for _ in range(2)]
    deaths: list[Serving | None] = [chance.choice(servers) for _ in range(KILLS)]
    deaths += [None] * (RESTARTS if postgresql else 0)
    moments = sorted(chance.sample(range(2 * BODIES), len(deaths)))
    chance.shuffle(deaths)
    try:
        for server in servers:
            server.start()
        senders = [Sender(server, bodies) for server in servers]

        async def play() -> None:
            sending = [asyncio.create_task(sender.send()) for sender in senders]
            for after, death in zip(moments, deaths, strict=True):
                while sum(len(one.taken) for one in senders) < after and not all(one.done() for one in sending):
                    await asyncio.sleep(0.005)
                if death is not None:
                    death.kill()
                    await asyncio.to_thread(death.start)
                elif postgresql is not None:
                    postgresql.restart()  # not in a thread: the server would end with it
            await asyncio.gather(*sending)

        asyncio.run(play())
        until(stored.is_filed)
    finally:
        for server in servers:
            server.kill(signal.SIGTERM)
    record_property("tries_of_bodies", [sender.tries.total() for sender in senders])

    # then what was answered is on record: once for each server, and at most once more for a try that was not answered
    requests = stored.received()
    times = Counter(requests)
    for number, alerts in enumerate(messages):
        told = tuple((alert["fingerprint"], alert["status"] == "firing") for alert in alerts)
        assert 2 <= times[told] <= sum(sender.tries[number] for sender in senders)
    # and what fires is what the record says, in its order; a signal is over where none of its cause's does
    last = {name: fires for told in requests for name, fires in told}
    now: dict[str, set[str]] = {}
    for stream, data in stored.events("AlertsTold"):
        of_cause = now.setdefault(stream.removeprefix("alerts-"), set())
        assert not of_cause & set(data["began"]), "an alert began that fired already"
        of_cause |= set(data["began"])
        of_cause -= set(data["ended"])
        assert len(of_cause) == data["firing"]
    assert set[str]().union(*now.values()) == {name for name, fires in last.items() if fires}
    signals = {data["fingerprint"]: kind for kind, data in changes_of_signals(stored)}
    assert {cause: "SignalStarted" if one else "SignalEnded" for cause, one in now.items()} == signals
    # and every cause has the one ticket that lives for it
    opened = Counter(data["fingerprint"] for _, data in stored.events("CauseOpened"))
    assert opened and set(opened.values()) == {1}
    tickets = {data["ticket_id"] for _, data in stored.events("CauseOpened")}
    of_causes: dict[str, set[str]] = {}
    for kind in ("CauseOpened", "SignalAttached", "SignalGrouped"):
        for _, data in stored.events(kind):
            of_causes.setdefault(data["fingerprint"], set()).add(data["ticket_id"])
    assert of_causes.keys() == now.keys() and all(len(of_cause & tickets) == 1 for of_cause in of_causes.values())
    assert len(stored.events("TicketFiled")) == len(tickets)
    # and nobody met a bug
    said = (tmp_path / "home.log").read_text() + "".join(server.said for server in servers)
    assert "Traceback" not in said and "retryable=False" not in said
    with closing(Ledger.open(url or tmp_path / "home" / "ledger.db", now=SystemClock().now)) as ledger:
        assert ledger.verify().ok


def changes_of_signals(stored: Stored) -> list[tuple[str, dict[str, Any]]]:
    sql = "SELECT type, data FROM events WHERE type IN ('SignalStarted', 'SignalEnded') ORDER BY position"
    return [(kind, json.loads(data)) for kind, data in stored.asked(sql)]
