"""Specifies what Envoy is told, as far as no Envoy is needed to see it. Touches nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import pytest

from harness.adapters.envoy import config
from harness.adapters.envoy.config import Endpoint, Ports
from harness.core.errors import Invalid

XDS = PurePath("/home/harness/envoy/xds")


def test_every_resource_is_watched_in_a_folder_of_its_own() -> None:
    bootstrap = json.loads(config.bootstrap(ports=Ports(1, 2, 3), xds_dir=XDS, ops_sockets={"n1": "/s/n1.sock"}))

    watched = sorted(found(bootstrap, "watched_directory"), key=str)
    assert watched == sorted(({"path": f"{XDS}/{resource}"} for resource in config.RESOURCES), key=str)
    assert len(watched) == 4


def found(document: Any, key: str) -> Iterator[Any]:
    """Every value under ``key``, wherever it stands."""
    if isinstance(document, dict):
        yield from (value for name, value in document.items() if name == key)
    if isinstance(document, dict | list):
        for value in document.values() if isinstance(document, dict) else document:
            yield from found(value, key)


def test_the_arms_stand_in_the_order_in_which_shares_only_grow_into_stable() -> None:
    resource = config.routes("v", {"canary": 100, "baseline": 50})

    assert list(config.weights_in(resource).items()) == [("canary", 100), ("stable", 850), ("baseline", 50)]


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"canary": 100}, "needed are canary and baseline"),
        ({"canary": 100, "baseline": 100, "stable": 800}, "needed are canary and baseline"),
        ({"canary": -1, "baseline": 0}, "0 or more"),
        ({"canary": 600, "baseline": 401}, "at most 1000"),
    ],
)
def test_shares_that_cannot_be_are_refused(weights: dict[str, int], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        config.routes("v", weights)


def test_endpoints_come_back_as_they_were_given() -> None:
    members = (Endpoint("n1", "/s/a.sock"), Endpoint("n", "/s/b.sock", "DRAINING"))

    resource = json.loads(json.dumps(config.endpoints("stable", "v", members)))

    assert config.endpoints_in(resource) == members


@pytest.mark.parametrize(
    ("node", "socket", "state", "reason"),
    [
        ("N 1", "/s/a.sock", "HEALTHY", "no node name"),
        ("n1", "a.sock", "HEALTHY", "must be absolute"),
        ("n1", "/" + "s" * 107, "HEALTHY", "at most 107 bytes"),
        ("n1", "/s/a.sock", "UP", "allowed are HEALTHY and DRAINING"),
    ],
)
def test_an_endpoint_that_envoy_could_not_use_is_refused(node: str, socket: str, state: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        Endpoint(node, socket, state)


def test_a_cluster_that_does_not_stand_is_refused_with_those_that_do() -> None:
    with pytest.raises(Invalid, match=r"'canry' .* canary, stable, baseline"):
        config.endpoints_of("canry")


def test_a_relative_folder_is_refused() -> None:
    with pytest.raises(Invalid, match="relative"):
        config.bootstrap(ports=Ports(1, 2, 3), xds_dir=PurePath("var/envoy"), ops_sockets={})
