"""`harness ticket explain` of real histories: each gate's answer with the numbers that it rests on."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cli.explain import explained
from harness.cli.ticket import explanation
from harness.core.lifecycle import ENDS
from harness.simulation.clock import run
from harness.simulation.service import Behaviour, Change
from tests.simulation.histories import given_up, repaired_at_the_second_try, replaced
from tests.simulation.operations import SLOW, Operations, days_work, incident
from tests.simulation.test_by_hand import quiet


def told(operations: Operations) -> dict[str, Any]:
    return explanation(operations.harness.record, operations.ticket("INF-1"))


def items(document: dict[str, Any], event: str, kind: str) -> list[dict[str, Any]]:
    """The evidence of this kind under the last event of this type."""
    last = [one for one in document["decisions"] if one["event"] == event][-1]
    return [item for item in last["evidence"] if item["kind"] == kind]


def headings(document: dict[str, Any]) -> list[str]:
    return [line for line in explained(document) if line.startswith("Why")]


def test_a_repaired_incident_answers_every_question_with_queries_windows_samples_and_values() -> None:
    async def story() -> None:
        operations = await incident(days_work(4))
        await operations.settle()
        document = told(operations)
        assert headings(document) == [
            "Why this ticket?", "Why this change?", "Why did TEST let it through?", "Why did CANARY let it through?",
            "Why did DEPLOY let it through?", "Why did VERIFY let it through?",
        ]  # fmt: skip
        # the ticket: burn rates over both windows, and each criterion before and at admission
        assert {item["window_s"] for item in items(document, "SignalStarted", "burn")} == {3.0, 12.0}
        own = [one for one in items(document, "TicketAdmitted", "measurement") if one["metric"] == "slow_share"]
        assert [one["role"] for one in own] == ["before", "at admission"]
        assert own[0]["value"] < 0.1 < own[1]["value"] and own[0]["samples"] > 1000
        assert "traffic_slow_total" in own[0]["query"] and own[0]["window_from"] < own[0]["window_to"]
        # the gates: the checks, the verdicts with p-value and look, the criteria on live traffic
        assert [(one["name"], one["passed"]) for one in items(document, "ChecksPassed", "check")] == [("tests", True)]
        verdicts = {(one["metric"], one["role"]): one for one in items(document, "CanaryPassed", "verdict")}
        superior = verdicts["slow_share", "superiority"]
        assert superior["p_value"] < 0.05 and superior["decided_at_look"] >= 1 and superior["per_arm"] >= 600
        after = items(document, "CriteriaMet", "measurement")
        assert all(one["met"] and one["query"] for one in after if one["role"] == "after")
        # and a person reads the same
        text = "\n".join(explained(document))
        assert "burn rate" in text and "slow_share as superiority: LOW, superior; p " in text
        assert f"{own[0]['samples']} samples" in text and "  query " in text

    run(story())


def test_a_ticket_for_which_nothing_had_to_change_answers_no_question_of_a_canary() -> None:
    async def story() -> None:
        operations = await quiet()
        operations.file()
        await operations.watch(lambda: operations.state("INF-1") in ENDS)
        assert headings(told(operations)) == ["Why this ticket?", "Why this change?", "Why did VERIFY let it through?"]

    run(story())


def test_every_event_that_is_told_stands_under_exactly_one_question_of_its_attempt() -> None:
    async def story() -> None:
        operations = await repaired_at_the_second_try()
        document = told(operations)
        assert headings(document)[1:5] == [
            "Why this change? (attempt 1)", "Why did TEST let it through? (attempt 1)",
            "Why did CANARY stop it? (attempt 1)", "Why this change? (attempt 2)",
        ]  # fmt: skip
        assert {one["attempt"] for one in document["decisions"]} == {0, 1, 2}
        harm = [one for one in items(document, "CanaryFailed", "verdict") if one["verdict"] == "HIGH"]
        assert {one["metric"] for one in harm} == {"error_share"}

    run(story())


def test_an_operation_is_explained_by_its_preconditions_its_guards_and_its_units() -> None:
    async def story() -> None:
        document = told(await replaced())
        assert headings(document)[2:] == [
            "Why did TEST let it through?", "Why did CANARY let it through?", "Why did DEPLOY let it through?",
            "Why did VERIFY let it through?",
        ]  # fmt: skip
        unit = next(one for one in document["decisions"] if one["event"] == "OperationStepped")
        assert unit["question"] == "canary" and {item["kind"] for item in unit["evidence"]} >= {"limit"}
        assert {item["role"] for item in items(document, "CanaryPassed", "verdict")} == {"limit"}

    run(story())


def test_a_failed_check_is_explained_by_the_end_of_its_output() -> None:
    async def story() -> None:
        operations = await given_up(Behaviour(checks_pass=False))
        document = told(operations)
        [check] = items(document, "ChecksFailed", "check")
        assert check["passed"] is False and check["output_end"] is not None
        assert any("Why did TEST stop it?" in line for line in headings(document))
        check["output_end"] = "E   assert 1 == 2\n\x1b[31mFAILED"
        text = "\n".join(explained(document))
        assert "| E   assert 1 == 2" in text and "\x1b" not in text

    run(story())


@pytest.mark.parametrize("author", ["\x1b[31mred\x1b[0m", "\u202egnp.exe"])
def test_text_of_the_world_in_evidence_is_shown_and_never_obeyed(author: str) -> None:
    async def story() -> None:
        operations = await incident([Change(author, SLOW), *days_work(9)[:3]])
        await operations.settle()
        text = "\n".join(explained(told(operations)))
        assert "\x1b" not in text and "\u202e" not in text and len(text) > 2_000

    run(story())
