"""What the HTTP interface counts of itself, and who waits in the queue, for Prometheus. Touches nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from harness.core.projections.queue import Backlog

MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "harness_api_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "harness_api_request_seconds", "Time to an answer.", ["route"], registry=self.registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10),
        )  # fmt: skip
        self.received = Counter(
            "harness_signals_received", "Alerts and signals recorded, to be filed.", ["source"], registry=self.registry
        )
        self.refused = Counter(
            "harness_signals_refused", "Alerts recorded of which nothing is made: no such service, or no such form.",
            ["source"], registry=self.registry,
        )  # fmt: skip
        self.truncated = Counter(
            "harness_signals_truncated", "Alerts that their sender left out.", ["source"], registry=self.registry
        )
        self.filed = Counter(
            "harness_signals_filed", "Alerts and signals looked at for their ticket.", registry=self.registry
        )

        self.depth = Gauge(
            "harness_queue_depth", "Deliveries that wait for the lock.", ["priority"], registry=self.registry
        )
        self.oldest_s = Gauge(
            "harness_queue_oldest_seconds", "How long the first of them has waited.", ["priority"],
            registry=self.registry,
        )  # fmt: skip

    def text(self, backlog: Mapping[str, Backlog]) -> bytes:
        """As Prometheus reads it; ``backlog`` by priority, as it is now, empty where that is not known."""
        self.depth.clear()
        self.oldest_s.clear()
        for priority, waits in backlog.items():
            self.depth.labels(priority).set(waits.depth)
            self.oldest_s.labels(priority).set(waits.oldest_s)
        return generate_latest(self.registry)
