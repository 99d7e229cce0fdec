"""The HTTP interface as those see it who use it: answers, errors, bounds, and its own description. In memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from harness.api import bounds
from harness.api.app import Doors, build_app
from harness.api.problems import Absent
from harness.core import events as e
from harness.core.errors import Broken, Forbidden, Invalid, Refused, Retryable
from harness.core.projections.queue import Backlog
from harness.core.redaction import Secrets
from harness.core.ticket_spec import TicketSpec
from tests.alerts import InMemory, alert, message

TOKEN = "only-for-this-test-1f9c"
WEBHOOK, SIGNALS, TICKETS = "/api/v1/signals/alertmanager", "/api/v1/signals", "/api/v1/tickets"
TICKET = {
    "ticket": {
        "type": "improvement", "service": "ratelimiter", "objective": {"description": "less"},
        "acceptance_criteria": [{"metric": "slow_share", "condition": "< 5%"}],
    }
}  # fmt: skip


class Served:
    """A server in this process, with one ticket in its list."""

    def __init__(self) -> None:
        secrets = Secrets.of({"SOME_API_KEY": "sk-hidden-value-0042"})
        self.harness = InMemory(secrets=secrets)
        self.filed: list[TicketSpec] = []
        self.backlog: dict[str, Backlog] | None = {"P1": Backlog(2, 31.5), "P2": Backlog()}
        self.app: FastAPI = build_app(
            Doors(
                tickets=lambda: [{"id": "INF-1"}], ticket=self._ticket, file_ticket=self._file,
                components=lambda: [{"name": "worker", "state": "down", "since": None, "evidence": {}}],
                backlog=self._backlog, ledger=self.harness.ledger, stage=self.harness.stage, file=self.harness.file,
                token=SecretStr(TOKEN), secrets=secrets,
            )
        )  # fmt: skip

    def _backlog(self) -> dict[str, Backlog]:
        if self.backlog is None:
            raise Retryable("the ledger does not answer")
        return self.backlog

    def _ticket(self, ticket_id: str) -> dict[str, Any]:
        if ticket_id != "INF-1":
            raise Absent(f"{ticket_id!r}: no such ticket")
        return {"id": ticket_id}

    def _file(self, document: Any) -> str:
        self.filed.append(TicketSpec.read(document, "ticket file", service="ratelimiter"))
        return "INF-1"

    @asynccontextmanager
    async def client(self, token: str | None = TOKEN) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with (
            self.app.router.lifespan_context(self.app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(self.app), base_url="http://harness", headers=headers
            ) as client,
        ):
            yield client


@pytest.fixture
def served() -> Served:
    return Served()


def problem(answer: httpx.Response, status: int) -> str:
    """The detail of a problem document of this status."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    document = answer.json()
    assert document["status"] == status and document["title"] and document["type"] == "about:blank"
    return str(document["detail"])


async def until(true: Any) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_alerts_are_recorded_before_the_answer_and_filed_after(served: Served) -> None:
    async with served.client() as client:
        answer = await client.post(WEBHOOK, json=message(alert(1), alert(2, service="ratelimitr"), truncatedAlerts=3))

        assert answer.status_code == 200
        assert (answer.json()["received"], answer.json()["truncated"]) == (1, 3)
        [refused] = answer.json()["refused"]
        assert refused["fingerprint"] == f"{2:016x}" and "nearest: ratelimiter" in refused["reason"]
        assert served.harness.counts()["SignalsReceived"] == 1
        await until(served.harness.tickets)
        counted = (await client.get("/metrics")).text
    assert 'harness_signals_received_total{source="alertmanager"} 1.0' in counted
    assert 'harness_signals_refused_total{source="alertmanager"} 1.0' in counted
    assert 'harness_signals_truncated_total{source="alertmanager"} 3.0' in counted


