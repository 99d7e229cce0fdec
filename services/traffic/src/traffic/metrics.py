"""Says what the users saw, by arm, as Prometheus series; decides nothing and opens no port."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

ARMS = ("canary", "stable", "baseline")
NO_ARM = "none"  # no answer that named an arm

_LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class ArmSeries:
    """The series of one arm, looked up once so that counting costs no label lookup."""

    __slots__ = ("denials", "errors", "keys", "latency_s", "over_admissions", "requests", "slow", "wrong_denials")

    def __init__(self, metrics: Metrics, arm: str) -> None:
        self.requests = metrics.requests.labels(arm)
        self.slow = metrics.slow.labels(arm)
        self.errors = metrics.errors.labels(arm)
        self.wrong_denials = metrics.wrong_denials.labels(arm)
        self.denials = metrics.denials.labels(arm)
        self.over_admissions = metrics.over_admissions.labels(arm)
        self.latency_s = metrics.latency_s.labels(arm)
        self.keys = metrics.keys.labels(arm)


class Metrics:
    """All series in a registry of their own; every arm stands at 0 from the start."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line per series that nothing reads
        self._registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests finished, failed or given up, each once")
        self.slow = self._counter("slow", "Of the requests: answered late, counted from when due, or in error")
        self.errors = self._counter("errors", "Of the requests: answer other than 200 or 429, no answer, or never sent")
        self.wrong_denials = self._counter("wrong_denials", "Denials that the contract surely would have admitted")
        self.denials = self._counter("denials", "Denials, right and wrong")
        self.over_admissions = self._counter("over_admissions", "Admissions surely beyond the contract and its moves")
        self.latency_s = Histogram(
            "traffic_latency_seconds",
            "Time from when the request was due to its answer; requests without an answer are not in it",
            ["arm"],
            buckets=_LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self.keys = Gauge("traffic_keys", "Keys whose last answer came from the arm", ["arm"], registry=self._registry)
        self._arms = {arm.encode(): ArmSeries(self, arm) for arm in ARMS}
        self.no_arm = ArmSeries(self, NO_ARM)

    def arm(self, name: bytes) -> ArmSeries:
        """The series of the arm with this name, as it stands in the response header; unknown names count as none."""
        return self._arms.get(name, self.no_arm)

    def exposition(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, documentation: str) -> Counter:
        return Counter(f"traffic_{name}_total", documentation, ["arm"], registry=self._registry)
