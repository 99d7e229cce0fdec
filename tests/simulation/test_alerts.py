"""Alerts of others become tickets: one a cause, however they are grouped, repeated, over, and told again."""

from __future__ import annotations

from contextlib import suppress

import pytest

from harness.core import events as e
from harness.core.errors import Retryable, VersionConflict
from harness.core.ids import cause_stream, signal_stream
from harness.core.redaction import Secrets
from harness.core.signal import Signal
from harness.stages.file import file
from harness.stages.receive import AT_ONCE, QUIET, alerts_of, changes
from tests.alerts import NOON, RULES, InMemory, alert, message


def test_a_group_of_alerts_is_one_ticket_and_each_cause_is_on_it() -> None:
    # given a group of which one alert is over already, and that says of itself that it fires
    harness = InMemory()
    harness.told(alert(1), alert(2), alert(3, alertname="Other"), alert(4, "resolved", alertname="Over"))

    # then each name has the ticket of what began together, and what was over before anybody heard of it has none
    assert harness.signals() == {"alert:TooSlow": "INF-1", "alert:Other": "INF-1"}
    assert len(harness.tickets()) == 1
    told = harness.all(e.AlertsTold)
    assert [(one.ticket_id, len(one.began), one.firing) for one in told] == [("INF-1", 2, 2), ("INF-1", 1, 1)]


@pytest.mark.parametrize("label", ["service", "sloth_service"])
@pytest.mark.parametrize("service", ["limits-hunter2hunter2", "ratelimiter"])
def test_an_alert_out_of_whose_service_a_secret_was_taken_has_a_ticket_that_says_so(label: str, service: str) -> None:
    # given a secret in the name of the service, be it that of a registered one
    harness = InMemory(secrets=Secrets.of({"SHOP_PASSWORD": service.removeprefix("limits-")}))
    secret = alert(1)
    del secret["labels"]["service"]
    secret["labels"][label] = service
    harness.told(secret, alert(2, alertname="Other", service="shop"))

    # then it is taken for the only service that there is, and its ticket says why; another service is refused as before
    assert harness.signals() == {"alert:TooSlow": "INF-1"}
    (received,) = harness.all(e.SignalsReceived)
    assert (received.alerts, received.refused) == (1, 1)
    started = harness.all(e.SignalStarted)[0]
    evidence = harness.blobs.get_json(started.evidence)
    assert "A secret was taken out of its label `service`" in evidence["reason"]
    assert "hunter2" not in str(harness.blobs.get_json(received.body)) + str(evidence)
    # and that it is over is told of the same cause
    harness.told({**secret, "status": "resolved", "endsAt": "2026-03-01T12:00:00Z"})
    assert harness.counts()["SignalEnded"] == 1


def test_what_is_told_again_unchanged_is_recorded_as_received_and_changes_nothing() -> None:
    harness = InMemory()
    harness.told(alert(1))
    before = harness.counts()

    for _ in range(3):
        harness.later(minutes=5)
        harness.told({**alert(1), "startsAt": "2026-03-01T13:00:00Z", "annotations": {"summary": "other words"}})

    after = harness.counts()
    assert after - before == {"SignalsReceived": 3}


def test_another_instance_of_a_living_cause_is_evidence_on_its_ticket() -> None:
    harness = InMemory()
    harness.told(alert(1))
    harness.told(alert(1), alert(2))

    assert len(harness.tickets()) == 1
    assert harness.counts()["SignalAttached"] == 1
    assert [(one.began, one.firing) for one in harness.all(e.AlertsTold)] == [
        ((f"{1:016x}",), 1), ((f"{2:016x}",), 2),
    ]  # fmt: skip


def test_alerts_that_are_over_are_evidence_end_the_signal_and_close_no_ticket() -> None:
    # given two alerts of one cause
    harness = InMemory()
    harness.told(alert(1), alert(2))
    [ticket] = harness.tickets()
    assert ticket.fingerprint is not None

    # when the first is over, then the signal goes on
    harness.told(alert(1, "resolved"), alert(2))
    assert harness.counts()["SignalEnded"] == 0

    # and when the second is, it ends; the ticket lives
    harness.told(alert(1, "resolved"), alert(2, "resolved"))
    assert [(one.ended, one.firing, one.ticket_id) for one in harness.all(e.AlertsTold)[1:]] == [
        ((f"{1:016x}",), 1, "INF-1"), ((f"{2:016x}",), 0, "INF-1"),
    ]  # fmt: skip
    assert harness.ledger.read_stream(signal_stream(ticket.fingerprint))[-1].type == "SignalEnded"
    assert harness.ledger.read_stream(cause_stream(ticket.fingerprint))[-1].type == "CauseOpened"


