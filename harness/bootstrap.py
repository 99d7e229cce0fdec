"""Where ports meet adapters: the only place. Builds what the processes run on; decides and does nothing itself.

Adapters are imported where they are built: a command that only reads the ledger starts in a third of the time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

import harness
from harness.adapters import declarations
from harness.adapters.clock import SystemClock
from harness.agent.probe import Report, probe
from harness.agent.runbook import Runbook
from harness.core.anchor import TRAILER, Cited, cited_in
from harness.core.anomaly_policy import Anomalies
from harness.core.contract import Promise, with_promises
from harness.core.deployment import Tells
from harness.core.errors import Invalid, Retryable
from harness.core.invariant import Invariant
from harness.core.manifest import Manifest, with_check_seconds
from harness.core.model_policy import ModelPolicy, Wire
from harness.core.notice import Notifications, Receiver
from harness.core.operation import Catalog
from harness.core.policy import Approvals, Opportunities, Profile, Registration, Registry, Splitting
from harness.core.retention import Retention
from harness.core.slo import Slo, with_objectives
from harness.core.structure import Structural
from harness.operator import Operator
from harness.ports import Checks, Clock, Metrics, Model, NodeProvider, Nodes, Repository, Router
from harness.settings import NO_KEY, ModelAgent, Settings
from harness.structure import Structure

if TYPE_CHECKING:
    from harness.adapters.node.agent import NodeAgent
    from harness.adapters.temporal import Client
    from harness.adapters.webhook import Webhook
    from harness.adapters.worktree import ServiceRepository
    from harness.ledger.door import GuardedBlobs, GuardedLedger

CHECKOUT = Path(harness.__file__).resolve().parent.parent
PROMPTS = Path(harness.__file__).resolve().parent / "agent" / "prompts"


@dataclass(frozen=True)
class Rules:
    """What the harness acts by: declarations of this checkout, and their digest, which every decision names."""

    service: str
    promises: tuple[Promise, ...]
    tells: Tells | None
    """Where a running release says by which configuration it runs."""
    slos: tuple[Slo, ...]
    invariants: tuple[Invariant, ...]
    structural: tuple[Structural, ...]
    """What has to hold of the harness itself."""
    runbooks: tuple[Runbook, ...]
    catalog: Catalog
    profile: Profile
    approvals: Approvals
    anomalies: Anomalies
    opportunities: Opportunities
    splitting: Splitting
    models: ModelPolicy
    retention: Retention
    notifications: Notifications
    prompt: str
    """What a model that works a ticket is told first."""
    digest: str

    def catalog_of(self, manifest: Manifest) -> Manifest:
        """The service's manifest with what users were promised, the objectives that count for themselves, and how long
        its checks run."""
        return with_objectives(with_promises(with_check_seconds(manifest), self.promises), self.slos)


def read_rules() -> Rules:
    """Every declaration, checked. Raises Invalid with a line for every fault."""
    policies, prompt = CHECKOUT / "policies", PROMPTS / "ticket.md"
    registered = read_registered()
    invariants = declarations.load_invariants(CHECKOUT / "invariants")
    files = sorted(
        path
        for folder in ("slos", "invariants", "runbooks", "policies")
        for ending in ("*.yaml", "*.yml")
        for path in (CHECKOUT / folder).rglob(ending)
    )
    return Rules(
        service=registered.service,
        promises=registered.promises,
        tells=registered.tells,
        slos=declarations.load_slos(CHECKOUT / "slos", declarations.load_windows(CHECKOUT / "slos" / "windows")),
        invariants=invariants,
        structural=declarations.load_structural(CHECKOUT / "invariants", [one.name for one in invariants]),
        runbooks=tuple(declarations.load(Runbook, path) for path in sorted((CHECKOUT / "runbooks").glob("*.yaml"))),
        catalog=declarations.load(Catalog, policies / "actions.yaml"),
        profile=declarations.load(Profile, policies / "profiles" / f"{registered.profile}.yaml"),
        approvals=declarations.load(Approvals, policies / "approvals.yaml"),
        anomalies=declarations.load(Anomalies, policies / "anomalies.yaml"),
        opportunities=declarations.load(Opportunities, policies / "opportunities.yaml"),
        splitting=declarations.load(Splitting, policies / "splitting.yaml"),
        models=declarations.load(ModelPolicy, policies / "models.yaml"),
        retention=declarations.load(Retention, policies / "retention.yaml"),
        notifications=declarations.load(Notifications, policies / "notifications.yaml"),
        prompt=prompt.read_text(),
        digest=sha256(b"".join(path.read_bytes() for path in [*files, prompt])).hexdigest(),
    )


def read_registered() -> Registration:
    """The one service that is registered. Raises Invalid."""
    (registered,) = declarations.load(Registry, CHECKOUT / "policies" / "services.yaml").services
    return registered


@dataclass(frozen=True)
class Record:
    """The ledger with its blobs, for whoever reads or appends."""

    ledger: GuardedLedger
    blobs: GuardedBlobs
    clock: Clock


def read_record(settings: Settings) -> Record:
    """The ledger of these settings. Raises Retryable where there is none: an empty one would look healthy."""
    if settings.given_ledger_url is None and not settings.home.ledger.exists():
        raise Retryable(
            f"{settings.home.ledger}: no ledger is here yet; `harness demo` or `harness up` makes one. "
            "One that is elsewhere: HARNESS_HOME names its home, which is ./var where it is not set"
        )
    return open_record(settings)


def open_record(settings: Settings) -> Record:
    """The ledger of these settings; made where there is none."""
    from harness.ledger.bodies import drop_of
    from harness.ledger.door import GuardedBlobs, GuardedLedger

    clock, secrets = SystemClock(), settings.secrets
    settings.home.root.mkdir(parents=True, exist_ok=True)
    ledger = GuardedLedger.guarded(settings.ledger_url, now=clock.now, secrets=secrets)
    blobs = GuardedBlobs(
        settings.home.blobs, drops=partial(drop_of, ledger), ledger=ledger, secrets=secrets, now=clock.now
    )
    return Record(ledger, blobs, clock)


def read_repository(settings: Settings, rules: Rules) -> ServiceRepository:
    """The service's repository in the home. Raises Invalid where there is none."""
    from harness.adapters.worktree import ServiceRepository

    return ServiceRepository(settings.home.repos / f"{rules.service}.git", settings.home.worktrees)


