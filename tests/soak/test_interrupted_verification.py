"""An improvement is verified for a minute when a machine dies: its verification is interrupted, and done anew. Live.

The worker is killed in between.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from scenarios.machines import power_off
from tests.acceptance.homes import home_at
from tests.acceptance.newcomer import Newcomer
from tests.acceptance.other_hand import SOMEBODY
from tests.acceptance.outside import Outside, Row

WITHIN_S = 420.0
POLL_S = 0.5
Record = Callable[[str, object], None]


def by_then(what: str, holds: Callable[[], bool]) -> None:
    """Wait until it holds; it has to within a while."""
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {what}"
        time.sleep(POLL_S)


def events(outside: Outside, ticket_id: str) -> list[Row]:
    return [row for row in outside.rows() if row.stream == f"ticket-{ticket_id}"]


def happened(outside: Outside, ticket_id: str, kind: str) -> bool:
    return any(row.type == kind for row in events(outside, ticket_id))


def a_harmless_commit(outside: Outside) -> str:
    """On a branch of its own: a line more in a page."""
    with tempfile.TemporaryDirectory(prefix="change-") as folder:
        tree = Path(folder, "tree")
        outside.git("worktree", "add", "--quiet", "--detach", str(tree), "refs/heads/main")
        page = tree / "README.md"
        page.write_text(page.read_text() + "\nQuestions: ask the team that is on duty.\n")
        subprocess.run(["git", "-C", tree, *SOMEBODY, "commit", "-qam", "Say whom to ask"], check=True)
        commit = subprocess.run(
            ["git", "-C", tree, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()
        outside.git("worktree", "remove", "--force", str(tree))
    outside.git("update-ref", "refs/heads/whom-to-ask", commit)
    return commit


def state(newcomer: Newcomer, ticket_id: str) -> str:
    return str(newcomer.types("ticket", "show", ticket_id, "--json").document["state"])


@pytest.mark.timeout(1800)
def test_a_lost_machine_interrupts_the_verification_of_an_improvement(tmp_path: Path, record_property: Record) -> None:
    with home_at(tmp_path / "home") as newcomer:
        # given an improvement of a person, which is served and verified for a minute
        up = newcomer.types("up", timeout_s=180)
        assert up.code == 0, up.stderr[-2000:]
        outside = Outside(newcomer.home)
        by_then("every node was seen", lambda: sum(row.type == "ReleaseObserved" for row in outside.rows()) >= 3)
        words = ("--change", a_harmless_commit(outside), "--priority", "P3", "--accept", "slow_share < 10% for 60s")
        filed = newcomer.types("ticket", "file", *words)
        assert filed.code == 0, filed.stderr
        by_then("INF-1 is verified", lambda: happened(outside, "INF-1", "ReleaseDeployed"))

        # when a machine dies, and then the worker, as soon as the other ticket has the lock
        power_off(newcomer.home, "n2")
        by_then("it is interrupted", lambda: happened(outside, "INF-1", "VerificationInterrupted"))
        os.kill(int((newcomer.home / "run" / "worker.pid").read_text().split()[0]), signal.SIGKILL)
        ended = {"resolved", "escalated", "cancelled"}
        by_then("both end", lambda: {state(newcomer, "INF-1"), state(newcomer, "INF-2")} <= ended)

        # then the machine was replaced first, and the verification was interrupted once and done anew afterwards
        assert (state(newcomer, "INF-1"), state(newcomer, "INF-2")) == ("resolved", "resolved")
        own, others = events(outside, "INF-1"), events(outside, "INF-2")
        [interrupted] = [row for row in own if row.type == "VerificationInterrupted"]
        assert interrupted.data["by"] == "INF-2"
        [_, again] = [row for row in own if row.type == "LockAcquired"]
        [repaired] = [row for row in others if row.type == "CriteriaMet"]
        [met] = [row for row in own if row.type == "CriteriaMet"]
        assert interrupted.position < repaired.position < again.position < met.position
        begins = [datetime.fromisoformat(one["measured"]["window_from"]) for one in met.data["criteria"]]
        assert min(begins) >= again.at
        # and every delivery had a token of its own
        tokens = [row.data["token"] for row in sorted([*own, *others], key=lambda row: row.position)
                  if row.type == "LockAcquired"]  # fmt: skip
        assert tokens == [1, 3, 5]
        assert newcomer.types("ledger", "verify").code == 0
        record_property("fault_to_replaced_s", round((repaired.at - others[0].at).total_seconds(), 1))
        record_property("interrupted_to_verified_s", round((met.at - interrupted.at).total_seconds(), 1))
