"""The routes of the HTTP interface: read, check the form, call, answer. Decides nothing about tickets or signals.

What the routes call comes in by ``Doors``; blocking calls run in threads. A signal is recorded before it is answered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from pydantic import SecretStr
from starlette.exceptions import HTTPException

from harness.api import openapi, problems
from harness.api.bounds import Bounds, read_json
from harness.api.guard import Guard
from harness.api.intake import Filer, Followed, Intake
from harness.api.metrics import MEDIA_TYPE, Metrics
from harness.core.alert import Incoming, from_alertmanager, from_anyone
from harness.core.alert_cause import cause_of, require_declared
from harness.core.errors import HarnessError, Invalid, Retryable
from harness.core.projections.queue import Backlog
from harness.core.redaction import Secrets
from harness.stages.receive import Change, Stage, Taken, taken

LONG_BYTES: Final = 64 * 1024
MANY: Final = 50
"""Above these a message is read in a thread; below, the way there and back takes longer than the reading."""


@dataclass(frozen=True, kw_only=True)
class Doors:
    """What the routes call. ``file_ticket`` takes a ticket file and gives the id, ``ticket`` raises Absent."""

    tickets: Callable[[], list[dict[str, Any]]]
    ticket: Callable[[str], dict[str, Any]]
    file_ticket: Callable[[Any], str]
    components: Callable[[], list[dict[str, Any]]]
    """Of the stack: each with its state, since when, and the evidence for it."""
    backlog: Callable[[], Mapping[str, Backlog]]
    """Of the queue at the delivery lock, by priority."""
    ledger: Followed
    stage: Stage
    file: Callable[[Change], None]
    """Has the change's signal filed, or its end recorded."""
    token: SecretStr
    secrets: Secrets


