"""The probe for correctness on real trees: this one keeps what was promised, others fail or deny. Starts each tree."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.alone

SERVICES = Path(__file__).parents[2] / "services"
TREE = SERVICES / "ratelimiter"
HANGS_UP = """
import socket
server = socket.socket(socket.AF_UNIX)
server.bind("s")
server.listen(512)
while True:
    server.accept()[0].close()
"""


def probe(tree: Path) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, TREE / "probes" / "correctness.py", tree]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, json.loads(ended.stdout)


def a_tree(folder: Path, *, program: str | None = None, limit: str = "rate: 44/1m, burst: 10") -> Path:
    """This tree with another limit, or with another program in its place."""
    shutil.copytree(TREE / "src", folder / "src")
    if program is not None:
        (folder / "src" / "ratelimiter" / "__main__.py").write_text(program)
    (folder / "limits.yaml").write_text(f"limits: [{{name: api_default, algorithm: gcra, {limit}}}]")
    return folder


def test_this_tree_keeps_what_was_promised() -> None:
    assert probe(TREE) == (0, {"failing_keys": [0.0], "wrongly_denied_keys": [0.0], "ok": True})


@pytest.mark.parametrize("limit", ["rate: 44/1m, burst: 8", "rate: 22/1m, burst: 10"])
def test_a_tree_whose_own_limits_are_lower_denies_what_was_promised(tmp_path: Path, limit: str) -> None:
    assert probe(a_tree(tmp_path, limit=limit)) == (
        0, {"failing_keys": [0.0], "wrongly_denied_keys": [1.0], "ok": True},
    )  # fmt: skip


def test_a_tree_whose_limits_are_higher_is_not_to_blame(tmp_path: Path) -> None:
    code, result = probe(a_tree(tmp_path, limit="rate: 440/1m, burst: 100"))
    assert (code, result["wrongly_denied_keys"]) == (0, [0.0])


def test_a_tree_that_hangs_up_fails_for_every_key(tmp_path: Path) -> None:
    code, result = probe(a_tree(tmp_path, program=HANGS_UP))
    assert (code, result["failing_keys"]) == (0, [1.0])


def test_a_tree_that_does_not_start_is_told_apart(tmp_path: Path) -> None:
    code, result = probe(a_tree(tmp_path, program="raise SystemExit('no luck')"))
    assert (code, result["ok"]) == (3, False)
    assert "no luck" in result["reason"]


def test_traffic_probe_and_live_limits_promise_the_same() -> None:
    files = [SERVICES / "traffic/contract.yaml", TREE / "probes/promised.yaml", TREE / "limits.yaml"]
    contract, probed, live = (yaml.safe_load(path.read_text())["limits"] for path in files)
    assert contract == probed == live
