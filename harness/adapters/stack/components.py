"""Lists what the local stack is made of: command lines, order, evidence of serving. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.adapters.stack.addresses import LOOPBACK, Addresses
from harness.adapters.stack.home import Home
from harness.adapters.stack.machines import FIRST
from harness.adapters.stack.plan import NODES, Component, External, Plan, Ready
from harness.adapters.stack.programs import Programs

NAMES = ("temporal", "prometheus", "envoy", "worker", "api", *(f"node-{node}" for node in FIRST), "traffic")
"""The components of a home at its first start."""
TRAFFIC_RATE_PER_S = 400
TRAFFIC_KEYS = 4_000
SEARCH_ATTRIBUTE = "TicketState"
PROMETHEUS_RETENTION = "30d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a plan is made from. ``envoy_command`` and ``prometheus_config`` come from their own adapters."""

    home: Home
    addresses: Addresses
    programs: Programs
    checkout: Path
    envoy_command: Sequence[str]
    prometheus_config: Path
    agent: str
    own_temporal: bool = True
    own_prometheus: bool = True


def stack_plan(wanted: Wanted) -> Plan:
    """Every component, and what runs on each machine; a Temporal or Prometheus of somebody else is external."""
    own = [_envoy(wanted)]
    external = []
    if wanted.own_prometheus:
        own.insert(0, _prometheus(wanted))
    else:
        address = wanted.addresses.prometheus.split("://", 1)[-1].split("/", 1)[0]
        external.append(External(name="prometheus", address=_with_port(address), variable="PROMETHEUS_URL"))
    if wanted.own_temporal:
        own.insert(0, _temporal(wanted))
    else:
        external.append(External(name="temporal", address=wanted.addresses.temporal, variable="TEMPORAL_ADDRESS"))
    components = (*own, _worker(wanted), _api(wanted), _traffic(wanted))
    return Plan(components=components, external=tuple(external), node=_node(wanted))


def _temporal(wanted: Wanted) -> Component:
    addresses = wanted.addresses
    rpc, http = addresses.ports["temporal"], addresses.ports["temporal_http"]
    namespace = addresses.temporal_namespace
    argv = [
        *(wanted.programs.temporal, "server", "start-dev", "--headless"),
        *("--ip", LOOPBACK, "--port", str(rpc), "--http-port", str(http)),
        *("--namespace", namespace, "--db-filename", str(wanted.home.temporal)),
        *("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1"),
        # Without these two every hop of a task through the server waits 50 ms for its next poll.
        *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=1000"),
        *("--dynamic-config-value", "history.timerProcessorMaxPollRPS=1000"),
        # Without this every timer below a second takes a whole one (0.3 s took 1.00 s, with it 0.32 s).
        *("--dynamic-config-value", 'history.timerProcessorMaxTimeShift="20ms"'),
        # An attribute that is not registered makes its workflow task fail and retry for ever.
        *("--search-attribute", f"{SEARCH_ATTRIBUTE}=Keyword"),
    ]
    return Component(
        name="temporal",
        argv=tuple(argv),
        # Asks for the namespace and gets what was registered in it: more than an open port.
        ready=Ready(
            ports=(rpc, http),
            url=f"{addresses.url('temporal_http')}/api/v1/namespaces/{namespace}/search-attributes",
            contains=SEARCH_ATTRIBUTE,
        ),
        url=addresses.temporal,
    )


def _prometheus(wanted: Wanted) -> Component:
    port = wanted.addresses.ports["prometheus"]
    argv = [
        wanted.programs.prometheus,
        f"--config.file={wanted.prometheus_config}",
        f"--storage.tsdb.path={wanted.home.prometheus / 'data'}",
        f"--storage.tsdb.retention.time={PROMETHEUS_RETENTION}",
        f"--web.listen-address={LOOPBACK}:{port}",
        *("--web.enable-lifecycle", "--log.level=warn"),
    ]
    url = wanted.addresses.url("prometheus")
    return Component(name="prometheus", argv=tuple(argv), ready=Ready(ports=(port,), url=f"{url}/-/ready"), url=url)


def _envoy(wanted: Wanted) -> Component:
    ports = wanted.addresses.ports
    return Component(
        name="envoy",
        argv=tuple(wanted.envoy_command),
        ready=Ready(
            ports=(ports["envoy_in"], ports["envoy_ops"], ports["envoy_admin"]),
            url=f"{wanted.addresses.url('envoy_admin')}/ready",
        ),
        url=wanted.addresses.url("envoy_in"),
    )


def _worker(wanted: Wanted) -> Component:
    return Component(
        name="worker",
        argv=(wanted.programs.python, "-m", "workflows.worker"),
        env={**_python_env(wanted), "HARNESS_AGENT": wanted.agent},
        ready=Ready(announced=True),
        depends_on=_own_temporal(wanted),
        url=wanted.addresses.url("worker_metrics"),
    )


def _api(wanted: Wanted) -> Component:
    port, url = wanted.addresses.ports["api"], wanted.addresses.url("api")
    argv = (wanted.programs.python, "-m", "harness.cli", "serve", "--host", LOOPBACK, "--port", str(port))
    return Component(
        name="api",
        argv=argv,
        env=_python_env(wanted),
        ready=Ready(ports=(port,), url=f"{url}/readyz"),
        url=url,
    )


def _node(wanted: Wanted) -> Component:
    return Component(
        name="node-{node}",
        argv=(wanted.programs.python, "-m", "workflows.node", "--name", "{node}"),
        env=_python_env(wanted),
        ready=Ready(announced=True),
        depends_on=(*_own_temporal(wanted), "envoy"),
        url=f"{wanted.addresses.url('envoy_ops')}/{{node}}/",
    )


def _traffic(wanted: Wanted) -> Component:
    metrics = wanted.addresses.ports["traffic_metrics"]
    argv = [
        *(wanted.programs.python, "-m", "traffic", "--url", wanted.addresses.url("envoy_in")),
        *("--metrics", f"{LOOPBACK}:{metrics}"),
        *("--contract", str(wanted.checkout / "services" / "traffic" / "contract.yaml")),
        *("--rate", str(TRAFFIC_RATE_PER_S), "--keys", str(TRAFFIC_KEYS)),
    ]
    url = f"{wanted.addresses.url('traffic_metrics')}/metrics"
    return Component(
        name="traffic",
        argv=tuple(argv),
        env=_python_env(wanted),
        ready=Ready(ports=(metrics,), url=url),
        # Requests before there is a release behind Envoy would all count as errors.
        depends_on=("envoy", NODES),
        url=url,
    )


def _python_env(wanted: Wanted) -> dict[str, str]:
    return {
        "TEMPORAL_ADDRESS": wanted.addresses.temporal,
        "TEMPORAL_NAMESPACE": wanted.addresses.temporal_namespace,
        "PROMETHEUS_URL": wanted.addresses.prometheus,
        "PYTHONUNBUFFERED": "1",  # or the last lines of a log are lost with the process
    }


def _own_temporal(wanted: Wanted) -> tuple[str, ...]:
    return ("temporal",) if wanted.own_temporal else ()


def _with_port(address: str) -> str:
    return address if ":" in address else f"{address}:80"