def anchors_in_commits(settings: Settings) -> list[Cited]:
    """The anchors that the harness's own commits carry, in the repositories of this home."""
    from harness.adapters.worktree import ServiceRepository

    return [
        anchor
        for path in sorted(settings.home.repos.glob("*.git"))
        for anchor in cited_in(ServiceRepository(path, settings.home.worktrees).trailers(TRAILER), path.name)
    ]


def read_manifest(settings: Settings, rules: Rules) -> Manifest:
    """The service's manifest, as of main, with all that can be measured of it; that of the checkout, from which main
    is made, where no home is yet."""
    if not (settings.home.repos / f"{rules.service}.git").exists():
        manifest = declarations.load_manifest(CHECKOUT / "services" / rules.service / "service.yaml")
    else:
        repository = read_repository(settings, rules)
        manifest = repository.manifest(repository.main())
    return rules.catalog_of(manifest)


@dataclass(frozen=True)
class Harness:
    """Everything that the worker's activities call stages with."""

    record: Record
    rules: Rules
    agent: str
    metrics: Metrics
    nodes: Nodes
    provider: NodeProvider
    router: Router
    repository: Repository
    checks: Checks
    model: Model | None = None
    """Who thinks for an agent that is a model."""
    structure: Structure | None = None
    """Who looks whether the harness's own invariants hold; None where nobody does."""
    planted: str | None = None
    """Stands in every signal, and in what the first tool of a ticket gives: that it is written nowhere can be seen."""

    def manifest(self) -> Manifest:
        """The service's manifest, as of main, with all that can be measured of it."""
        return self.rules.catalog_of(self.repository.manifest(self.repository.main()))

    def operator(self) -> Operator:
        """What carries a change through its stages."""
        rules = self.rules
        return Operator(
            manifest=self.manifest(), catalog=rules.catalog, promises=rules.promises, slos=rules.slos,
            invariants=rules.invariants, profile=rules.profile, metrics=self.metrics, nodes=self.nodes,
            provider=self.provider, router=self.router, repository=self.repository, checks=self.checks,
        )  # fmt: skip


