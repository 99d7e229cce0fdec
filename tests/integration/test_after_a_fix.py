"""What slow windows carry of a repaired fault raises nothing, and what burns again is raised: on a real Prometheus, in
days of recorded series that the watch looks back on.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.adapters.declarations import load_manifest, load_slos, load_windows
from harness.adapters.prometheus import PrometheusMetrics
from harness.bootstrap import CHECKOUT, read_rules
from harness.cause import closed_at
from harness.core import events as e
from harness.core.burn_rate import SloState
from harness.core.ids import cause_stream, fingerprint, signal_stream
from harness.core.record import StreamWrite
from harness.core.redaction import Secrets
from harness.core.signal import Signal
from harness.core.slo import Slo, Windows, parse_slos
from harness.journal import encode
from harness.objectives import look
from harness.simulation.ledger import GuardedMemoryBlobs, GuardedMemoryLedger
from harness.simulation.world import World
from harness.stages.file import file
from harness.stages.observe import Memory, Watch, tick
from tests.integration.prometheus_servers import prometheus, recorded

RULES = read_rules()
MANIFEST = load_manifest(CHECKOUT / "services/ratelimiter/service.yaml")
SERVICE = load_slos(CHECKOUT / "slos", load_windows(CHECKOUT / "slos/windows"))
SLOW = Windows.parse(
    {"period": "30d", "tiers": [{"severity": "page", "budget": "5%", "long": "6h", "short": "30m"},
                                {"severity": "ticket", "budget": "10%", "long": "3d", "short": "6h"}]},
    "slow",
)  # fmt: skip
SAMPLE_S, HOUR_S = 300, 3600
DAYS = 6
BEGIN_S = int(time.time()) // HOUR_S * HOUR_S - (DAYS * 24 + 1) * HOUR_S
FAULT_H, FIXED_H, CLOSED_H = 48.0, 49.5, 49.75
AGAIN_H, LATER_H = 50.0, 60.0
REQUESTS = 30_000
"""In the time between two samples."""

Faults = Mapping[tuple[float, float], float]
"""(from hour, to hour) → the share of requests that fails."""
FAULT: Faults = {(FAULT_H, FIXED_H): 0.05}
PASTS: Mapping[str, Faults] = {
    "repaired": FAULT,
    "broken-again": {**FAULT, (AGAIN_H, AGAIN_H + 2): 0.05},
    "only-again": {(AGAIN_H, AGAIN_H + 2): 0.05},
    "smouldering": {**FAULT, (LATER_H, LATER_H + 12): 0.0015},
    "only-smouldering": {(LATER_H, LATER_H + 12): 0.0015},
}


def at(hour: float) -> datetime:
    """A second after the sample of that hour."""
    return datetime.fromtimestamp(BEGIN_S + hour * HOUR_S + 1, UTC)


def objective(name: str) -> Slo:
    ratio = {"bad": f"{name.replace('-', '_')}_errors_total", "total": "requests_total"}
    declared = {"name": name, "target": "99.9%", "window": "slow", "indicator": {"ratio": ratio}}
    return parse_slos({"slos": [declared]}, "f", {"slow": SLOW})[0]


@pytest.fixture(scope="module")
def metrics() -> Iterator[PrometheusMetrics]:
    samples = range(DAYS * 24 * HOUR_S // SAMPLE_S + 1)
    lines = ["# TYPE requests counter"]
    lines += [f"requests_total {REQUESTS * number} {BEGIN_S + number * SAMPLE_S}" for number in samples]
    for name, faults in PASTS.items():
        counter, errors = name.replace("-", "_"), 0
        lines.append(f"# TYPE {counter}_errors counter")
        for number in samples:
            hour = number * SAMPLE_S / HOUR_S
            share = next((share for (begin, end), share in faults.items() if begin < hour <= end), 0.0)
            errors += round(REQUESTS * (0.0002 + share))
            lines.append(f"{counter}_errors_total {errors} {BEGIN_S + number * SAMPLE_S}")
    with tempfile.TemporaryDirectory(prefix="h-") as name:
        recorded(Path(name), "\n".join([*lines, "# EOF", ""]))
        with prometheus(Path(name), "{}") as url:
            yield PrometheusMetrics(url)


@dataclass
class Past:
    """The clock of a watch that looks back, at any moment that the test wants."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Office:
    """The watch, and a ledger in which it files. ``raised``: objective → the hours at which a signal started."""

    metrics: PrometheusMetrics
    slos: tuple[Slo, ...]
    clock: Past = field(default_factory=lambda: Past(at(0)))
    memory: Memory = field(default_factory=Memory)
    raised: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        secrets = Secrets.of({})
        self.ledger = GuardedMemoryLedger(now=self.clock.now, secrets=secrets)
        self.blobs = GuardedMemoryBlobs(ledger=self.ledger, secrets=secrets, now=self.clock.now)
        self.watch = Watch(
            manifest=MANIFEST, slos=self.slos, invariants=(), metrics=self.metrics, nodes=World(MANIFEST).nodes,
            ledger=self.ledger, clock=self.clock, no_data=RULES.profile.no_data,
            together_s=RULES.profile.causes.together_s,
            anomalies=RULES.anomalies.model_copy(update={"enabled": False}),
        )  # fmt: skip

    async def look_on(self, from_h: float, to_h: float, every_h: float) -> None:
        hour = from_h
        while hour <= to_h:
            self.clock.moment = at(hour)
            seen = await tick(self.memory, self.watch)
            self.memory = seen.memory
            for signal in seen.started:
                self.raised.setdefault(signal.name, []).append(hour)
                self.file(signal)
            hour = round(hour + every_h, 6)

    def file(self, signal: Signal) -> None:
        file(signal, slos=SERVICE, invariants=(), sustained_s=10, policy=RULES.profile.causes,
             ledger=self.ledger, blobs=self.blobs, clock=self.clock)  # fmt: skip

    def close(self, hour: float, name: str) -> None:
        """The ticket of the objective's cause ends."""
        self.clock.moment = at(hour)
        cause = fingerprint("slo", MANIFEST.name, name)
        ticket = [row.data["ticket_id"] for row in self.ledger.read_stream(cause_stream(cause))][-1]
        closed = encode(
            f"closed/{cause}/{hour}", e.CauseClosed(fingerprint=cause, ticket_id=ticket), clock=self.clock,
            actor="harness", correlation=ticket, cause=None,
        )  # fmt: skip
        self.ledger.append([StreamWrite(cause_stream(cause), None, [closed])])

    async def state(self, name: str, hour: float) -> SloState:
        slo = next(slo for slo in self.slos if slo.name == name)
        closed = {name: closed_at(self.ledger, fingerprint("slo", MANIFEST.name, name))}
        return (await look(self.metrics, MANIFEST, [slo], closed, at(hour))).states[name]


