"""What the stack is made of, and which ports it takes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from harness.adapters.stack.addresses import PORT_NAMES, Addresses, choose_addresses, choose_ports
from harness.adapters.stack.components import NAMES, Wanted, stack_plan
from harness.adapters.stack.home import Home
from harness.adapters.stack.machines import FIRST
from harness.adapters.stack.plan import Component, Plan, Ready
from harness.adapters.stack.programs import Programs
from harness.core.errors import Broken

PORTS = {name: 20_000 + n for n, name in enumerate(PORT_NAMES)}


def plan(*, own_temporal: bool = True, own_prometheus: bool = True) -> Plan:
    addresses = Addresses(
        temporal="127.0.0.1:20000" if own_temporal else "temporal.example.org:7233",
        temporal_namespace="default",
        prometheus="http://127.0.0.1:20002" if own_prometheus else "http://metrics.example.org/prometheus",
        ports=PORTS,
        sockets="/tmp/h-00000000",
    )
    return stack_plan(
        Wanted(
            home=Home(Path("/home/var")),
            addresses=addresses,
            programs=Programs(python="python", temporal="temporal", prometheus="prometheus"),
            checkout=Path("/checkout"),
            envoy_command=["envoy"],
            prometheus_config=Path("/home/var/prometheus/prometheus.json"),
            agent="runbook",
            own_temporal=own_temporal,
            own_prometheus=own_prometheus,
        )
    )


def test_the_stack_has_every_part_and_starts_each_after_what_it_needs() -> None:
    components = plan().with_nodes(FIRST)
    assert tuple(component.name for component in components) == NAMES
    for n, component in enumerate(components):
        assert set(component.depends_on) <= set(NAMES[:n])


def test_every_part_proves_that_it_serves() -> None:
    assert all(part.ready.url or part.ready.announced for part in plan().with_nodes(FIRST))


def test_no_part_is_told_to_listen_beyond_this_machine() -> None:
    words = " ".join(word for part in plan().with_nodes(FIRST) for word in part.argv)
    assert "0.0.0.0" not in words
    assert "--ip 127.0.0.1" in words


def test_parts_of_somebody_else_are_used_and_not_started() -> None:
    # given a Temporal and a Prometheus of somebody else
    theirs = plan(own_temporal=False, own_prometheus=False)

    # then neither is started, nothing waits for them, and everyone is told where they are
    assert {part.name for part in theirs.with_nodes(FIRST)} == set(NAMES) - {"temporal", "prometheus"}
    assert {(part.name, part.address, part.variable) for part in theirs.external} == {
        ("temporal", "temporal.example.org:7233", "TEMPORAL_ADDRESS"),
        ("prometheus", "metrics.example.org:80", "PROMETHEUS_URL"),
    }
    worker = next(part for part in theirs.components if part.name == "worker")
    assert worker.depends_on == ()
    assert worker.env["TEMPORAL_ADDRESS"] == "temporal.example.org:7233"


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = plan(own_prometheus=False)
    written.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == written
    assert Plan.read(tmp_path / "none.json") is None


def test_a_part_that_needs_one_after_it_is_a_mistake() -> None:
    first = Component(name="first", argv=("true",), ready=Ready(), depends_on=("second",))
    with pytest.raises(AssertionError, match=r"first: depends on \['second'\]"):
        Plan(components=(first, Component(name="second", argv=("true",), ready=Ready())))


def test_a_port_of_last_time_is_kept_and_only_a_missing_one_is_chosen() -> None:
    kept = {name: port for name, port in PORTS.items() if name != "prometheus"}
    assert choose_ports(kept, first=25_000, free=lambda port: True) == {**PORTS, "prometheus": 25_000}


def test_new_ports_are_free_all_differ_and_wrap_round_at_the_end_of_the_span() -> None:
    chosen = choose_ports({"worker_metrics": 20_002}, first=29_998, free=lambda port: port != 20_001)
    assert sorted(chosen.values()) == [
        20_000, 20_002, 20_003, 20_004, 20_005, 20_006, 20_007, 29_998, 29_999,
    ]  # fmt: skip


def test_a_machine_without_free_ports_is_said_so() -> None:
    with pytest.raises(Broken, match="temporal: no free port"):
        choose_ports({}, first=20_000, free=lambda port: False)


def test_a_port_that_somebody_else_took_is_chosen_anew(tmp_path: Path) -> None:
    # given the addresses of a stack that does not run, and one of its ports in other hands since
    home = Home(tmp_path)
    home.run.mkdir()

    def choose() -> Addresses:
        return choose_addresses(home, sockets=tmp_path, temporal=None, namespace="default", prometheus=None)

    before = choose()
    before.write(home)
    with socket.create_server(("127.0.0.1", before.ports["prometheus"])):
        # when they are chosen again
        after = choose()

    # then that one has changed, and no other
    assert {name for name in PORT_NAMES if before.ports[name] != after.ports[name]} == {"prometheus"}
    assert after.prometheus == f"http://127.0.0.1:{after.ports['prometheus']}"
