"""The HTTP interface, against a real process on a Unix socket. Every test uses keys of its own."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from service_process import Client, Service, check_body, request

HOUR_MS = 3_600_000
PROBLEM = "application/problem+json"


def test_a_check_is_allowed_with_what_is_left(client: Client) -> None:
    reply = client.check("hourly", "allowed")
    assert reply.status == 200
    assert reply.json == {
        "allowed": True,
        "limit": 2,
        "remaining": 1,
        "retry_after_ms": 0,
        "reset_after_ms": HOUR_MS,
    }


def test_a_check_beyond_the_burst_is_denied_with_the_time_to_wait(client: Client) -> None:
    client.check("hourly", "denied", 2)
    reply = client.check("hourly", "denied")
    assert reply.status == 429
    assert reply.fields["content-type"] == PROBLEM
    document = reply.json
    assert document["type"].endswith("#quota-exceeded")
    assert document["violated-policies"] == ["hourly"]
    assert (document["allowed"], document["limit"], document["remaining"]) == (False, 2, 0)
    assert HOUR_MS - 60_000 < document["retry_after_ms"] <= HOUR_MS
    assert 2 * HOUR_MS - 60_000 < document["reset_after_ms"] <= 2 * HOUR_MS


def test_a_cost_above_the_burst_says_that_waiting_does_not_help(client: Client) -> None:
    reply = client.check("hourly", "too-much", 3)
    assert reply.status == 429
    assert reply.json["retry_after_ms"] == -1
    assert "retry-after" not in reply.fields


def test_quota_fields_tell_policy_rest_and_the_time_until_more(client: Client) -> None:
    reply = client.check("api_default", "fields")
    assert reply.fields["ratelimit-policy"] == '"api_default";q=10;w=60'
    assert reply.fields["ratelimit"] == '"api_default";r=9;t=6'
    assert "retry-after" not in reply.fields


def test_retry_after_is_never_earlier_than_t(client: Client) -> None:
    client.check("api_default", "retry", 9)
    reply = client.check("api_default", "retry", 2)
    assert reply.fields["ratelimit"] == '"api_default";r=1;t=6'
    assert reply.fields["retry-after"] == "6"


def test_keys_do_not_share_a_bucket_and_neither_do_limits(client: Client) -> None:
    client.check("hourly", "mine", 2)
    assert client.check("hourly", "yours", 2).status == 200
    assert client.check("api_default", "mine", 2).status == 200


def test_the_state_of_a_key_can_be_read_without_changing_it(client: Client) -> None:
    client.check("hourly", "a/b ü")
    first = client.ask("GET", "/v1/state/hourly/a%2Fb%20%C3%BC")
    assert first.status == 200
    assert first.json["remaining"] == client.ask("GET", "/v1/state/hourly/a%2Fb%20%C3%BC").json["remaining"] == 1
    assert (first.json["name"], first.json["key"], first.json["limit"]) == ("hourly", "a/b ü", 2)


def test_the_limits_in_force_can_be_read(client: Client) -> None:
    limits = client.ask("GET", "/v1/limits").json["limits"]
    assert limits[1] == {"name": "hourly", "algorithm": "gcra", "rate": "1/1h", "burst": 2}


BAD_BODIES: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"limit":"hourly","key":"k\xff"}',
    b'{"limit":"hourly"}',
    b'{"limit":"hourly","key":null}',
    b'{"limit":"hourly","key":""}',
    b'{"limit":"hourly","key":7}',
    b'{"limit":"hourly","key":"\\ud800"}',
    b'{"limit":["hourly"],"key":"k"}',
    b'{"limit":"hourly","key":"k","cost":true}',
    b'{"limit":"hourly","key":"k","cost":1.0}',
    b'{"limit":"hourly","key":"k","cost":NaN}',
    b'{"limit":"hourly","key":"k","cost":"1"}',
    b'{"limit":"hourly","key":"k","cost":-1}',
    b'{"limit":"hourly","key":"k","cost":null}',
    b'{"limit":"hourly","key":"k","cost":1' + b"0" * 30 + b"}",
    b'{"limit":"hourly","key":"k","cost":1' + b"0" * 5000 + b"}",
    b'{"limit":"hourly","key":"k","costs":1}',
    b"[" * 20_000,
    json.dumps({"limit": "hourly", "key": "k" * 1025}).encode(),
]


def test_bad_bodies_get_problem_documents_and_change_nothing(client: Client) -> None:
    # when all of them come at once, so that one slow connection does not make this test slow
    replies = client.ask_at_once([request("POST", "/v1/check", body) for body in BAD_BODIES])
    for body, reply in zip(BAD_BODIES, replies, strict=True):
        assert (reply.status, reply.fields["content-type"]) == (400, PROBLEM), body[:80]
        document = reply.json
        assert document["status"] == 400
        assert set(document) == {"type", "title", "status", "detail"}
        assert document["detail"]
    # then the key is untouched
    assert client.check("hourly", "k", 0).json["remaining"] == 2


def test_an_unknown_limit_is_named_with_the_known_ones(client: Client) -> None:
    reply = client.check("nonesuch", "k")
    assert reply.status == 404
    assert "nonesuch" in reply.json["detail"]
    assert "hourly" in reply.json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/state/hourly/a/b", 404),
        ("GET", "/v1/state/hourly/%ff", 400),
        ("GET", "/v1/state/hourly/", 400),
    ],
)
def test_bad_paths_get_problem_documents(client: Client, method: str, path: str, status: int) -> None:
    reply = client.ask(method, path)
    assert (reply.status, reply.fields["content-type"]) == (status, PROBLEM)


def test_a_wrong_method_is_told_the_right_one(client: Client) -> None:
    reply = client.ask("GET", "/v1/check")
    assert reply.status == 405
    assert reply.fields["allow"] == "POST"


def test_a_body_beyond_the_bound_is_refused_and_ends_the_connection(client: Client) -> None:
    client.send(request("POST", "/v1/check", b"x" * 65_537))
    reply = client.reply()
    assert (reply.status, reply.fields["connection"]) == (413, "close")
    assert client.is_closed_by_service()


def test_a_head_without_end_is_refused(client: Client) -> None:
    client.send(b"GET /livez HTTP/1.1\r\nX-Long: " + b"x" * 20_000)
    assert client.reply().status == 431
    assert client.is_closed_by_service()


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"POST /v1/check HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/check HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(client: Client, data: bytes) -> None:
    client.send(data)
    assert client.reply().status == 400
    assert client.is_closed_by_service()


def test_pipelined_requests_are_answered_in_their_order(client: Client) -> None:
    replies = client.ask_at_once([request("POST", "/v1/check", check_body("api_default", "pipeline"))] * 12)
    assert [reply.status for reply in replies] == [200] * 10 + [429] * 2
    remaining = [reply.json["remaining"] for reply in replies[:10]]
    assert all(earlier > later for earlier, later in pairwise(remaining))


def test_a_request_can_come_in_pieces_of_any_size(client: Client) -> None:
    for size, key in ((1, "pieces-1"), (7, "pieces-7")):
        data = request("POST", "/v1/check", check_body("hourly", key))
        for start in range(0, len(data), size):
            client.send(data[start : start + size])
        assert client.reply().json["remaining"] == 1


def test_a_chunked_body_is_understood(client: Client) -> None:
    body = check_body("hourly", "chunked")
    chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (5, body[:5], len(body) - 5, body[5:])
    client.send(b"POST /v1/check HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert client.reply().json["remaining"] == 1


def test_a_client_that_expects_to_be_asked_for_the_body_is_asked(client: Client) -> None:
    body = check_body("hourly", "expect")
    data = request("POST", "/v1/check", body, fields="Expect: 100-continue\r\n")
    client.send(data[: -len(body)])
    assert client.reply().status == 100
    client.send(body)
    assert client.reply().status == 200


def test_connection_close_is_honoured(client: Client) -> None:
    client.send(request("POST", "/v1/check", check_body("hourly", "close"), fields="Connection: close\r\n"))
    reply = client.reply()
    assert (reply.status, reply.fields["connection"]) == (200, "close")
    assert client.is_closed_by_service()


def test_head_has_the_fields_of_get_and_no_body(client: Client) -> None:
    head = client.ask("HEAD", "/v1/limits")
    got = client.ask("GET", "/v1/limits?ignored=yes")
    assert (head.status, head.body) == (200, b"")
    assert head.fields["content-length"] == str(len(got.body)) == got.fields["content-length"]


def test_health_names_components_with_state_since_and_evidence(client: Client) -> None:
    report = client.ask("GET", "/v1/health").json
    assert report["state"] == "up"
    names = {component["name"] for component in report["components"]}
    assert {"http", "limits", "keyspace:hourly"} <= names
    for component in report["components"]:
        assert set(component) == {"name", "state", "since", "evidence"}


def test_every_metric_and_action_of_the_catalog_exists_and_is_explained(client: Client) -> None:
    catalog = client.ask("GET", "/v1/catalog").json
    shown = client.ask("GET", "/metrics")
    assert shown.fields["content-type"].startswith("text/plain")
    families = {line.split(" ")[2] for line in shown.body.decode().splitlines() if line.startswith("# TYPE ")}
    own = {family for family in families if family.startswith("ratelimiter_") and not family.endswith("_created")}
    assert {metric["name"] for metric in catalog["metrics"]} == own
    explained(catalog["metrics"], ("unit", "direction", "meaning", "kind"))
    explained(catalog["actions"], ("request", "effect", "risk", "reversible_by", "blast_radius"))


def explained(entries: list[dict[str, Any]], fields: tuple[str, ...]) -> None:
    assert entries
    for entry in entries:
        for field in fields:
            assert entry[field], (entry["name"], field)


def test_metrics_count_decisions_by_outcome(client: Client) -> None:
    def denied() -> float:
        lines = client.ask("GET", "/metrics").body.decode().splitlines()
        wanted = 'ratelimiter_decisions_total{limit="hourly",outcome="denied"} '
        return float(next(line for line in lines if line.startswith(wanted)).removeprefix(wanted))

    before = denied()
    client.check("hourly", "counted", 3)
    assert denied() == before + 1


def test_a_live_service_is_live_and_ready(service: Service, client: Client) -> None:
    assert client.ask("GET", "/livez").status == 200
    assert client.ask("GET", "/readyz").status == 200
    assert service.process.poll() is None
