"""Counts what the service does, for Prometheus. Reads the limiter and the lifecycle; changes neither."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ratelimiter import __version__
from ratelimiter.lifecycle import Lifecycle
from ratelimiter.limiter import Limiter

MEDIA_TYPE = CONTENT_TYPE_LATEST
LATENCY_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Telemetry:
    """All metrics of the process in a registry of its own, every series present from the start."""

    def __init__(self, *, limiter: Limiter, lifecycle: Lifecycle, routes: tuple[str, ...]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        decisions = Counter("ratelimiter_decisions", "Checks decided", ["limit", "outcome"], registry=self._registry)
        self._decisions = {
            (limit.name, allowed): decisions.labels(limit.name, "allowed" if allowed else "denied")
            for limit in limiter.limits
            for allowed in (True, False)
        }
        latency = Histogram(
            "ratelimiter_request_seconds",
            "From a request read to its end until its answer is handed to the system",
            ["route"],
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._latency = {route: latency.labels(route) for route in routes}
        self._answers = Counter("ratelimiter_answers", "Answers by HTTP status", ["status"], registry=self._registry)
        self.answered = 0
        keys = Gauge("ratelimiter_keys", "Keys held in memory", ["limit"], registry=self._registry)
        for limit in limiter.limits:
            keys.labels(limit.name).set_function(partial(limiter.keys_held, limit.name))
        uptime = Gauge("ratelimiter_uptime_seconds", "Time since the process started", registry=self._registry)
        uptime.set_function(lambda: lifecycle.uptime_s)
        draining = Gauge("ratelimiter_draining", "1 while draining, else 0", registry=self._registry)
        draining.set_function(lambda: float(lifecycle.draining))
        build = Gauge("ratelimiter_build_info", "Always 1", ["version", "limits_version"], registry=self._registry)
        build.labels(__version__, limiter.version).set(1)

    def decided(self, limit: str, *, allowed: bool) -> None:
        """Count one decision."""
        self._decisions[limit, allowed].inc()

    def answer_sent(self, route: str, status: int, took_s: float) -> None:
        """Count one answer handed to the system ``took_s`` seconds after its request was read."""
        self.answered += 1
        self._answers.labels(str(status)).inc()
        self._latency[route].observe(took_s)

    def exposition(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self._registry)