class Server:
    """What the routes of one server have between them."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.metrics = Metrics()
        self.bounds = Bounds()
        self.filer = Filer(ledger=doors.ledger, stage=doors.stage, file=doors.file, metrics=self.metrics)
        self.intake = Intake(doors.stage, recorded=self.filer.wake)

    async def alertmanager(self, request: Request) -> Response:
        """Take in the alerts of an Alertmanager (webhook, version 4).

        Answered once they are recorded. Alerts for no registered service, and those that are malformed,
        are recorded too, and told in the answer: which of the message, from 0, and why.
        """
        with self.bounds.held(request):
            document = await read_json(request)
            is_long = int(request.headers.get("content-length", LONG_BYTES)) >= LONG_BYTES
            incoming = await asyncio.to_thread(from_alertmanager, document) if is_long else from_alertmanager(document)
            told = await self._take(incoming)
        refused = [
            {"index": index, "fingerprint": known_as, "reason": self.doors.secrets.taken_from_text(reason)[0]}
            for index, known_as, reason in told.refused
        ]
        return answer({"received": told.alerts, "refused": refused, "truncated": told.truncated})

    async def signal(self, request: Request) -> Response:
        """Take in a signal of any other sender.

        Answered once it is recorded, with the fingerprint of its cause, which the ticket list shows.
        """
        with self.bounds.held(request):
            incoming = from_anyone(await read_json(request))
            (alert,) = incoming.alerts
            try:
                require_declared(alert, self.doors.stage.declared)
                cause = cause_of(alert, self.doors.stage.declared)
            except Invalid as error:
                raise Invalid(f"signal: {error}") from None
            await self._take(incoming)
        return answer({"cause": cause.fingerprint, "kind": cause.kind, "fingerprint": alert.fingerprint}, 202)

    async def _take(self, incoming: Incoming) -> Taken:
        self.bounds.spend(len(incoming.alerts) + len(incoming.unusable))
        given = (incoming, self.doors.stage.declared, self.doors.secrets)
        told = await asyncio.to_thread(taken, *given) if len(incoming.alerts) > MANY else taken(*given)
        await self.intake.put(told)
        for counter, number in (
            (self.metrics.received, told.alerts), (self.metrics.refused, len(told.refused)),
            (self.metrics.truncated, told.truncated),
        ):  # fmt: skip
            counter.labels(incoming.source).inc(number)
        return told

    async def file_ticket(self, request: Request) -> Response:
        """File a ticket: the ticket file, as JSON. Answers its id."""
        with self.bounds.held(request):
            self.bounds.spend(1)
            ticket_id = await asyncio.to_thread(self.doors.file_ticket, await read_json(request))
        return answer({"id": ticket_id}, 201, {"location": f"/api/v1/tickets/{ticket_id}"})

    async def tickets(self, request: Request) -> Response:
        """All tickets, newest first: the document of `harness ticket list --json`."""
        return answer(await asyncio.to_thread(self.doors.tickets))

    async def ticket(self, request: Request) -> Response:
        """One ticket: the document of `harness ticket show ID --json`."""
        return answer(await asyncio.to_thread(self.doors.ticket, request.path_params["id"]))

    async def health(self, request: Request) -> Response:
        """Every component with its state, since when, and the evidence for it: for agents and people."""
        return answer({"components": [*await asyncio.to_thread(self.doors.components), await self._intake_state()]})

    async def ready(self, request: Request) -> Response:
        """Whether signals and tickets can be taken in now."""
        state = await self._intake_state()
        if state["state"] != "up":
            raise Retryable(str(state["evidence"]["stuck"]))
        return answer({"ready": True})

    async def live(self, request: Request) -> Response:
        """That the process answers."""
        return answer({"live": True})

    async def count(self, request: Request) -> Response:
        """What this server counts, and who waits in the queue, for Prometheus."""
        try:
            backlog = await asyncio.to_thread(self.doors.backlog)
        except Retryable:  # what is counted here is there to tell of such a time
            backlog = {}
        return Response(self.metrics.text(backlog), media_type=MEDIA_TYPE)

    async def _intake_state(self) -> dict[str, Any]:
        stuck = self.filer.stuck if self.filer.alive else "the filer has died; the log says why: start the server anew"
        try:
            position = (await asyncio.to_thread(self.doors.ledger.head)).position
        except HarnessError as error:
            position, stuck = None, str(error)
        until = self.filer.filed_until
        evidence = {"ledger_head": position, "filed_until": until.isoformat() if until else None, "stuck": stuck}
        return {"name": "intake", "state": "degraded" if stuck else "up", "since": None, "evidence": evidence}


def build_app(doors: Doors) -> FastAPI:
    """The application; while it lives, what was taken in is filed."""
    server = Server(doors)

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        server.filer.start()
        yield
        await asyncio.to_thread(server.filer.stop)

    app = FastAPI(
        title="harness", version="1", lifespan=alive, docs_url=None, redoc_url=None, redirect_slashes=False,
        description="Tickets and signals of the operations harness.",
    )  # fmt: skip
    for method, path, handler, form in (
        ("POST", "/api/v1/signals/alertmanager", server.alertmanager, openapi.ALERTMANAGER),
        ("POST", "/api/v1/signals", server.signal, openapi.SIGNAL),
        ("POST", "/api/v1/tickets", server.file_ticket, openapi.FILE_TICKET),
        ("GET", "/api/v1/tickets", server.tickets, openapi.TICKETS),
        ("GET", "/api/v1/tickets/{id}", server.ticket, openapi.TICKET),
        ("GET", "/api/v1/health", server.health, openapi.HEALTH),
        ("GET", "/metrics", server.count, openapi.METRICS),
        ("GET", "/livez", server.live, openapi.LIVE),
        ("GET", "/readyz", server.ready, openapi.READY),
    ):
        app.add_api_route(path, handler, methods=[method], response_class=Response, **form.route(handler.__name__))
        if method == "GET":  # its answer without the body, which is the server's to leave out
            app.add_api_route(path, handler, methods=["HEAD"], response_class=Response, include_in_schema=False)
    app.openapi = openapi.documented(app)  # type: ignore[method-assign]

    @app.exception_handler(HarnessError)
    async def known(_: Request, error: HarnessError) -> Response:
        return problems.answer(error, doors.secrets)

    @app.exception_handler(HTTPException)
    async def of_routing(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            headers = {"allow": problems.allowed(request)}
            told = f"{request.method} is not for this path; allowed: {headers['allow']}"
            return problems.document(405, told, doors.secrets, headers)
        told = "no such path; GET /openapi.json has them all" if error.status_code == 404 else str(error.detail)
        return problems.document(error.status_code, f"{request.url.path}: {told}", doors.secrets)

    @app.exception_handler(Exception)
    async def unknown(_: Request, error: Exception) -> Response:  # the edge of the process; the server logs it
        return problems.document(500, f"a bug: {type(error).__name__}; the log says where", doors.secrets)

    app.add_middleware(Guard, token=doors.token, secrets=doors.secrets, metrics=server.metrics)
    return app


def answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """One strict JSON document, as the command line prints it."""
    text = json.dumps(document, allow_nan=False, default=str)
    return Response(text, status, headers=headers, media_type="application/json")