def build_harness(settings: Settings, client: Client) -> Harness:
    """The ports of the worker process. Raises Retryable when the stack was never started here."""
    from harness.adapters.envoy.router import EnvoyRouter
    from harness.adapters.envoy.routes import EnvoyRoutes
    from harness.adapters.stack.prepare import machines_of
    from harness.adapters.temporal import TemporalNodes

    home, addresses = settings.home, settings.addresses
    record, rules = open_record(settings), read_rules()
    repository = read_repository(settings, rules)
    machines = machines_of(home, addresses)
    router = EnvoyRouter(EnvoyRoutes(home.envoy, addresses.url("envoy_admin")))
    return Harness(
        record=record,
        rules=rules,
        agent=settings.harness_agent,
        metrics=build_metrics(settings),
        nodes=TemporalNodes(client, machines.nodes),
        provider=machines,
        router=router,
        repository=repository,
        structure=Structure(
            record.ledger, repository, router, record.clock, rules.service,
            invariants=[one.name for one in rules.invariants],
        ),
        checks=build_checks(settings, rules, repository, record.clock),
        model=None if settings.harness_agent == "runbook" else build_model(
            settings, settings.harness_agent, rules.models.wire, rules.models
        ),
        planted=settings.test_secret.get_secret_value() if settings.test_secret else None,
    )  # fmt: skip


def build_metrics(settings: Settings) -> Metrics:
    """What is measured of the service."""
    from harness.adapters.prometheus import PrometheusMetrics

    return PrometheusMetrics(settings.prometheus_url)


def build_checks(settings: Settings, rules: Rules, repository: ServiceRepository, clock: Clock) -> Checks:
    """Checks and probes of the service, in the sandbox; needs nothing that runs."""
    from harness.adapters.checks import SandboxedChecks
    from harness.adapters.releases import ReleaseStore
    from harness.adapters.sandbox import Sandbox

    home = settings.home
    return SandboxedChecks(
        sandbox=Sandbox(home=home, clock=clock), scratch=home.worktrees, repository=repository,
        releases=ReleaseStore(home=home, repository=home.repos / f"{rules.service}.git"),
    )  # fmt: skip


def build_model(
    settings: Settings, agent: ModelAgent, bounds: Wire, policy: ModelPolicy, base_url: str | None = None
) -> Model:
    """The model of this agent, at ``base_url`` or where the environment says.

    Raises Invalid when there is neither a key nor an endpoint of one's own, which may need none.
    """
    key, base_url = settings.model_key(agent), base_url or settings.model_base_url(agent)
    if key is None and base_url is None:
        raise Invalid(NO_KEY.format(agent=agent, name=agent.upper()))
    # Here, as each SDK takes a second or two to import, and most processes need none.
    from harness.adapters.models.wire import Endpoint

    endpoint = Endpoint(
        provider=agent, model=settings.harness_model or policy.defaults[agent], base_url=base_url, bounds=bounds,
        key=key or SecretStr("harness-has-no-key"),
    )  # fmt: skip
    if agent == "anthropic":
        from harness.adapters.models.anthropic_messages import AnthropicModel

        return AnthropicModel(endpoint)
    from harness.adapters.models.openai_chat import OpenAIModel

    return OpenAIModel(endpoint)


def build_webhooks(receivers: Iterable[Receiver]) -> list[tuple[Receiver, Webhook]]:
    """Those of the receivers that this environment has an address for. Raises Invalid for one that is none."""
    from harness.adapters.webhook import Webhook

    found = [(receiver, Webhook.of(receiver, os.environ)) for receiver in receivers]
    return [(receiver, webhook) for receiver, webhook in found if webhook]


def build_probe(
    settings: Settings, agent: ModelAgent, base_url: str | None
) -> Callable[[], Coroutine[None, None, Report]]:
    """One fixed session with this agent's model; needs neither a home nor a stack."""
    policy = declarations.load(ModelPolicy, CHECKOUT / "policies" / "models.yaml")
    bounds = policy.wire.model_copy(update={"stall_s": policy.probe.stall_s, "call_s": policy.probe.wall_clock_s})
    model = build_model(settings, agent, bounds, policy, base_url)
    system = (PROMPTS / "probe.md").read_text()
    return lambda: probe(model, SystemClock(), system=system, limits=policy.probe, cost_usd=policy.cost_usd)


def build_node(settings: Settings, name: str) -> NodeAgent:
    """A node's agent: it has no ledger."""
    from harness.adapters.envoy.routes import EnvoyRoutes
    from harness.adapters.node.agent import NodeAgent
    from harness.adapters.releases import ReleaseStore
    from harness.adapters.sandbox import Sandbox

    home, addresses, rules = settings.home, settings.addresses, read_rules()
    clock = SystemClock()
    return NodeAgent(
        name,
        home=home,
        releases=ReleaseStore(home=home, repository=home.repos / f"{rules.service}.git"),
        sandbox=Sandbox(home=home, clock=clock),
        routes=EnvoyRoutes(home.envoy, addresses.url("envoy_admin")),
        clock=clock,
        secrets=settings.secrets,
        tells=rules.tells,
    )
