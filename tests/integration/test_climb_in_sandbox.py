"""The climb over the real service in real sandboxes: a value that stands well stays. No stack runs."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from harness.adapters.clock import SystemClock
from harness.adapters.stack.home import Home
from harness.adapters.stack.prepare import make_service_repositories
from harness.agent.desk import Desk
from harness.agent.runbook import choose, next_action
from harness.agent.toolbox import call, effect_of
from harness.bootstrap import build_checks, read_repository, read_rules
from harness.core import events as e
from harness.core.action import Action, Observation, Turn
from harness.core.ids import ticket_stream
from harness.core.record import StreamWrite
from harness.core.tunable import with_value
from harness.journal import HARNESS, Journal, encode
from harness.settings import Settings
from harness.simulation.ledger import MemoryBlobs, MemoryLedger
from tests.acceptance.newcomer import ROOT
from tests.integration.test_node_sandbox import needs_bubblewrap

pytestmark = [pytest.mark.alone, needs_bubblewrap]
RULES = read_rules()
TUNABLE = "answers-per-connection"
FACTS = {"id": "INF-1", "signal": TUNABLE, "failed_count": 0, "story": "Nothing was tried before."}


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Those of a home that has the service's repository, and nothing that runs."""
    with tempfile.TemporaryDirectory(prefix="home-") as folder:
        Path(folder).chmod(0o755)
        make_service_repositories(Home(Path(folder)), ROOT)
        yield Settings.model_validate({"HARNESS_HOME": folder})


class Session:
    """An attempt on a commit, by the default agent: what it did, one action after the other."""

    def __init__(self, settings: Settings, value: int) -> None:
        self.repository = read_repository(settings, RULES)
        main = self.repository.main()
        self.manifest = self.repository.manifest(main)
        tunable = self.manifest.tunable(TUNABLE)
        self.base = main
        if value != 1000:
            text = with_value(self.repository.read(main, tunable.file), tunable.file, tunable.key, value)
            self.base = self.repository.write(tunable.file, text, main, f"people-{value}", f"people/{value}", "Set it")
        clock = SystemClock()
        ledger, blobs = MemoryLedger(now=clock.now), MemoryBlobs()
        filed = e.TicketFiled(
            ticket_id="INF-1", type="improvement", service=self.manifest.name, priority="P3", source="opportunity",
            spec=blobs.put_json({}), signal=f"opportunity:{TUNABLE}", signal_began_at=datetime.now(UTC),
        )  # fmt: skip
        history = [
            filed, e.TicketAdmitted(policy="", criteria=(), sick=(), attempts_allowed=1),
            e.AttemptStarted(attempt=1, agent="runbook", runbook="better-setting", base=self.base),
        ]  # fmt: skip
        new = [
            encode(f"{number}", event, clock=clock, actor=HARNESS, correlation="INF-1", cause=None)
            for number, event in enumerate(history)
        ]
        ledger.append([StreamWrite(ticket_stream("INF-1"), 0, new)])
        self.journal = Journal("INF-1", ledger=cast(Any, ledger), blobs=cast(Any, blobs), clock=clock)
        self.checks = build_checks(settings, RULES, self.repository, clock)

    async def run(self) -> list[Turn]:
        """Every turn up to the one that ends the session, which is not taken: its stages are not here."""
        book = choose(RULES.runbooks, f"opportunity:{TUNABLE}", "check_cost")
        assert book is not None
        turns: list[Turn] = []
        while True:
            action = next_action(book, FACTS, turns, {})
            if effect_of(action.tool) == "end":
                return [*turns, Turn(action, Observation(ok=True, body={}))]
            turns.append(Turn(action, await self._seen(action, len(turns), turns)))

    async def _seen(self, action: Action, step: int, turns: list[Turn]) -> Observation:
        if action.tool == "service_health":  # the nodes of a stack are not here either
            return Observation(ok=True, body={"unhealthy": [], "unhealthy_count": 0})
        nothing: Any = None
        desk = Desk(
            journal=self.journal, manifest=self.manifest, catalog=RULES.catalog, metrics=nothing, nodes=nothing,
            repository=self.repository, checks=self.checks, spec_digest="",
            splitting=RULES.splitting, key=f"INF-1/1/step-{step}",
            at=next((turn.observation.commit for turn in turns[::-1] if turn.observation.commit), self.base),
        )  # fmt: skip
        return await call(action, desk)


def test_where_the_service_stands_well_no_other_value_wins(settings: Settings) -> None:
    turns = asyncio.run(Session(settings, 1000).run())
    assert turns[-1].action.tool == "nothing_to_change", turns[-1]
    assert all(turn.observation.ok for turn in turns), turns
    compared = [turn.observation.body for turn in turns if turn.action.tool == "compare_values"]
    assert compared and all(len(one["repetitions"]["challenger"]) == 7 for one in compared)
