"""What can be watched and what can be done, for people and agents. Data only; a test holds it against /metrics."""

from __future__ import annotations

METRICS: tuple[dict[str, str], ...] = (
    {
        "name": "ratelimiter_decisions_total",
        "kind": "counter",
        "unit": "decisions",
        "direction": "either",
        "meaning": "checks decided, by limit and outcome (allowed, denied); the share of denials follows the clients",
    },
    {
        "name": "ratelimiter_request_seconds",
        "kind": "histogram",
        "unit": "s",
        "direction": "lower",
        "meaning": "from a request read to its end until its answer is handed to the system, by route",
    },
    {
        "name": "ratelimiter_answers_total",
        "kind": "counter",
        "unit": "answers",
        "direction": "either",
        "meaning": "answers by HTTP status; 5xx should not grow",
    },
    {
        "name": "ratelimiter_keys",
        "kind": "gauge",
        "unit": "keys",
        "direction": "lower",
        "meaning": "keys held in memory, by limit; when they reach the room of the keyspace, new keys get 503",
    },
    {
        "name": "ratelimiter_uptime_seconds",
        "kind": "gauge",
        "unit": "s",
        "direction": "higher",
        "meaning": "time since the process started; state is lost with it",
    },
    {
        "name": "ratelimiter_draining",
        "kind": "gauge",
        "unit": "1",
        "direction": "lower",
        "meaning": "1 while the process drains, else 0",
    },
    {
        "name": "ratelimiter_build_info",
        "kind": "gauge",
        "unit": "1",
        "direction": "either",
        "meaning": "always 1; the labels name the version of the program and of the limits file",
    },
)

ACTIONS: tuple[dict[str, object], ...] = (
    {
        "name": "drain",
        "request": "POST /v1/drain",
        "parameters": {},
        "effect": "readiness turns 503 and every answer ends its connection, so that clients go elsewhere; checks are "
        "still decided until the process is stopped",
        "risk": "medium",
        "reversible_by": "starting a new process in its place",
        "preconditions": ["another instance serves the keys of this one"],
        "blast_radius": "one process; its keys start with full buckets elsewhere",
    },
    {
        "name": "peek",
        "request": "GET /v1/state/{limit}/{key}",
        "parameters": {"limit": "name of a limit", "key": "percent-encoded key"},
        "effect": "none; tells what the key has left",
        "risk": "read",
        "reversible_by": "nothing to reverse",
        "preconditions": [],
        "blast_radius": "none",
    },
)


def catalog() -> dict[str, object]:
    """The body of ``GET /v1/catalog``: ``{"metrics": [...], "actions": [...]}``."""
    return {"metrics": METRICS, "actions": ACTIONS}
