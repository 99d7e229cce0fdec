"""Answers requests: finds the route, calls the part that knows, words the result. Opens no socket and no file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ratelimiter import telemetry
from ratelimiter.catalog import catalog
from ratelimiter.checks import parse_check, parse_key
from ratelimiter.gcra import NEVER, Decision, divide_up
from ratelimiter.health import Health
from ratelimiter.lifecycle import Lifecycle
from ratelimiter.limiter import Limiter
from ratelimiter.limits import Limit
from ratelimiter.messages import PROBLEM, Answer, Request, json_answer, problem_answer
from ratelimiter.problems import BadRequest, InternalError, MethodNotAllowed, NotFound, Problem
from ratelimiter.quota_fields import quota_fields

MILLISECOND_NS = 10**6
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
STATE = "/v1/state/{limit}/{key}"
STATE_PREFIX = STATE.partition("{")[0]
NO_ROUTE = "none"

Handler = Callable[[Request], Answer]
log = logging.getLogger(__name__)


class Routed(NamedTuple):
    """An answer with the route that gave it (``NO_ROUTE`` when the path is unknown), for the metrics."""

    route: str
    answer: Answer


class Api:
    """All routes of the service. One request at a time: decisions are serial, and none waits for anything."""

    def __init__(self, *, limiter: Limiter, lifecycle: Lifecycle, clock: Callable[[], datetime]) -> None:
        self._limiter = limiter
        self.lifecycle = lifecycle
        self._routes: dict[str, dict[str, Handler]] = {
            "/v1/check": {"POST": self._check},
            "/v1/limits": {"GET": self._limits},
            STATE: {"GET": self._state},
            "/v1/health": {"GET": self._health_report},
            "/v1/catalog": {"GET": self._catalog},
            "/v1/drain": {"POST": self._drain},
            "/metrics": {"GET": self._metrics},
            "/livez": {"GET": self._live},
            "/readyz": {"GET": self._ready},
        }
        self.telemetry = telemetry.Telemetry(limiter=limiter, lifecycle=lifecycle, routes=(*self._routes, NO_ROUTE))
        self._health = Health(limiter=limiter, lifecycle=lifecycle, telemetry=self.telemetry, clock=clock)

    def answer(self, request: Request) -> Routed:
        """Answer one request; a refusal becomes a problem document, and so does a bug, which is logged."""
        route = STATE if request.path.startswith(STATE_PREFIX) else request.path
        methods = self._routes.get(route)
        if methods is None:
            return Routed(NO_ROUTE, problem_answer(NotFound(f"{request.path[:200]} is no route; GET /v1/catalog")))
        try:
            return Routed(route, self._handler(request, methods)(request))
        except Problem as problem:
            return Routed(route, problem_answer(problem))
        except Exception:  # the edge of the process: one request may fail, the service goes on
            log.exception("%s %s failed", request.method, route)
            return Routed(route, problem_answer(InternalError("see the log of the service")))

    def _handler(self, request: Request, methods: dict[str, Handler]) -> Handler:
        # An answer to HEAD is the one to GET; the connection leaves its body out.
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = ", ".join((*methods, "HEAD") if "GET" in methods else methods)
            raise MethodNotAllowed(f"{request.method} is not for this path; {allowed} is", fields=(("Allow", allowed),))
        return handler

    def _check(self, request: Request) -> Answer:
        check = parse_check(request.body)
        decision = self._limiter.check(check.limit, check.key, check.cost)
        self.telemetry.decided(check.limit, allowed=decision.allowed)
        limit = self._limiter.limit(check.limit)
        result = _decision_document(limit, decision)
        fields = quota_fields(limit, decision)
        if decision.allowed:
            return json_answer(200, result, fields=fields)
        problem = {
            "type": QUOTA_EXCEEDED,
            "title": "Request cannot be satisfied as assigned quota has been exceeded",
            "status": 429,
            "violated-policies": [check.limit],
        }
        return json_answer(429, problem | result, fields=fields, media_type=PROBLEM)

    def _limits(self, request: Request) -> Answer:
        limits = [
            {"name": limit.name, "algorithm": "gcra", "rate": limit.rate, "burst": limit.quota.burst}
            for limit in self._limiter.limits
        ]
        return json_answer(200, {"version": self._limiter.version, "limits": limits})

    def _state(self, request: Request) -> Answer:
        name, _, key = request.path.removeprefix(STATE_PREFIX).partition("/")
        if "/" in key:
            raise NotFound(f"a state has the path {STATE}, with every / of the key written as %2F")
        key = parse_key(_percent_decoded(key))
        limit = self._limiter.limit(_percent_decoded(name))
        decision = self._limiter.peek(limit.name, key)
        state = {
            "name": limit.name,
            "key": key,
            "limit": limit.quota.burst,
            "remaining": decision.remaining,
            "reset_after_ms": _milliseconds(decision.reset_after_ns),
        }
        return json_answer(200, state)

    def _health_report(self, request: Request) -> Answer:
        return json_answer(200, self._health.report())

    def _catalog(self, request: Request) -> Answer:
        return json_answer(200, catalog())

    def _drain(self, request: Request) -> Answer:
        self.lifecycle.drain()
        return json_answer(202, {"draining": True})

    def _metrics(self, request: Request) -> Answer:
        return Answer(200, self.telemetry.exposition(), telemetry.MEDIA_TYPE)

    def _live(self, request: Request) -> Answer:
        return json_answer(200, {"live": True})

    def _ready(self, request: Request) -> Answer:
        ready = not self.lifecycle.draining
        return json_answer(200 if ready else 503, {"ready": ready})


def _decision_document(limit: Limit, decision: Decision) -> dict[str, object]:
    retry_after_ns = decision.retry_after_ns
    return {
        "allowed": decision.allowed,
        "limit": limit.quota.burst,
        "remaining": decision.remaining,
        "retry_after_ms": NEVER if retry_after_ns == NEVER else _milliseconds(retry_after_ns),
        "reset_after_ms": _milliseconds(decision.reset_after_ns),
    }


def _milliseconds(duration_ns: int) -> int:
    """Whole milliseconds, rounded up: a client that waits so long is let in."""
    return divide_up(duration_ns, MILLISECOND_NS)


def _percent_decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise BadRequest("the path is not UTF-8 after percent-decoding") from error
