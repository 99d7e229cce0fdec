"""Exported trajectories of real histories load in the format's own models and keep our stricter rules."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from harness.adapters.exports import format_faults
from harness.cli.trajectory_export import Shelf, check, export_atif, listed
from harness.core import atif
from harness.core import events as e
from harness.core.errors import Forbidden, Invalid
from harness.core.lifecycle import State
from harness.simulation.clock import run
from harness.simulation.service import Change
from tests.models.endpoint import Say, Step
from tests.simulation.histories import given_up
from tests.simulation.operations import SLOW, Operations, days_work, incident
from tests.simulation.test_models import played, repairing


async def two_incidents() -> Operations:
    """One whose repair breaks something else and that ends with a person, then the cause once more."""
    operations = await incident(days_work(4))
    await operations.settle()
    operations.world.release([Change("again", SLOW)])
    await operations.watch(lambda: operations.reached(State.RESOLVED, ticket_id="INF-2"))
    return operations


def documents(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*/*.json")}


def test_every_ticket_is_one_document_that_the_formats_own_models_and_our_rules_take(tmp_path: Path) -> None:
    async def story() -> None:
        operations = await two_incidents()
        record, out = operations.harness.record, tmp_path / "out"
        manifest = export_atif(record, out, None)
        found = documents(out)
        # as many as are listed, and each is good
        assert set(found) == {row["trajectory"] for row in listed(Shelf.of(record))} == {"INF-1", "INF-2"}
        assert [(format_faults(one), atif.faults(one)) for one in found.values()] == [([], [])] * 2
        assert check(out) == (2, [])
        # the second names the first, shares its cause, and so its split
        first, second = found["INF-1"]["extra"], found["INF-2"]["extra"]
        assert second["parent"] == "INF-1" and second["lineage"] == ["INF-1"] and first["lineage"] == []
        assert first["fingerprint"] == second["fingerprint"] and first["split"] == second["split"]
        # every event of the ticket is in it once, and the observations are the real ones
        rows = record.ledger.read_stream("ticket-INF-1")
        told = [step["extra"]["position"] for step in found["INF-1"]["steps"]]
        answered = [
            result["extra"]["position"]
            for step in found["INF-1"]["steps"]
            for result in (step.get("observation") or {}).get("results", [])
        ]
        assert sorted([*told, *answered]) == [row.position for row in rows]
        # and the manifest says what was written
        assert manifest == json.loads((out / "MANIFEST.json").read_text())
        assert sum(manifest["counts"].values()) == 2 and manifest["ledger_head"] == record.ledger.head().hash
        for one in manifest["files"]:
            content = (out / one["path"]).read_bytes()
            assert (len(content), sha256(content).hexdigest()) == (one["bytes"], one["sha256"])
        assert {one["split"] for one in manifest["files"]} == {path.name for path in out.iterdir() if path.is_dir()}

    run(story())


def test_the_same_ledger_gives_the_same_bytes_and_since_leaves_older_ones_out(tmp_path: Path) -> None:
    async def story() -> None:
        operations = await two_incidents()
        record = operations.harness.record
        assert export_atif(record, tmp_path / "a", None) == export_atif(record, tmp_path / "b", None)
        second = record.ledger.read_stream("ticket-INF-2")[0].occurred_at
        manifest = export_atif(record, tmp_path / "c", second)
        assert [one["path"].split("/")[1] for one in manifest["files"]] == ["INF-2.json"]
        # the family's split does not depend on what is exported
        assert manifest["files"][0]["split"] == documents(tmp_path / "a")["INF-1"]["extra"]["split"]

    run(story())


@pytest.mark.parametrize("attempts_end", ["with a person", "mid-way"])
def test_a_trajectory_that_is_no_success_is_exported_with_its_truth(tmp_path: Path, attempts_end: str) -> None:
    async def story() -> None:
        if attempts_end == "mid-way":
            operations = await incident(days_work(4))
            await operations.watch(lambda: operations.happened(e.ActionTaken))
        else:
            operations = await given_up()
        export_atif(operations.harness.record, tmp_path / "out", None)
        [document] = documents(tmp_path / "out").values()
        assert check(tmp_path / "out") == (1, [])
        assert document["extra"]["outcome"]["reward"] is None
        assert document["extra"]["outcome"]["state"] == str(operations.state("INF-1"))

    run(story())


@pytest.mark.parametrize("tokens", [(100, 10), None], ids=["counted", "not counted"])
def test_a_models_session_is_a_step_a_turn_with_what_each_took(tmp_path: Path, tokens: tuple[int, int] | None) -> None:
    def script(request: dict[str, Any]) -> Step:
        step = repairing(request)
        return replace(step, tokens=tokens) if isinstance(step, Say) else step

    def checked(operations: Operations, _: Any) -> None:
        export_atif(operations.harness.record, tmp_path / "out", None)
        [document] = documents(tmp_path / "out").values()
        assert check(tmp_path / "out") == (1, [])
        # seven turns with ten calls, each with its answer, and the conversation's beginning whole
        turns = [step for step in document["steps"] if step["source"] == "agent"]
        assert [len(step["tool_calls"]) for step in turns] == [1, 1, 2, 1, 2, 2, 1]
        assert all(step["llm_call_count"] == 1 and step["model_name"] for step in turns)
        assert turns[2]["message"] == "Who waits?"
        assert any("slow_share" in step["message"] and len(step["message"]) > 500 for step in document["steps"])
        # what it took is summed where it is known, and not told as nothing where it is not
        totals = document["final_metrics"]
        if tokens is None:
            assert "total_prompt_tokens" not in totals and "total_cost_usd" not in totals
        else:
            assert (totals["total_prompt_tokens"], totals["total_completion_tokens"]) == (700, 70)
            assert totals["total_cost_usd"] == pytest.approx(7 * 0.00075)

    played("openai", script, checked)


# --- nothing half written, nothing leaked --------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["days-work", 'with "quotes" and \\ in it', "ünïcode-sécret"])
def test_a_known_secret_is_taken_out_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    async def story() -> None:
        # given a secret in the name of a change, so in what the agent saw and in a diff
        operations = await incident([Change(f"{secret}", SLOW), *days_work(9)[:3]])
        await operations.settle()
        monkeypatch.setenv("SOMEBODYS_API_KEY", secret)
        manifest = export_atif(operations.harness.record, tmp_path / "out", None)
        text = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.json"))
        assert manifest["redaction"]["secrets_taken_out"] > 0 and "[redacted]" in text
        assert secret not in text and json.dumps(secret)[1:-1] not in text
        assert json.dumps(json.dumps(secret)[1:-1])[1:-1] not in text
        assert check(tmp_path / "out") == (1, [])

    run(story())


def test_an_export_in_which_a_secret_is_left_ends_without_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        # given a secret that only the finished file holds: no text of the document has it
        operations = await incident(days_work(4))
        await operations.settle()
        monkeypatch.setenv("SOMEBODYS_TOKEN", '"session_id":"INF-1"')
        with pytest.raises(Forbidden, match="SOMEBODYS_TOKEN") as refused:
            export_atif(operations.harness.record, tmp_path / "out", None)
        assert 'INF-1"' not in str(refused.value)
        assert list(tmp_path.iterdir()) == []

    run(story())


def test_a_folder_that_is_taken_is_left_as_it_is(tmp_path: Path) -> None:
    async def story() -> None:
        operations = await incident(days_work(4))
        out = tmp_path / "out"
        out.mkdir()
        export_atif(operations.harness.record, out, None)
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        with pytest.raises(Invalid, match="not empty"):
            export_atif(operations.harness.record, out, None)
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before

    run(story())


# --- what validation sees ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("export") / "out"

    async def story() -> None:
        operations = await incident(days_work(4))
        await operations.settle()
        export_atif(operations.harness.record, out, None)

    run(story())
    [document] = documents(out).values()
    assert isinstance(document, dict)
    return document


def calls(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for step in document["steps"] if step.get("tool_calls")]


def spoilt(document: dict[str, Any], how: str) -> dict[str, Any]:
    """A copy with one fault."""
    copy = deepcopy(document)
    steps, [one, other, *_] = copy["steps"], calls(copy)
    match how:
        case "another version":
            copy["schema_version"] = "ATIF-v9.9"
        case "no steps":
            copy["steps"] = []
        case "a gap in the ids":
            steps[3]["step_id"] = 9
        case "two calls of one id":
            other["tool_calls"][0]["tool_call_id"] = one["tool_calls"][0]["tool_call_id"]
            other["observation"]["results"][0]["source_call_id"] = one["tool_calls"][0]["tool_call_id"]
        case "a call without an answer":
            one["observation"]["results"] = []
        case "a call with two answers":
            one["observation"]["results"] *= 2
        case "an answer to no call":
            steps[0]["observation"] = {"results": [{"source_call_id": "nobody", "content": ""}]}
        case "time goes back":
            steps[2]["timestamp"] = "2001-01-01T00:00:00+00:00"
        case "time without an offset":
            steps[2]["timestamp"] = steps[2]["timestamp"].removesuffix("+00:00")
        case "no time":
            del steps[2]["timestamp"]
        case "a wrong sum":
            copy["final_metrics"]["total_prompt_tokens"] = 7
        case "a wrong count":
            copy["final_metrics"]["total_steps"] = 1
        case "not a number":
            copy["extra"]["outcome"]["reward"] = float("nan")
        case "an unknown field":
            steps[1]["harness"] = True
        case "no lineage":
            del copy["extra"]["lineage"]
    return copy


@pytest.mark.parametrize(
    "how",
    ["another version", "no steps", "a gap in the ids", "two calls of one id", "a call without an answer",
     "a call with two answers", "an answer to no call", "time goes back", "time without an offset", "no time",
     "a wrong sum", "a wrong count", "not a number", "an unknown field", "no lineage"],
)  # fmt: skip
def test_a_document_with_one_fault_is_refused(good: dict[str, Any], how: str, tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(json.dumps(spoilt(good, how)))

    documents_seen, found = check(file)

    assert documents_seen == 1 and found, how


@pytest.mark.parametrize(
    "document", [None, [], 7, "text", {}, {"steps": 7}, {"steps": [7]}, {"steps": [{"tool_calls": 1}]}]
)
def test_json_that_is_no_trajectory_is_a_fault_and_never_an_error(document: Any, tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(json.dumps(document))

    assert check(file)[1]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1, "a": 2}', b"[" * 100_000])
def test_what_is_no_json_is_invalid(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_bytes(content)

    with pytest.raises(Invalid, match=r"one\.json"):
        check(file)


def test_an_export_that_was_altered_is_told_file_by_file(tmp_path: Path) -> None:
    async def story() -> None:
        operations = await two_incidents()
        export_atif(operations.harness.record, tmp_path / "out", None)
        first, second = sorted((tmp_path / "out").glob("*/INF-*.json"))
        first.write_bytes(first.read_bytes().replace(b'"INF-1"', b'"INF-9"', 1))
        second.unlink()
        (first.parent / "more.json").write_text("{}")
        seen, found = check(tmp_path / "out")
        assert seen == 1
        assert {(Path(one["path"]).name, one["reason"].split(",")[0]) for one in found} >= {
            ("more.json", "is in the folder"), ("INF-2.json", "is in the manifest"),
            ("INF-1.json", "is not as it was written: its hash or its size is another"),
        }  # fmt: skip

    run(story())
