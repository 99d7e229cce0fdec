"""What the demo plays in, when it is ready, and the programs of their own that break the service and say how it is."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.adapters.stack.machines import LocalMachines
from harness.bootstrap import CHECKOUT, Record, Rules
from harness.cli.render import number
from harness.core import events as e
from harness.core.errors import Broken, Retryable
from harness.core.ids import service_stream
from harness.core.manifest import Manifest
from harness.journal import Journal, decode
from harness.measure import Window, measure
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.adapters.prometheus import PrometheusMetrics

WARM_UP_LIMIT_S = 120
INCIDENT_LIMIT_S = 300
POLL_S = 0.2
ORACLE_ASKED_AT_MOST = 3
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scene:
    """What the demo plays in."""

    settings: Settings
    record: Record
    rules: Rules
    manifest: Manifest
    say: Say
    repository: Path
    base: str
    """The commit that the service shipped with: every series starts from its tree."""
    draws: bool
    """Whether a person looks on at a terminal."""
    offers: bool
    """Whether the ticket is an opportunity's, which has time."""

    def incident_limit_s(self, tickets: int) -> float:
        """How long an incident is followed, for each of its tickets: one is delivered after the other. A model may take
        as long to think as its session is allowed to."""
        follows = self.settings.harness_agent == "runbook"
        longest_s = self.rules.models.session.wall_clock_s if not follows else 0.0
        longest_s = longest_s or (self.rules.opportunities.session_s if self.offers else 0.0)
        return tickets * (INCIDENT_LIMIT_S + longest_s)


async def healthy(scene: Scene) -> None:
    """Wait until there is as much healthy traffic on record as a baseline needs, and every node was seen once."""
    from harness.adapters.prometheus import PrometheusMetrics

    admission = scene.rules.profile.admission
    longest = max(max(slo.windows_s) for slo in scene.rules.slos)
    needed_s = admission.baseline_s + admission.gap_s + longest + 6
    scene.say(f"stack is up; waiting for {needed_s:g} s of healthy traffic, from which baselines are taken")
    metrics = PrometheusMetrics(scene.settings.prometheus_url)
    deadline = time.monotonic() + WARM_UP_LIMIT_S
    reason = "no traffic yet"
    while time.monotonic() < deadline:
        reason = await _not_healthy(scene, metrics, needed_s)
        if not reason:
            return
        await asyncio.sleep(POLL_S)
    raise Retryable(f"the service is not healthy after {WARM_UP_LIMIT_S} s: {reason}; logs: {scene.settings.home.logs}")


async def _not_healthy(scene: Scene, metrics: PrometheusMetrics, needed_s: float) -> str:
    window = Window.before(datetime.now(UTC), needed_s)
    for slo in scene.rules.slos:
        for name in slo.metrics:
            measured = await measure(metrics, scene.manifest, name, window)
            if measured.value is None:
                return f"{name} is not measured over {needed_s:g} s yet"
            if measured.value >= slo.error_budget:
                return f"{name} is {number(measured.value, '%')}"
    seen = map(decode, scene.record.ledger.read_stream(service_stream(scene.manifest.name)))
    observed = {event.node for event in seen if isinstance(event, e.ReleaseObserved)}
    return "" if observed >= set(LocalMachines(scene.settings.home).nodes()) else "not every node was seen yet"


async def driver(scene: Scene, path: Path, seed: int) -> dict[str, Any]:
    settings = scene.settings
    return await _program(
        "scenarios.driver", "--incident", str(path), "--seed", str(seed), "--base", scene.base,
        "--repository", str(scene.repository), "--temporal", settings.temporal_address,
        "--namespace", settings.temporal_namespace, "--home", str(settings.home.root),
        "--nodes", *LocalMachines(settings.home).nodes(),
    )  # fmt: skip


async def oracle_says(scene: Scene, path: Path, *costs: str) -> dict[str, Any]:
    """The oracle's own client and counts, through Envoy; whether the service is healthy by the incident's own file.

    Asked again while it is not: a stall of the machine is seen once, a fault every time. ``earlier`` keeps what it saw.
    """
    words = ["--url", scene.settings.addresses.url("envoy_in"), "--incident", str(path), *costs]
    readings: list[dict[str, Any]] = []
    while len(readings) < ORACLE_ASKED_AT_MOST and not (readings and readings[-1]["healthy"]):
        readings.append(await _program("scenarios.oracle", *words))
    return {**readings[-1], "earlier": readings[:-1]}


async def _program(module: str, *words: str) -> dict[str, Any]:
    """Run a program of its own and read the JSON line that it ends with."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=CHECKOUT
    )
    stdout, stderr = await process.communicate()
    lines = stdout.decode().strip().splitlines()
    if not lines:
        raise Broken(f"{module} ended with {process.returncode}: {stderr.decode().strip()[-800:]}")
    document: dict[str, Any] = json.loads(lines[-1])
    return document


def journal_of(scene: Scene, ticket_id: str) -> Journal:
    record = scene.record
    return Journal(ticket_id, ledger=record.ledger, blobs=record.blobs, clock=record.clock)