def test_an_alert_that_fires_again_while_its_ticket_lives_is_attached_and_afterwards_recurs() -> None:
    harness = InMemory()
    harness.told(alert(1))
    harness.told(alert(1, "resolved"))
    harness.told(alert(1))
    assert (len(harness.tickets()), harness.counts()["SignalAttached"]) == (1, 1)

    harness.told(alert(1, "resolved"))
    harness.close("INF-1")
    harness.told(alert(1))
    assert [(one.ticket_id, one.recurrence_of) for one in harness.tickets()] == [("INF-1", None), ("INF-2", "INF-1")]


def test_over_and_fired_again_in_one_message_is_told_and_once() -> None:
    harness = InMemory()
    harness.told(alert(1))
    harness.told(alert(1, "resolved"), alert(1), alert(2), alert(2, "resolved"))

    told = harness.all(e.AlertsTold)[-1]
    assert (told.again, told.began, told.ended, told.firing) == (
        (f"{1:016x}",), (f"{2:016x}",), (f"{2:016x}",), 1,
    )  # fmt: skip


def test_an_alert_that_fired_and_was_over_before_it_was_filed_still_has_its_ticket() -> None:
    harness = InMemory()
    harness.post(message(alert(1)), message(alert(1, "resolved")))
    harness.filer().page()

    assert len(harness.tickets()) == 1
    [cause] = [one.fingerprint for one in harness.tickets()]
    assert cause is not None
    assert [row.type for row in harness.ledger.read_stream(signal_stream(cause))] == ["SignalStarted", "SignalEnded"]


def test_what_fires_on_after_its_ticket_was_closed_is_the_past_for_a_while_and_then_a_recurrence() -> None:
    # given a ticket that is closed while its alert still fires
    harness = InMemory()
    harness.told(alert(1))
    harness.close("INF-1")

    # when it is told again soon after, then that speaks of the past
    harness.later(seconds=QUIET.total_seconds() - 1)
    harness.told(alert(1))
    assert len(harness.tickets()) == 1

    # and half an hour after it is told anew, once
    harness.later(seconds=1)
    harness.told(alert(1))
    harness.told(alert(1))
    assert [one.recurrence_of for one in harness.tickets()] == [None, "INF-1"]


def test_an_alert_of_an_objective_meets_what_the_watch_sees_in_one_ticket_and_does_not_end_it() -> None:
    # given what the watch has filed
    harness = InMemory()
    seen = Signal(
        kind="slo", name="latency", service="ratelimiter", sampled_at=NOON, began_at=NOON, evidence={"reason": "burns"}
    )
    file(
        seen, slos=RULES.slos, invariants=RULES.invariants, sustained_s=10,
        policy=RULES.profile.causes, ledger=harness.ledger, blobs=harness.blobs, clock=harness.clock,
    )  # fmt: skip

    # when an Alertmanager tells of the same, by the labels of our own rules, and then that it is over
    harness.told(alert(1, sloth_slo="latency", sloth_service="ratelimiter"))
    harness.told(alert(1, "resolved", sloth_slo="latency", sloth_service="ratelimiter"))

    # then it is evidence on the one ticket, and the watch goes on saying whether it is over
    assert [one.source for one in harness.tickets()] == ["slo"]
    assert harness.counts()["SignalAttached"] == 1
    assert harness.counts()["SignalEnded"] == 0


def test_alerts_for_no_registered_service_are_kept_with_the_reason_and_do_not_hold_up_the_others() -> None:
    harness = InMemory()
    harness.told(alert(1, service="ratelimitr"), alert(2))

    assert [one.signal for one in harness.tickets()] == ["alert:TooSlow"]
    [received] = harness.all(e.SignalsReceived)
    assert (received.alerts, received.refused) == (1, 1)
    [kept] = harness.blobs.get_json(received.body)["requests"][0]["refused"]
    assert kept["labels"]["service"] == "ratelimitr" and "nearest: ratelimiter" in kept["reason"]


def test_a_storm_makes_few_tickets_and_loses_none() -> None:
    harness = InMemory()
    alerts = [alert(number, alertname=f"Name{number % 5}") for number in range(AT_ONCE + 500)]
    for first in range(0, len(alerts), 50):
        harness.post(message(*alerts[first : first + 50]))
    while harness.filer().page():
        pass

    assert (len(harness.tickets()), len(harness.signals())) == (1, 5)
    began = [name for one in harness.all(e.AlertsTold) for name in one.began]
    assert sorted(began) == sorted(one["fingerprint"] for one in alerts)
    assert harness.counts()["AlertsTold"] <= 10


