"""Where ports meet adapters: the only place. Builds what the processes run on; decides and does nothing itself.

Adapters are imported where they are built: a command that only reads the ledger starts in a third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import harness
from harness.adapters import declarations
from harness.adapters.clock import SystemClock
from harness.agent.runbook import Runbook
from harness.core.errors import Retryable
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest
from harness.core.policy import Profile, Registry
from harness.core.slo import Slo
from harness.ports import Checks, Clock, Metrics, Nodes, Repository, Router
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.adapters.node.agent import NodeAgent
    from harness.adapters.temporal import Client
    from harness.ledger.blobs import Blobs
    from harness.ledger.store import Ledger

CHECKOUT = Path(harness.__file__).resolve().parent.parent


@dataclass(frozen=True)
class Rules:
    """What the harness acts by: declarations of this checkout, and their digest, which every decision names."""

    service: str
    slos: tuple[Slo, ...]
    invariants: tuple[Invariant, ...]
    runbooks: tuple[Runbook, ...]
    profile: Profile
    digest: str


def read_rules(checkout: Path = CHECKOUT) -> Rules:
    """Every declaration, checked. Raises Invalid with a line for every fault."""
    windows = declarations.load_windows(checkout / "slos" / "windows")
    books = sorted((checkout / "runbooks").glob("*.yaml"))
    registry = checkout / "policies" / "services.yaml"
    (registered,) = Registry.parse(declarations.read_yaml(registry), str(registry)).services
    profile = checkout / "policies" / "profiles" / f"{registered.profile}.yaml"
    files = sorted(
        path
        for folder in ("slos", "invariants", "runbooks", "policies")
        for path in (checkout / folder).rglob("*.yaml")
    )
    return Rules(
        service=registered.service,
        slos=declarations.load_slos(checkout / "slos", windows),
        invariants=declarations.load_invariants(checkout / "invariants"),
        runbooks=tuple(Runbook.parse(declarations.read_yaml(path), str(path)) for path in books),
        profile=Profile.parse(declarations.read_yaml(profile), str(profile)),
        digest=sha256(b"".join(path.read_bytes() for path in files)).hexdigest(),
    )


@dataclass(frozen=True)
class Record:
    """The ledger with its blobs, for whoever reads or appends."""

    ledger: Ledger
    blobs: Blobs
    clock: Clock


def read_record(settings: Settings) -> Record:
    """The ledger of these settings. Raises Retryable where there is none: an empty one would look healthy."""
    if settings.given_ledger_url is None and not settings.home.ledger.exists():
        raise Retryable(f"{settings.home.ledger}: no ledger is here yet; `harness demo` or `harness up` makes one")
    return open_record(settings)


def open_record(settings: Settings) -> Record:
    """The ledger of these settings; made where there is none."""
    from harness.ledger.blobs import Blobs
    from harness.ledger.store import Ledger

    clock = SystemClock()
    settings.home.root.mkdir(parents=True, exist_ok=True)
    return Record(Ledger.open(settings.ledger_url, now=clock.now), Blobs(settings.home.blobs), clock)


@dataclass(frozen=True)
class Harness:
    """Everything that the worker's activities call stages with."""

    record: Record
    rules: Rules
    agent: str
    metrics: Metrics
    nodes: Nodes
    router: Router
    repository: Repository
    checks: Checks

    def manifest(self) -> Manifest:
        """The service's manifest, as of main."""
        return self.repository.manifest(self.repository.main())


def build_harness(settings: Settings, client: Client) -> Harness:
    """The ports of the worker process. Raises Retryable when the stack was never started here."""
    from harness.adapters.checks import SandboxedChecks
    from harness.adapters.envoy.router import EnvoyRouter
    from harness.adapters.envoy.routes import EnvoyRoutes
    from harness.adapters.prometheus import PrometheusMetrics
    from harness.adapters.releases import ReleaseStore
    from harness.adapters.sandbox import Sandbox
    from harness.adapters.stack.components import NODES
    from harness.adapters.temporal import TemporalNodes
    from harness.adapters.worktree import ServiceRepository

    home, addresses = settings.home, settings.addresses
    record, rules = open_record(settings), read_rules()
    bare = home.repos / f"{rules.service}.git"
    repository = ServiceRepository(bare, home.worktrees)
    sandbox = Sandbox(home=home, clock=record.clock)
    return Harness(
        record=record,
        rules=rules,
        agent=settings.harness_agent,
        metrics=PrometheusMetrics(settings.prometheus_url),
        nodes=TemporalNodes(client, NODES),
        router=EnvoyRouter(EnvoyRoutes(home.envoy, addresses.url("envoy_admin"))),
        repository=repository,
        checks=SandboxedChecks(
            sandbox=sandbox, releases=ReleaseStore(home=home, repository=bare), repository=repository,
            scratch=home.worktrees,
        ),
    )  # fmt: skip


def build_node(settings: Settings, name: str) -> NodeAgent:
    """A node's agent: it has no ledger."""
    from harness.adapters.envoy.routes import EnvoyRoutes
    from harness.adapters.node.agent import NodeAgent
    from harness.adapters.releases import ReleaseStore
    from harness.adapters.sandbox import Sandbox

    home, addresses = settings.home, settings.addresses
    clock = SystemClock()
    return NodeAgent(
        name,
        home=home,
        releases=ReleaseStore(home=home, repository=home.repos / f"{read_rules().service}.git"),
        sandbox=Sandbox(home=home, clock=clock),
        routes=EnvoyRoutes(home.envoy, addresses.url("envoy_admin")),
        clock=clock,
    )