async def repaired(metrics: PrometheusMetrics, *names: str) -> Office:
    """A watch that has seen the first fault, its ticket closed a quarter of an hour after the repair."""
    office = Office(metrics, tuple(map(objective, names)))
    await office.look_on(FAULT_H, CLOSED_H, 0.25)
    for name in office.raised:
        office.close(CLOSED_H, name)
    return office


async def test_slow_windows_that_carry_a_repaired_fault_raise_nothing(metrics: PrometheusMetrics) -> None:
    # given a fault that was raised once, repaired, and its ticket closed
    office = await repaired(metrics, "repaired")
    assert len(office.raised["repaired"]) == 1
    # when the watch looks on until no window holds the fault any more
    state = await office.state("repaired", CLOSED_H + 1)
    await office.look_on(CLOSED_H + 0.25, FIXED_H + 73, 1)
    # then it raised nothing, though for hours both windows of a tier were above its factor
    assert state.state == "ok" and min(state.burn[6 * 3600.0] or 0, state.burn[3 * 86400.0] or 0) > 1
    assert len(office.raised["repaired"]) == 1
    # and its signal ended, so that it could have started again
    last = office.ledger.read_stream(signal_stream(fingerprint("slo", MANIFEST.name, "repaired")))[-1]
    assert last.type == e.SignalEnded.__name__


async def test_what_breaks_again_right_after_is_raised_as_soon_as_if_nothing_had_been(
    metrics: PrometheusMetrics,
) -> None:
    # given the same fault once more, a quarter of an hour after the ticket was closed
    office = await repaired(metrics, "broken-again", "only-again")
    # when the watch looks on
    await office.look_on(round(CLOSED_H + 1 / 12, 6), AGAIN_H + 2, round(1 / 12, 6))
    # then it is raised at the same look as on a service that never had the first fault
    again, only = office.raised["broken-again"][1:], office.raised["only-again"]
    assert len(again) == len(only) == 1 and AGAIN_H < again[0] <= only[0]


async def test_what_smoulders_once_the_short_window_is_clean_counts_on_top_of_what_was_spent(
    metrics: PrometheusMetrics,
) -> None:
    # given half a day, beginning ten hours after the fix, in which a little more fails than the objective allows
    office = await repaired(metrics, "smouldering", "only-smouldering")
    # when the watch looks on
    await office.look_on(CLOSED_H + 0.25, LATER_H + 12, 1)
    # then it is raised, for the long window holds what was spent already; alone it would not be
    assert [hour > LATER_H for hour in office.raised["smouldering"]] == [False, True]
    assert "only-smouldering" not in office.raised
