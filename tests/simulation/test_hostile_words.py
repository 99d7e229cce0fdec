"""What people and models say to be obeyed, through a whole ticket: recorded and told, and nothing else comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cli.summary import rendered, week_document
from harness.cli.ticket import explanation
from harness.core.lifecycle import State
from harness.core.plain_text import storable
from harness.core.week import Week
from harness.simulation.clock import START, run
from tests.hostile import HOSTILE, OBEYED
from tests.models.endpoint import Call, Say, Step, serving
from tests.models.endpoint import Endpoint as Served
from tests.models.scripted import answers, briefing, worked_by
from tests.simulation.test_by_hand import quiet

ALL = " ".join(text[:300] for text in HOSTILE.values())
FILED = ALL.encode(errors="replace").decode()
"""A file with half a character in it is refused, with its place."""


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_hostile_words_of_a_person_and_a_model_go_through_a_ticket_as_words(provider: str) -> None:
    def mind(request: dict[str, Any]) -> Step:
        told, said = briefing(request), answers(request)
        assert not OBEYED.search(told)
        assert told.count("</data>") == told.count('<data origin="')
        if not said:
            change = {"path": "notes.txt", "text": ALL, "why": ALL}
            return Say(ALL, (Call("write_file", change), Call(f"no tool {ALL[:40]}", {})))
        return Say(ALL, (Call("call_for_help", {"question": ALL}),))

    async def story(served: Served) -> None:
        operations = await quiet()
        worked_by(operations, served, provider)
        operations.file(objective={"description": FILED[:2000]}, context={"notes": FILED}, labels={"team": FILED[:200]})
        await operations.watch(lambda: operations.state("INF-1") is State.ESCALATED)
        assert operations.question() == storable(ALL)
        await operations.tell("cancel", "INF-1", text=ALL)
        commits = operations.world.repository._commits.values()
        written = [commit.message for commit in commits if "Agent:" in commit.message]
        assert written and not any(OBEYED.search(message) for message in written)
        record = operations.harness.record
        for one in explanation(record, operations.ticket("INF-1"))["decisions"]:
            assert not OBEYED.search(one["why"]) and "\n" not in one["why"]
        for form in ("md", "html"):
            assert not OBEYED.search(rendered(week_document(record, Week.of(START)), form))  # type: ignore[arg-type]

    with serving(mind) as served:
        run(story(served))
