"""A real Alertmanager tells a real server: grouped, repeated, over, fired again, cut short, while nobody answers."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator

import pytest

from harness.core.ids import fingerprint
from tests.alerts import alert, message
from tests.integration.alert_world import Alertmanager, Serving, alertmanager, serving, until


def labels(name: str, instance: str = "a", **more: str) -> dict[str, str]:
    return {"alertname": name, "service": "ratelimiter", "instance": instance, **more}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Alertmanager]]:
    """One of each for all tests: every start takes seconds. Their alerts have names of their own."""
    folder = tmp_path_factory.mktemp("alerts")
    with serving(folder) as server, alertmanager(folder, server) as alerts:
        yield server, alerts


def test_alerts_are_one_ticket_a_cause_from_the_first_firing_to_the_next(world: tuple[Serving, Alertmanager]) -> None:
    server, alerts = world
    # given a group of two, one alert of another name, and one of an objective of ours by the labels of our rules
    latency = labels("AnyName", sloth_slo="latency", sloth_service="ratelimiter")
    alerts.fire(labels("TooSlow"), labels("TooSlow", "b"), labels("Other"), latency)

    # then each cause has a ticket, that of the objective the one that the watch would file
    until(lambda: len(server.tickets()) == 3, "each has a ticket")
    assert set(server.tickets()) == {"alert:TooSlow", "alert:Other", "slo:latency"}
    listed = {one["fingerprint"] for one in server.get("/api/v1/tickets")}
    assert fingerprint("slo", "ratelimiter", "latency") in listed

    def shown() -> list[dict[str, object]]:
        ticket = server.get(f"/api/v1/tickets/{server.tickets()['alert:TooSlow']}")
        [own] = [one for one in ticket["signals"] if one["name"] == "TooSlow"]
        return list(own["alerts"])

    until(lambda: len(shown()) == 2, "both instances on the ticket")
    assert {one["labels"]["instance"] for one in shown()} == {"a", "b"}  # type: ignore[index]

    # when they are told again and again, then nothing changes
    before = server.counts()
    until(lambda: server.counts()["SignalsReceived"] >= before["SignalsReceived"] + 3, "three repetitions")
    assert server.counts()["AlertsTold"] == before["AlertsTold"]

    # when one instance is over, and then the other: evidence, an end of the signal, and no ticket is closed
    alerts.end(labels("TooSlow"))
    until(lambda: [one["firing"] for one in shown()].count(False) == 1, "one is over")
    assert server.counts()["SignalEnded"] == 0
    alerts.end(labels("TooSlow", "b"))
    until(lambda: server.counts()["SignalEnded"] == 1, "the signal ends")

    # when it fires again, then it is one more firing on the ticket that lives: attached where that is its own, grouped
    # where Alertmanager told of another first, and no further ticket
    before, ticket = server.counts(), server.tickets()["alert:TooSlow"]
    alerts.fire(labels("TooSlow"))
    until(lambda: server.counts()["SignalStarted"] == before["SignalStarted"] + 1, "the signal starts again")
    assert {one["labels"]["instance"] for one in shown() if one["firing"]} == {"a"}  # type: ignore[index]
    assert server.tickets()["alert:TooSlow"] == ticket
    assert server.counts()["TicketFiled"] == before["TicketFiled"]

    # when the server says that it left some out, then that is counted; of an unknown service nothing is made
    alerts.fire(labels("Crowd", "a", crowd="yes"), labels("Crowd", "b", crowd="yes"))
    alerts.fire({"alertname": "Astray", "service": "ratelimitr"})
    until(lambda: any(row.data["truncated"] for row in server.rows() if row.type == "SignalsReceived"), "truncated")
    until(lambda: any(row.data["refused"] for row in server.rows() if row.type == "SignalsReceived"), "refused")
    until(lambda: len(server.tickets()) == 4, "the ticket of what was not left out")
    assert set(server.tickets()) == {"alert:TooSlow", "alert:Other", "slo:latency", "alert:Crowd"}
    assert alerts.failed() == 0


def test_what_fires_while_the_server_is_dead_or_its_ledger_is_busy_arrives(world: tuple[Serving, Alertmanager]) -> None:
    server, alerts = world
    # given a server that is killed right after it has answered, and an alert that fires meanwhile
    answered = server.asked("POST", "/api/v1/signals/alertmanager", json=message(alert(1, alertname="Answered")))
    server.kill(signal.SIGKILL)
    assert answered.status_code == 200
    alerts.fire(labels("WhileDead"))
    until(lambda: alerts.failed() > 0, "a request that nobody took")

    # when it is there again, then Alertmanager's own retry brings the alert
    server.start()
    until(lambda: "alert:WhileDead" in server.tickets(), "a ticket for what fired meanwhile")
    until(lambda: "alert:Answered" in server.tickets(), "a ticket for what was answered before")

    # when its ledger cannot be written, it answers 503, and that is retried, too
    failed = alerts.failed()
    other = sqlite3.connect(server.home / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    alerts.fire(labels("WhileBusy"))
    until(lambda: alerts.failed() > failed, "a request that was not taken")
    assert "alert:WhileBusy" not in server.tickets()
    other.execute("ROLLBACK")
    other.close()
    until(lambda: "alert:WhileBusy" in server.tickets(), "a ticket for what came while it was busy")
    causes = [row.data["fingerprint"] for row in server.rows() if row.type == "CauseOpened"]
    assert len(causes) == len(set(causes))

    # and the token was told at the first start and at no other
    server.kill(signal.SIGTERM)
    assert server.said.count(server.token) == 1
    assert (server.home / "api-token").stat().st_mode & 0o777 == 0o600
    assert server.token not in server.home.with_suffix(".log").read_text()