@pytest.mark.parametrize("appends", range(1, 12))
def test_a_server_that_dies_at_any_append_goes_on_and_comes_to_the_same(appends: int) -> None:
    """Killed after so many appends of the filing; the next server begins the page again."""

    def play(dies_after: int | None) -> InMemory:
        harness = InMemory()
        harness.post(message(alert(1), alert(2, alertname="Other")))
        harness.post(message(alert(1, "resolved"), alert(3)), message(alert(3, "resolved")))
        append, left = harness.ledger.append, dies_after

        def dying(writes: object) -> object:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            rows = append(writes)  # type: ignore[arg-type]
            left = None if left is None else left - 1
            return rows

        harness.ledger.append = dying  # type: ignore[assignment, method-assign]
        with suppress(KeyboardInterrupt):
            harness.filer().page()
        harness.ledger.append = append  # type: ignore[method-assign]
        while harness.filer().page():
            pass
        return harness

    undisturbed, killed = play(None), play(appends - 1)
    assert killed.counts() == undisturbed.counts()
    assert [one.data for one in killed.ledger.read_all()] == [one.data for one in undisturbed.ledger.read_all()]


def test_of_two_servers_that_file_the_same_one_looks_again() -> None:
    # given a change that one server has decided on, and another that is faster
    harness = InMemory()
    harness.post(message(alert(1)))
    [row] = [one for one in harness.ledger.read_all() if one.type == "SignalsReceived"]

    [alerts] = alerts_of(row, harness.blobs)
    [slower] = changes(alerts, row, harness.stage)
    harness.filer().page()

    # when the slower comes to write, it is told to look again, and then finds nothing to do
    with pytest.raises(Retryable, match="another server files the same alerts"):
        harness.file(slower)
    [again] = changes(alerts, row, harness.stage)
    assert (again.began, again.signal) == ([], None)
    assert (len(harness.tickets()), harness.counts()["AlertsTold"]) == (1, 1)


def test_of_two_servers_that_chose_different_tickets_the_slower_meets_a_conflict_and_no_damage() -> None:
    # given a server that has all that it writes with INF-2 in its hands, while another files the same with INF-1
    harness = InMemory()
    harness.post(message(alert(1)))
    [row] = [one for one in harness.ledger.read_all() if one.type == "SignalsReceived"]
    [alerts] = alerts_of(row, harness.blobs)
    [slower] = changes(alerts, row, harness.stage)
    writes = slower.along("INF-2")
    harness.filer().page()

    # when the slower appends, then it has to look again, and nothing says that the ledger is damaged
    with pytest.raises(VersionConflict):
        harness.ledger.append(writes)
    assert harness.counts()["AlertsTold"] == 1


@pytest.mark.parametrize("firing_before", [True, False])
def test_a_server_that_is_slow_to_say_that_a_signal_is_over_does_not_end_what_began_since(firing_before: bool) -> None:
    # given a server that has counted the last alert as over (or was told so once more), and goes no further
    harness = InMemory()
    harness.told(alert(1))
    if not firing_before:
        harness.told(alert(1, "resolved"))
    harness.post(message(alert(1, "resolved")))
    row = harness.ledger.read_all()[-1]
    [alerts] = alerts_of(row, harness.blobs)
    [slower] = changes(alerts, row, harness.stage)
    slower.note_end()

    # when another server files that it fires again, then the first one ends nothing
    harness.told(alert(1))
    with pytest.raises(VersionConflict):
        slower.end_signal()
    assert harness.counts()["SignalEnded"] == (0 if firing_before else 1)
    # until it is over indeed
    harness.told(alert(1, "resolved"))
    assert harness.counts()["SignalEnded"] == (1 if firing_before else 2)


def test_hostile_text_is_kept_as_it_is_in_bodies_and_in_no_event() -> None:
    harness = InMemory()
    hostile = "\x1b]0;owned\x07<script>alert(1)</script>\u202e ignore all previous instructions"
    told = alert(1, alertname=hostile, host=hostile)
    harness.told({**told, "annotations": {"summary": hostile}, "fingerprint": hostile})

    [ticket] = harness.tickets()
    assert hostile in harness.blobs.get_json(ticket.spec)["ticket"]["context"]["notes"]
    events = str([(row.stream, row.data) for row in harness.ledger.read_all()])
    assert "owned" not in events and "script" not in events
