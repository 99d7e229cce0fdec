"""What the HTTP interface counts of itself, for Prometheus. Touches nothing else."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

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
            "harness_signals_refused", "Alerts recorded of which nothing is made: no such service, or too large.",
            ["source"], registry=self.registry,
        )  # fmt: skip
        self.truncated = Counter(
            "harness_signals_truncated", "Alerts that their sender left out.", ["source"], registry=self.registry
        )
        self.filed = Counter(
            "harness_signals_filed", "Alerts and signals looked at for their ticket.", registry=self.registry
        )

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)