async def test_a_malformed_alert_is_told_and_recorded_and_the_others_of_its_message_are_filed(served: Served) -> None:
    broken = {**alert(7), "labels": {"n": 5}, "annotations": {"summary": "sk-hidden-value-0042"}}
    hidden = {**alert(8), "status": "sk-hidden-value-0042"}
    async with served.client() as client:
        answer = await client.post(WEBHOOK, json=message(alert(2, service="ratelimitr"), broken, alert(1), hidden))
        await until(served.harness.tickets)

    # then the answer names each that nothing is made of, in the order in which they came, and no secret
    assert answer.status_code == 200 and answer.json()["received"] == 1
    refused = answer.json()["refused"]
    assert [(one["index"], one["fingerprint"]) for one in refused] == [
        (0, f"{2:016x}"), (1, f"{7:016x}"), (3, f"{8:016x}"),
    ]  # fmt: skip
    assert "labels.n: " in refused[1]["reason"] and "sk-hidden" not in answer.text

    # and the record has them as they came, without what was secret
    [event] = served.harness.all(e.SignalsReceived)
    assert (event.alerts, event.refused) == (1, 3)
    [body] = served.harness.blobs.get_json(event.body)["requests"]
    kept = [one for one in body["refused"] if "given" in one]
    assert [one["given"]["labels"] for one in kept] == [{"n": 5}, alert(8)["labels"]]
    assert "sk-hidden" not in json.dumps(body)


async def test_a_message_of_malformed_alerts_alone_is_recorded_too(served: Served) -> None:
    async with served.client() as client:
        answer = await client.post(WEBHOOK, json=message(*[{}] * 3))
    assert (answer.status_code, answer.json()["received"], len(answer.json()["refused"])) == (200, 0, 3)
    assert served.harness.counts() == {"SignalsReceived": 1}


async def test_every_route_that_can_be_read_answers_head_with_what_get_says_of_its_answer(served: Served) -> None:
    async with served.client() as client:
        for path in (
            TICKETS,
            f"{TICKETS}/INF-1",
            f"{TICKETS}/INF-2",
            "/api/v1/health",
            "/livez",
            "/readyz",
            "/openapi.json",
        ):
            read, head = await client.get(path), await client.head(path)
            assert head.status_code == read.status_code
            for name in ("content-type", "content-length"):
                assert head.headers[name] == read.headers[name], path
        assert (await client.head("/metrics")).headers["content-type"] == (await client.get("/metrics")).headers[
            "content-type"
        ]
    async with served.client(token=None) as client:
        assert (await client.head(TICKETS)).status_code == 401


async def test_who_waits_in_the_queue_is_counted_by_priority_and_not_while_nobody_knows(
    served: Served,
) -> None:
    async with served.client() as client:
        known = (await client.get("/metrics")).text
        served.backlog = None
        unknown = await client.get("/metrics")
    assert 'harness_queue_depth{priority="P1"} 2.0' in known
    assert 'harness_queue_oldest_seconds{priority="P1"} 31.5' in known
    assert 'harness_queue_depth{priority="P2"} 0.0' in known
    assert unknown.status_code == 200 and "harness_queue_depth{" not in unknown.text


async def test_a_signal_is_answered_with_the_cause_by_which_its_ticket_is_found(served: Served) -> None:
    async with served.client() as client:
        answer = await client.post(SIGNALS, json={"name": "disk", "objective": "latency", "summary": "full"})
        assert answer.status_code == 202
        await until(served.harness.tickets)

    [ticket] = served.harness.tickets()
    assert (ticket.fingerprint, ticket.source) == (answer.json()["cause"], "slo")


async def test_requests_that_come_together_are_one_append(served: Served) -> None:
    async with served.client() as client:
        answers = await asyncio.gather(*(client.post(WEBHOOK, json=message(alert(n))) for n in range(200)))
        assert {answer.status_code for answer in answers} == {200}
        await until(lambda: sum(one.firing for one in served.harness.all(e.AlertsTold)[-1:]) == 200)

    received = served.harness.all(e.SignalsReceived)
    assert sum(one.requests for one in received) == 200
    assert len(received) < 100
    assert len(served.harness.tickets()) == 1


async def test_tickets_are_filed_listed_and_shown(served: Served) -> None:
    async with served.client() as client:
        filed = await client.post(TICKETS, json=TICKET)
        assert (filed.status_code, filed.json()) == (201, {"id": "INF-1"})
        assert filed.headers["location"] == f"{TICKETS}/INF-1"
        assert (await client.get(TICKETS)).json() == [{"id": "INF-1"}]
        assert (await client.get(f"{TICKETS}/INF-1")).json() == {"id": "INF-1"}
        assert "INF-2" in problem(await client.get(f"{TICKETS}/INF-2"), 404)
        assert "ticket: acceptance_criteria" in problem(await client.post(TICKETS, json={"ticket": {}}), 422)
    assert len(served.filed) == 1


