"""Decides what Prometheus scrapes: makes the text of prometheus.yml. Pure: writes no file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

_SAMPLES_PER_RELEASE = 5000


def prometheus_yml(*, traffic: str, envoy_admin: str, worker: str, api: str, node_targets: str, rules: str) -> str:
    """The configuration, as YAML text; the first four are addresses, ``host:port``, scraped every second.

    ``rules``: the file of alerts about the harness itself.

    Jobs: ``traffic``, ``envoy``, ``worker``, ``api``, and ``nodes``, whose targets are in the file ``node_targets``
    beside it.
    """
    document = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [
            _job("traffic", traffic),
            _job("envoy", envoy_admin, metrics_path="/stats/prometheus"),
            _job("worker", worker),
            _job("api", api),
            # Releases are written by agents: one that floods us with series loses its scrape, not our Prometheus.
            {"job_name": "nodes", "file_sd_configs": [{"files": [node_targets]}], "sample_limit": _SAMPLES_PER_RELEASE},
        ],
    }
    return yaml.safe_dump(document, sort_keys=False)


def node_targets(ops: str, nodes: Sequence[str]) -> str:
    """The targets of the job ``nodes``, as JSON text: the stable release of each node, through the ``ops`` listener,
    told apart by the label ``node``. Target labels win over those of the scraped, so no release can speak for another.
    """
    return json.dumps(
        [{"targets": [ops], "labels": {"node": node, "__metrics_path__": f"/{node}/metrics"}} for node in nodes]
    )


def _job(name: str, address: str, **settings: Any) -> dict[str, Any]:
    return {"job_name": name, **settings, "static_configs": [{"targets": [address]}]}
