"""No secret that enters is written anywhere, how many did is on record, and what is not shown is not overwritten."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.cli.summary import rendered, week_document
from harness.cli.trajectory_export import export_atif
from harness.core import events as e
from harness.core.ids import REDACTIONS_STREAM
from harness.core.lifecycle import State
from harness.core.redaction import REDACTED, Secrets
from harness.core.week import Week
from harness.ports import CheckRun
from harness.simulation.checks import MemoryChecks
from harness.simulation.clock import START, run
from harness.simulation.service import Change
from tests.acceptance.searching import Place, found, lines_of, pem
from tests.models.endpoint import Call, Say, Step
from tests.models.scripted import answers, body, submit
from tests.simulation.operations import SLOW, Operations, days_work, incident
from tests.simulation.test_models import played

PLANTED, KEY = 'plånted "secret"/of 1 test', "sk-abc-0123456789-known-by-name"


IN_NOTES, IN_OUTPUT = pem("notes"), pem("output")
VALUES = {"planted": PLANTED, "key": KEY, **lines_of(IN_NOTES), **lines_of(IN_OUTPUT), "password": "hunter2-of-old"}


class Talkative:
    """The modelled checks, which print what they should not."""

    def __init__(self, checks: MemoryChecks, said: str) -> None:
        self._checks, self._said = checks, said
        self.prepare, self.probe = checks.prepare, checks.probe

    async def check(self, name: str, commit: str, base: str) -> CheckRun:
        return replace(await self._checks.check(name, commit, base), output=self._said)


def everything(operations: Operations) -> Iterator[Place]:
    """All that is kept of a modelled world: rows, bodies, messages of commits."""
    for row in operations.ledger.read_all(limit=100_000):
        yield f"row {row.position}", orjson.dumps([row.id, row.stream, row.type, row.actor, row.data])
    yield from operations.blobs._bodies.items()
    for commit in operations.world.repository._commits.values():
        yield commit.id, commit.message.encode()


def counted(operations: Operations) -> Counter[str]:
    rows = operations.ledger.read_stream(REDACTIONS_STREAM)
    return sum((Counter(row.data["found"]) for row in rows), Counter())


def test_what_is_planted_everywhere_is_written_nowhere_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        # given secrets in a signal, in what a tool and the checks say, in a ticket's notes, and in a person's answer
        secrets = Secrets.of({"HARNESS_TEST_SECRET": PLANTED, "SOME_API_KEY": KEY})
        operations = await incident(days_work(4), secrets=secrets)
        checks: Any = Talkative(operations.world.checks, f"F\n{IN_OUTPUT}\n{KEY}")
        operations.harness = replace(operations.harness, planted=PLANTED, checks=checks)
        await operations.settle()
        by_hand = operations.file(context={"notes": f"try with\n{IN_NOTES}"}, objective={"description": f"use {KEY}"})
        await operations.watch(lambda: operations.reached(State.RESOLVED, ticket_id=by_hand))
        other = operations.file(change=operations.world.repository.main())
        await operations.watch(lambda: operations.reached(State.ESCALATED, ticket_id=other))
        await operations.tell("answer", other, text=f"its password=hunter2-of-old and {KEY}", by=f"ada {KEY}")

        # then the incident was repaired as ever, and none of them is anywhere
        assert operations.reached(State.RESOLVED)
        assert found(everything(operations), VALUES) == []
        assert any(REDACTED.encode() in content for _, content in everything(operations))

        # and what was taken out is on record: by name, and the same in the week's summary and in an export
        seen = counted(operations)
        assert seen["HARNESS_TEST_SECRET"] >= 2 and seen["SOME_API_KEY"] >= 4
        assert seen["private-key"] >= 2 and seen["assignment"] >= 1
        monkeypatch.setenv("SOME_API_KEY", KEY)
        record = operations.harness.record
        document = week_document(record, Week.of(START))
        assert document["redaction"] == dict(seen) == dict(sorted(document["redaction"].items()))
        assert f"without {seen.total()} secrets" in rendered(document, "md") + rendered(document, "html")
        manifest = export_atif(record, tmp_path / "out", None)
        assert manifest["redaction"]["before_recording"] == dict(seen) and os.environ["SOME_API_KEY"] == KEY
        exported = ((str(path), path.read_bytes()) for path in (tmp_path / "out").rglob("*.json"))
        assert found(exported, VALUES) == []

    run(story())


SECRETIVE = Change("change-9", SLOW, note="password=hunter2-of-old\n# the end")


def test_what_is_only_not_shown_is_not_overwritten() -> None:
    """A model reads a file that holds a password, and writes it back in every way that would destroy that."""

    def script(request: dict[str, Any]) -> Step:
        said = answers(request)
        read = body(said[0])["text"] if said else ""
        path = {"path": "change-9"}
        turns = [
            ("read_file", path),
            ("write_file", {**path, "text": read.replace("85.0", "1.0"), "why": "the whole file"}),
            ("edit_file", {**path, "find": f"password={REDACTED}", "replace": "x = 1", "why": "its line"}),
            ("edit_file", {**path, "find": "wait_ms = 85.0", "replace": f"y = '{REDACTED}'", "why": "moved"}),
            ("write_file", {"path": "change-8", "text": "password=another-1-of-mine\n", "why": "a new one"}),
            ("search_code", {"text": "password"}),
            ("edit_file", {**path, "find": "wait_ms = 85.0", "replace": "wait_ms = 1.0", "why": "token=abc123def4"}),
        ]  # fmt: skip
        if len(said) < len(turns):
            tool, arguments = turns[len(said)]
            return Say("password=hunter2-of-old", (Call(tool, arguments),))
        return Say("", (submit(),))

    def check(operations: Operations, served: Any) -> None:
        # then each is refused with the way to go on, and the edit beside it goes through
        seen = [one for one in operations.events("ticket-INF-1") if isinstance(one, e.ObservationRecorded)]
        assert [one.ok for one in seen] == [True, False, False, False, False, True, True, True]
        reasons = [operations.blobs.get_json(one.body).get("reason", "") for one in seen]
        assert "edit_file" in reasons[1] and "beside" in reasons[2] and "edit_file" in reasons[3]
        assert "call_for_help" in reasons[4]
        assert operations.reached(State.RESOLVED)
        main = operations.world.repository.main()
        assert "password=hunter2-of-old" in operations.world.repository.read(main, "change-9")
        # and neither the model nor the record ever saw what it was
        assert found([*everything(operations), ("asked", orjson.dumps(served.requests))], VALUES) == []
        assert found(everything(operations), {"its why": "abc123def4"}) == []
        [message] = [c.message for c in operations.world.repository._commits.values() if "Change change-9" in c.message]
        assert f"token={REDACTED}" in message

    played("openai", script, check, changes=[SECRETIVE])