async def test_a_ticket_may_allow_what_cannot_be_measured_by_the_field_that_the_document_names(served: Served) -> None:
    async with served.client() as client:
        known = (await client.get("/openapi.json")).json()["components"]["schemas"]["TicketSpec"]["properties"]
        assert known["allow_unmeasured"] | {"type": "boolean", "default": False} == known["allow_unmeasured"]
        allowing = {"ticket": {**TICKET["ticket"], "allow_unmeasured": True}}
        assert [(await client.post(TICKETS, json=one)).status_code for one in (TICKET, allowing)] == [201, 201]
    assert [one.allow_unmeasured for one in served.filed] == [False, True]


@pytest.mark.parametrize("token", [None, "", "other", f"{TOKEN}x", TOKEN[:-1]])
async def test_without_the_token_every_route_of_the_api_answers_401_and_reads_nothing(
    served: Served, token: str | None
) -> None:
    async with served.client(token=token) as client:
        for method, path in (("GET", TICKETS), ("POST", WEBHOOK), ("POST", SIGNALS), ("PUT", "/api/v1/none")):
            answer = await client.request(method, path, content=b"\xff")
            problem(answer, 401)
            assert answer.headers["www-authenticate"].startswith('Bearer realm="harness"')
        for path in ("/openapi.json", "/metrics", "/livez", "/readyz"):
            assert (await client.get(path)).status_code == 200
    assert served.harness.counts() == {}


async def test_a_method_that_is_not_there_is_told_all_that_are(served: Served) -> None:
    async with served.client() as client:
        answer = await client.delete(TICKETS)
        assert "allowed: " in problem(answer, 405)
        assert answer.headers["allow"] == "GET, HEAD, POST"
        assert (await client.put("/api/v1/health")).headers["allow"] == "GET, HEAD"
        assert "GET /openapi.json" in problem(await client.get("/api/v1/none"), 404)


@pytest.mark.parametrize("path", [WEBHOOK, SIGNALS, TICKETS])
async def test_a_body_that_is_none_is_told_what_is_wrong_with_it(served: Served, path: str) -> None:
    as_json = {"content-type": "application/json"}
    async with served.client() as client:
        assert "is no UTF-8" in problem(await client.post(path, content=b'{"a": "\xff"}', headers=as_json), 400)
        for body in (b"", b"{", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 100_000):
            assert "is no JSON" in problem(await client.post(path, content=body, headers=as_json), 400)
        problem(await client.post(path, content=b"a=b", headers={"content-type": "text/plain"}), 415)
        for value in (None, 1, "x", [], [{}], {}):
            problem(await client.post(path, content=json.dumps(value), headers=as_json), 422)
    assert served.harness.counts() == {}


async def test_a_body_that_is_too_large_is_not_read_to_its_end(served: Served) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1_000_000
            yield b" " * 1_000_000

    headers = {"content-type": "application/json"}
    async with served.client() as client:
        assert "max_alerts" in problem(await client.post(WEBHOOK, content=endless(), headers=headers), 413)
        told = {**headers, "content-length": str(bounds.BODY_BYTES + 1)}
        problem(await client.post(WEBHOOK, content=b"{}", headers=told), 413)
    assert read < 2 * bounds.BODY_BYTES


async def test_what_comes_too_fast_is_answered_so_that_it_comes_again() -> None:
    at_s = 0.0
    room = bounds.Bounds(lambda: at_s)

    room.spend(int(bounds.BURST))
    with pytest.raises(Retryable, match="more than 4000 alerts a second") as full:
        room.spend(4_000)
    assert full.value.retry_after_s == 1.0
    at_s = 1.0
    room.spend(4_000)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Retryable("busy", retry_after_s=7), 503),
        (Broken("torn"), 500),
        (Forbidden("taken"), 409),
        (Invalid("x: y"), 422),
    ],
)
async def test_an_error_of_the_ledger_is_a_problem_and_nothing_is_taken(error: Exception, status: int) -> None:
    served = Served()

    def fails(_: Any) -> Any:
        raise error

    async with served.client() as client:
        served.harness.ledger.append = fails  # type: ignore[method-assign]
        answer = await client.post(WEBHOOK, json=message(alert(1)))
        assert problem(answer, status) == str(error)
        assert answer.headers.get("retry-after") == ("7" if status == 503 else None)


