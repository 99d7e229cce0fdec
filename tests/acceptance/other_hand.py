"""The other hand: installs a fault and takes it back as an operator would, through the nodes' API. Asks no harness."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from temporalio.client import Client

from scenarios import driver
from tests.acceptance.newcomer import ROOT
from tests.acceptance.outside import Outside

NODES = ["n1", "n2", "n3"]
INCIDENT = ROOT / "scenarios" / "latency-regression.yaml"
SOMEBODY = ("-c", "user.name=Ines Falk", "-c", "user.email=ines.falk@example.org")


class OtherHand:
    """Somebody with access to the repository and the nodes of the home that ``outside`` looks at."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._temporal = outside.url("temporal").removeprefix("http://")

    def installs_the_fault(self, seed: int) -> str:
        """Run the driver of the incident; the commit that every node serves then."""
        words: list[str | Path] = [
            "--incident", INCIDENT, "--seed", str(seed), "--base", self._outside.git("rev-parse", "refs/tags/shipped"),
            "--repository", self._outside.repository, "--temporal", self._temporal, "--nodes", *NODES,
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "scenarios.driver", *words], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"the driver ended with {done.returncode}: {done.stdout}{done.stderr}"
        release: str = json.loads(done.stdout.splitlines()[-1])["release"]
        return release

    def takes_back(self, commit: str) -> str:
        """The reference fix: ``git revert`` on main, rolled out to every node; the commit that they serve then."""
        with tempfile.TemporaryDirectory(prefix="fix-") as folder:
            tree = Path(folder, "tree")
            self._outside.git("worktree", "add", "--quiet", "--detach", str(tree), "refs/heads/main")
            subprocess.run(
                ["git", "-C", tree, *SOMEBODY, "revert", "--no-edit", commit], check=True, capture_output=True
            )
            fixed = subprocess.run(
                ["git", "-C", tree, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
            ).stdout.strip()
            self._outside.git("worktree", "remove", "--force", str(tree))
        self._outside.git("update-ref", "refs/heads/main", fixed)
        answers = asyncio.run(self._rolls_out(fixed))
        assert all(answer["ok"] for answer in answers), answers
        return fixed

    def reports(self) -> list[dict[str, Any]]:
        """Every node's account of itself."""
        return asyncio.run(self._reports())

    async def _rolls_out(self, commit: str) -> list[dict[str, Any]]:
        client = await Client.connect(self._temporal)
        return await driver.roll_out(client, NODES, commit, await driver.highest_token(client, NODES))

    async def _reports(self) -> list[dict[str, Any]]:
        return await driver.reports(await Client.connect(self._temporal), NODES)
