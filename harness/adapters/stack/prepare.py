"""Lays out a home before its stack starts: folders, sockets, ports, repositories, configuration. Starts no process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.adapters.envoy import config as envoy_config
from harness.adapters.prometheus_config import node_targets, prometheus_yml
from harness.adapters.stack.addresses import LOOPBACK, Addresses, choose_addresses
from harness.adapters.stack.components import Wanted, stack_plan
from harness.adapters.stack.home import Home
from harness.adapters.stack.machines import LocalMachines
from harness.adapters.stack.plan import Plan
from harness.adapters.stack.programs import find_programs
from harness.adapters.stack.replace import replace_text
from harness.adapters.stack.service_repo import make_service_repository
from harness.adapters.stack.sockets import make_sockets

NODE_TARGETS = "nodes.json"


def prepare(
    home: Home, *, checkout: Path, temporal: str | None, namespace: str, prometheus: str | None, agent: str
) -> Plan:
    """Makes what is missing and returns the plan of the stack. To be called under the stack's lock.

    ``temporal`` (host:port) and ``prometheus`` (URL) name parts that somebody else runs; None lets the stack run them.
    """
    programs = find_programs(own_temporal=temporal is None, own_prometheus=prometheus is None)
    for folder in home.folders():
        folder.mkdir(parents=True, exist_ok=True)
    make_service_repositories(home, checkout)
    places = LocalMachines(home).prepare()
    sockets = make_sockets(home)
    addresses = choose_addresses(home, sockets=sockets, temporal=temporal, namespace=namespace, prometheus=prometheus)
    addresses.write(home)
    return stack_plan(
        Wanted(
            home=home,
            addresses=addresses,
            programs=programs,
            checkout=checkout,
            envoy_command=_prepare_envoy(home, addresses, places),
            prometheus_config=_prepare_prometheus(home, addresses, checkout),
            agent=agent,
            own_temporal=temporal is None,
            own_prometheus=prometheus is None,
        )
    )


def make_service_repositories(home: Home, checkout: Path) -> None:
    """One repository for every ``services/<name>.history`` of the checkout."""
    for history in sorted((checkout / "services").glob("*.history")):
        name = history.stem
        make_service_repository(history=history, folder=history.with_name(name), repository=home.repos / f"{name}.git")


def machines_of(home: Home, addresses: Addresses) -> LocalMachines:
    """The fleet of a home; Prometheus hears of every node that comes or goes by it."""
    ops = f"{LOOPBACK}:{addresses.ports['envoy_ops']}"
    targets = home.prometheus / NODE_TARGETS

    def changed(names: tuple[str, ...]) -> None:
        replace_text(targets, node_targets(ops, names))

    return LocalMachines(home, changed=changed)


def _prepare_envoy(home: Home, addresses: Addresses, places: Sequence[str]) -> list[str]:
    ports = envoy_config.Ports(
        ingress=addresses.ports["envoy_in"], ops=addresses.ports["envoy_ops"], admin=addresses.ports["envoy_admin"]
    )
    ops_sockets = {node: f"{addresses.sockets}/{node}.sock" for node in places}
    bootstrap = home.envoy / "bootstrap.json"
    replace_text(bootstrap, envoy_config.bootstrap(ports=ports, xds_dir=home.envoy, ops_sockets=ops_sockets))
    if not all(Path(envoy_config.resource_file(home.envoy, name)).exists() for name in envoy_config.RESOURCES):
        # Here, as it brings an HTTP client along that a second `harness up` has no use for.
        from harness.adapters.envoy.routes import EnvoyRoutes

        EnvoyRoutes(home.envoy, addresses.url("envoy_admin")).prepare()
    return envoy_config.command(bootstrap)


def _prepare_prometheus(home: Home, addresses: Addresses, checkout: Path) -> Path:
    def host_port(name: str) -> str:
        return f"{LOOPBACK}:{addresses.ports[name]}"

    file = home.prometheus / "prometheus.yml"
    text = prometheus_yml(
        traffic=host_port("traffic_metrics"),
        envoy_admin=host_port("envoy_admin"),
        worker=host_port("worker_metrics"),
        api=host_port("api"),
        node_targets=NODE_TARGETS,
        rules=str(checkout / "policies" / "alerts.yaml"),
    )
    replace_text(file, text)
    replace_text(home.prometheus / NODE_TARGETS, node_targets(host_port("envoy_ops"), LocalMachines(home).nodes()))
    return file