async def test_what_only_the_ledger_refuses_is_told_so_that_the_alerts_come_again() -> None:
    served = Served()

    def fails(_: Any) -> Any:
        raise Refused("cannot execute INSERT in a read-only transaction; grant the role what it needs")

    async with served.client() as client:
        served.harness.ledger.append = fails  # type: ignore[method-assign]
        answer = await client.post(WEBHOOK, json=message(alert(1)))
        assert "grant the role" in problem(answer, 503) and answer.headers["retry-after"]


async def test_while_filing_is_stuck_alerts_are_taken_in_and_it_is_told() -> None:
    served = Served()
    append = served.harness.ledger.append

    def only_the_intake(writes: Any) -> Any:
        if writes[0].stream != "intake":
            raise Retryable("no room")
        return append(writes)

    served.harness.ledger.append = only_the_intake  # type: ignore[method-assign]
    async with served.client() as client:
        assert (await client.post(WEBHOOK, json=message(alert(1)))).status_code == 200
        deadline = time.monotonic() + 30
        while (answer := await client.get("/readyz")).status_code == 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert problem(answer, 503) == "no room"
        states = {one["name"]: one for one in (await client.get("/api/v1/health")).json()["components"]}
        assert (states["intake"]["state"], states["intake"]["evidence"]["stuck"]) == ("degraded", "no room")
        assert states["worker"]["state"] == "down"

        served.harness.ledger.append = append  # type: ignore[method-assign]
        await until(served.harness.tickets)


async def test_a_problem_quotes_no_secret_and_no_more_than_a_page(served: Served) -> None:
    async with served.client() as client:
        hidden = await client.post(SIGNALS, json={"name": "x", "status": "sk-hidden-value-0042"})
        assert "sk-hidden" not in problem(hidden, 422)
        long = problem(await client.post(SIGNALS, json={"name": "x", "status": "y" * 1_000_000}), 422)
        assert len(long) < 5_000


async def test_a_broken_limit_of_sizes_is_an_error_and_a_hostile_key_is_told_without_escapes(served: Served) -> None:
    async with served.client() as client:
        assert "at most" in problem(await client.post(SIGNALS, json={"name": "y" * 300}), 422)
        hostile = await client.post(SIGNALS, json={"name": "x", "\x1b[31m": 1})
        assert r"signal: \x1b[31m: unknown key" in problem(hostile, 422)


async def test_the_description_names_every_route_every_error_and_the_token(served: Served) -> None:
    async with served.client(token=None) as client:
        document = (await client.get("/openapi.json")).json()

    told = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert told == {
        (WEBHOOK, "post"), (SIGNALS, "post"), (TICKETS, "post"), (TICKETS, "get"), (f"{TICKETS}/{{id}}", "get"),
        ("/api/v1/health", "get"), ("/metrics", "get"), ("/livez", "get"), ("/readyz", "get"),
    }  # fmt: skip
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            errors = {status for status in operation["responses"] if status >= "400"}
            wanted = {"400", "405", "408", "431", "500", "503"} | ({"401"} if path.startswith("/api") else set())
            wanted |= {"413", "415", "422"} if method == "post" else set()
            assert wanted <= errors, (path, method)
            assert bool(operation["security"]) == path.startswith("/api")
    assert all(ref in document["components"]["schemas"] for ref in refs(document))


def refs(node: Any) -> set[str]:
    """The names of all schemas that are referred to."""
    if isinstance(node, dict):
        own = {str(node["$ref"]).removeprefix("#/components/schemas/")} if "$ref" in node else set()
        return own.union(*(refs(one) for one in node.values()))
    return set().union(*(refs(one) for one in node)) if isinstance(node, list) else set()


async def test_answers_are_strict_json(served: Served) -> None:
    async with served.client() as client:
        for path in (TICKETS, "/api/v1/health", "/livez"):
            json.loads((await client.get(path)).text, parse_constant=lambda word: pytest.fail(word))
