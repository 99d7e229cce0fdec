"""The probes measure this tree, and say of other trees that they do not start or do not answer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

TREE = Path(__file__).parents[2]
HANGS_UP = """
import socket
server = socket.socket(socket.AF_UNIX)
server.bind("s")
server.listen()
while True:
    server.accept()[0].close()
"""


def probe(tree: Path, name: str = "latency") -> tuple[int, dict[str, Any]]:
    ended = subprocess.run(
        [sys.executable, TREE / "probes" / f"{name}.py", tree], capture_output=True, text=True, timeout=120, check=False
    )
    return ended.returncode, json.loads(ended.stdout)


def a_tree(folder: Path, program: str) -> Path:
    package = folder / "src" / "ratelimiter"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(program)
    return folder


def test_a_tree_is_measured_by_wall_and_cpu() -> None:
    code, result = probe(TREE)
    assert (code, result["ok"]) == (0, True)
    assert [len(result["wall_ms"]), len(result["cpu_ms"])] == [7, 7]
    assert min(result["wall_ms"] + result["cpu_ms"]) > 0


def test_a_tree_is_measured_by_what_a_check_costs() -> None:
    code, result = probe(TREE, "cost")
    assert (code, result["ok"]) == (0, True)
    assert len(result["cpu_s"]) == 7 and 0 < min(result["cpu_s"]) <= max(result["cpu_s"]) < 0.01


def test_a_tree_that_ends_connections_early_is_measured_all_the_same(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(TREE / "src", tree / "src")
    shutil.copy(TREE / "limits.yaml", tree)
    connection = tree / "src/ratelimiter/connection.py"
    connection.write_text(re.sub(r"(?m)^(ANSWERS_PER_CONNECTION) = \d+", r"\1 = 2", connection.read_text()))
    assert [probe(tree, name)[1]["ok"] for name in ("latency", "cost")] == [True, True]


def test_a_tree_that_does_not_start_is_told_apart(tmp_path: Path) -> None:
    code, result = probe(a_tree(tmp_path, "raise SystemExit('no luck')"))
    assert (code, result["ok"]) == (3, False)
    assert "no luck" in result["reason"]


def test_a_tree_that_does_not_start_has_no_cold_start(tmp_path: Path) -> None:
    code, result = probe(a_tree(tmp_path, "raise SystemExit('no luck')"), "cold_start")
    assert (code, result["ok"]) == (3, False)
    assert "no luck" in result["reason"]


def test_a_tree_that_answers_wrongly_was_measured(tmp_path: Path) -> None:
    code, result = probe(a_tree(tmp_path, HANGS_UP))
    assert (code, result["ok"]) == (0, False)
