"""Alerts as others send them: their forms, their bounds, their causes, and the tickets they ask for. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.core.alert import ANNOTATION_CHARS, LABEL_CHARS, Alert, from_alertmanager, from_anyone
from harness.core.alert_cause import Cause, cause_of, require_declared, signal_for
from harness.core.errors import Invalid
from harness.core.ids import fingerprint
from harness.core.signal import ticket_for
from harness.core.ticket_spec import TicketSpec
from tests.alerts import DECLARED, NOON, RULES, alert, message


def fired(status: str = "firing", **labels: str) -> dict[str, Any]:
    """An alert of no instance in particular."""
    return alert(status=status, **labels) | {"fingerprint": "c2f19e3d84a5b607"}


def only(document: dict[str, Any]) -> Alert:
    (alert,) = from_alertmanager(document).alerts
    return alert


def asked(signal: Any) -> TicketSpec:
    return ticket_for(signal, RULES.slos, RULES.invariants, 10)


def test_each_alert_has_its_own_status_and_fingerprint_and_unknown_keys_are_left_alone() -> None:
    over = {**fired("resolved", instance="b"), "fingerprint": "1111111111111111", "endsAt": "2026-03-01T12:00:00Z"}
    told = from_alertmanager(message({**fired(), "new": 1}, over, truncatedAlerts=7, notificationReason="repeat"))

    assert [(one.fingerprint, one.firing) for one in told.alerts] == [
        ("c2f19e3d84a5b607", True), ("1111111111111111", False),
    ]  # fmt: skip
    assert told.truncated == 7
    assert told.alerts[0].began_at == datetime(2026, 3, 1, 11, 58, 30, 123456, tzinfo=UTC)
    assert (told.alerts[0].ended_at, told.alerts[1].ended_at) == (None, NOON)


def test_an_alert_without_a_fingerprint_is_known_by_its_labels_alone() -> None:
    one = only(message({**fired(), "fingerprint": ""}))
    same = only(message({**fired(), "fingerprint": "\x1b[31m", "annotations": {}, "startsAt": "2026-03-01T12:00:00Z"}))
    other = only(message({**fired(instance="b"), "fingerprint": ""}))

    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "message: "),
        (message(), None),
        (message(version="5"), "message: version: "),
        (message({**fired(), "status": "maybe"}, version="5"), "message: version: "),
        ({"version": "4", "alerts": {}}, "message: alerts: "),
        (message(*[0] * 20_001), "message: alerts: are 20001; "),
        ({"version": "4"}, "message: alerts: is missing"),
    ],
)
def test_what_is_no_message_of_an_alertmanager_is_refused_by_its_path(document: Any, told: str | None) -> None:
    if told is None:
        assert from_alertmanager(document).alerts == ()
        return
    with pytest.raises(Invalid) as refused:
        from_alertmanager(document)
    assert str(refused.value).startswith(told)


def test_a_malformed_alert_costs_itself_alone_and_is_told_by_its_place_with_what_came() -> None:
    # given a message in which three alerts can be used, and the others have no form, each in its own way
    nameless: dict[str, Any] = {**fired(), "labels": {"n": 5}, "fingerprint": 7}
    deep: Any = 0
    for _ in range(252):
        deep = [deep]
    broken = [nameless, {**fired(), "status": "maybe"}, 3, None, {}, {**fired(), "labels": {"n": deep}}]
    large = {**fired(), "labels": {f"l{number}": number for number in range(20_000)}}
    told = from_alertmanager(message(fired(), *broken, fired(path="y" * (LABEL_CHARS + 1)), fired("resolved"), large))

    # then those are taken in, and each knows its place
    assert [(one.firing, place) for one, place in zip(told.alerts, told.indices, strict=True)] == [
        (True, 0),
        (False, 8),
    ]

    # and each of the others says why, briefly, and is kept as it came where that can be written down
    unusable = {one.index: one for one in told.unusable}
    assert set(unusable) == {1, 2, 3, 4, 5, 6, 7, 9}
    assert unusable[1].reason.startswith("alerts[1]: labels.n: ") and "not 5" in unusable[1].reason
    assert (unusable[1].fingerprint, unusable[2].fingerprint) == (None, "c2f19e3d84a5b607")
    assert [unusable[place].given for place in (1, 2, 3, 4, 5)] == broken[:5]
    assert unusable[6].given is unusable[9].given is None
    assert unusable[9].reason.endswith("; and 19997 more") and len(unusable[9].reason) < 1_000


def test_evidence_that_is_too_deep_to_be_recorded_with_others_is_refused_before_it_costs_them_anything() -> None:
    deep: Any = 0
    for _ in range(252):
        deep = [deep]
    with pytest.raises(Invalid, match="signal: evidence: is nested too deep"):
        from_anyone({"name": "x", "evidence": deep})


def test_a_label_out_of_bounds_costs_its_alert_and_an_annotation_only_itself() -> None:
    large = {**fired(), "annotations": {"summary": "x" * (ANNOTATION_CHARS + 1), "runbook": "kept"}}
    told = from_alertmanager(message(large, fired(path="y" * (LABEL_CHARS + 1)), fired(zone="a")))

    assert told.alerts[0].annotations == {
        "summary": f"[left out: {ANNOTATION_CHARS + 1} characters, at most {ANNOTATION_CHARS} are kept]",
        "runbook": "kept",
    }
    assert [one.reason for one in told.unusable] == [f"labels: path: has {LABEL_CHARS + 1} characters; at most 2000"]
    assert len(told.alerts) == 2


@pytest.mark.parametrize(
    ("labels", "cause"),
    [
        ({"sloth_slo": "latency", "sloth_service": "ratelimiter"}, ("slo", "latency")),
        ({"slo": "availability"}, ("slo", "availability")),
        ({"invariant": "capacity_headroom"}, ("invariant", "capacity_headroom")),
        ({"slo": "somebody's"}, ("alert", "TooSlow")),
        ({}, ("alert", "TooSlow")),
    ],
)
def test_an_alert_that_names_an_objective_of_ours_has_the_cause_that_the_watch_gives_it(
    labels: dict[str, str], cause: tuple[str, str]
) -> None:
    found = cause_of(only(message(fired(**labels))), DECLARED)

    assert (found.kind, found.name) == cause
    assert found.fingerprint == fingerprint(cause[0], "ratelimiter", cause[1])


def test_an_unknown_service_is_refused_with_the_nearest_and_none_is_the_only_one() -> None:
    alert = only(message(fired()))
    with pytest.raises(Invalid, match=r"service: 'ratelimitr' is not registered; .* nearest: ratelimiter"):
        cause_of(alert.model_copy(update={"labels": {**alert.labels, "service": "ratelimitr"}}), DECLARED)
    assert cause_of(alert.model_copy(update={"labels": {"alertname": "A"}}), DECLARED).service == "ratelimiter"
    with pytest.raises(Invalid, match=r"labels\.alertname: is missing"):
        cause_of(alert.model_copy(update={"labels": {"service": "ratelimiter"}}), DECLARED)


def test_a_name_that_is_no_plain_one_goes_into_no_event() -> None:
    hostile = only(message(fired(alertname="\x1b]0;owned\x07<script>")))

    assert cause_of(hostile, DECLARED).name.startswith("alert-")
    assert cause_of(hostile, DECLARED) != cause_of(only(message(fired(alertname="\x1b]0;other"))), DECLARED)


def test_the_ticket_of_an_alert_says_that_its_condition_is_not_measured_here() -> None:
    alert = only(message(fired(severity="page")))
    signal = signal_for(Cause("alert", "ratelimiter", "TooSlow"), [alert], NOON, DECLARED)
    spec = asked(signal)

    assert (spec.type, spec.priority) == ("incident", "P1")
    assert spec.objective.description == "Clear the alert TooSlow of ratelimiter"
    assert [one.metric for one in spec.acceptance_criteria] == [
        "slow_share", "error_share", "wrong_denial_share", "available",
    ]  # fmt: skip
    assert "it is slow" in spec.context.notes and "is not measured here" in spec.context.notes
    assert (signal.sampled_at, signal.began_at) == (NOON, alert.began_at)
    assert signal.evidence["alerts"][0]["labels"]["severity"] == "page"


def test_an_alert_that_says_its_condition_on_a_metric_of_the_catalog_is_measured_by_it_first() -> None:
    known = {**fired(metric="slow_share"), "annotations": {"condition": "< 5%"}}
    unknown = {**fired(metric="slow_share"), "annotations": {"condition": "< 5ms"}}
    cause = Cause("alert", "ratelimiter", "TooSlow")

    spec = asked(signal_for(cause, [only(message(known))], NOON, DECLARED))
    assert (spec.acceptance_criteria[0].metric, spec.acceptance_criteria[0].condition) == ("slow_share", "< 5%")
    assert "is measured here as slow_share < 5%" in spec.context.notes
    spec = asked(signal_for(cause, [only(message(unknown))], NOON, DECLARED))
    assert "is not measured here" in spec.context.notes


def test_an_alert_that_is_an_objectives_asks_for_the_ticket_of_that_objective() -> None:
    signal = signal_for(Cause("slo", "ratelimiter", "availability"), [only(message(fired()))], NOON, DECLARED)

    assert asked(signal).objective.description.startswith("Bring the availability SLO")
    assert "says that the slo availability does not hold" in signal.evidence["reason"]


def test_a_beginning_that_cannot_be_is_not_believed() -> None:
    alert, cause = only(message(fired())), Cause("alert", "ratelimiter", "TooSlow")
    for said, taken in (
        (NOON + timedelta(days=1), NOON), (datetime(1970, 1, 1, tzinfo=UTC), NOON - timedelta(days=30)), (None, NOON),
    ):  # fmt: skip
        signal = signal_for(cause, [alert.model_copy(update={"began_at": said})], NOON, DECLARED)
        assert signal.began_at == taken


def test_a_signal_of_anyone_is_an_alert_with_its_own_words() -> None:
    (alert,) = from_anyone(
        {"name": "disk", "objective": "latency", "severity": "page", "summary": "s", "labels": {"host": "a"},
         "criterion": {"metric": "slow_share", "condition": "< 5%"}, "evidence": {"used": 0.97},
         "began_at": "2026-03-01T11:00:00+00:00"}
    ).alerts  # fmt: skip

    assert alert.labels == {"host": "a", "alertname": "disk", "slo": "latency", "severity": "page"}
    assert (alert.firing, alert.summary, alert.evidence) == (True, "s", {"used": 0.97})
    require_declared(alert, DECLARED)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"name": "x", "nmae": 1}, "signal: nmae: unknown key; .* nearest: name"),
        ({}, "signal: name: is missing"),
        ({"name": "x", "objective": "latency", "invariant": "y"}, "signal: invariant: .* leave one of them out"),
        ({"name": "x", "labels": {"slo": "latency"}}, "signal: labels.slo: is said by the key `objective`"),
        ({"name": "x", "labels": {"a": "y" * (LABEL_CHARS + 1)}}, "signal: labels: a: has 2001 characters"),
        ({"name": "x", "evidence": "y" * 70_000}, "signal: evidence: is longer than 65536 bytes"),
        ({"name": "x", "began_at": "2026-03-01T11:00:00"}, "signal: began_at: "),
        ({"name": "x", "status": "on"}, "signal: status: "),
    ],
)
def test_a_signal_that_is_not_in_the_form_is_refused_by_its_path(document: Any, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        from_anyone(document)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"objective": "latenc"}, "objective: 'latenc' is not declared of ratelimiter; .* nearest: latency"),
        ({"invariant": "x"}, "invariant: 'x' is not declared"),
        ({"criterion": {"metric": "slow_shar", "condition": "< 5%"}}, "criterion.metric: .* nearest: slow_share"),
        ({"criterion": {"metric": "slow_share", "condition": "< 5ms"}}, "criterion: "),
        ({"criterion": {"metric": "slow_share", "condition": "soon"}}, "criterion: "),
        ({"criterion": {"metric": "slow_share", "condition": "< 5%", "duration": "31d"}}, "criterion.duration: '31d'"),
    ],
)
def test_a_signal_that_names_what_is_not_declared_is_refused(more: dict[str, Any], told: str) -> None:
    (alert,) = from_anyone({"name": "x", **more}).alerts
    with pytest.raises(Invalid, match=told):
        require_declared(alert, DECLARED)


def test_instances_of_an_alert_are_one_cause_and_other_names_are_others() -> None:
    one, other = (cause_of(only(message(fired(instance=name))), DECLARED) for name in "ab")

    assert one == other
    assert replace(one, name="Other").fingerprint != one.fingerprint
