"""`harness agent probe`: one session against an endpoint on loopback, by its JSON and exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import Invalid
from tests.command_line import ended
from tests.models.endpoint import Call, Say, Status, Step, Trouble, in_turn, serving

KEYS = {"ANTHROPIC_API_KEY": "sk-a-secret", "OPENAI_API_KEY": "sk-b-secret"}
READ, FINISH = Call("read_note", {"name": "status"}), Call("finish", {"summary": "All well."})
FIELDS = {
    "exit_status", "model_calls", "tool_calls", "retries", "prompt_tokens", "completion_tokens", "cost_usd", "error",
}  # fmt: skip
NOW = (("retry-after", "0"),)
each = pytest.mark.parametrize("provider", ["anthropic", "openai"])


def probed(provider: str, steps: Sequence[Step], exit_code: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The report, and the requests that were made for it."""
    with serving(in_turn(steps)) as served:
        words = ["agent", "probe", "--agent", provider, "--base-url", served.url(provider), "--json"]
        result = ended(words, KEYS)
    assert result.exit_code == exit_code, result.output
    assert not any(key in result.output for key in KEYS.values())
    report: dict[str, Any] = json.loads(result.stdout)
    assert report.keys() >= FIELDS
    assert report["model_calls"] + report["retries"] == len(served.requests)
    return report, served.requests


@each
def test_a_model_that_reads_and_finishes_passes(provider: str) -> None:
    report, requests = probed(provider, [Say("", (READ,)), Say("Done.", (FINISH,))], 0)
    assert {name: report[name] for name in FIELDS} == {
        "exit_status": "finished", "model_calls": 2, "tool_calls": 2, "retries": 0, "prompt_tokens": 200,
        "completion_tokens": 20, "cost_usd": pytest.approx(0.0015), "error": None,
    }  # fmt: skip
    assert "Nothing is on fire" in json.dumps(requests[1])


@each
def test_text_without_a_call_is_nudged(provider: str) -> None:
    report, requests = probed(provider, [Say("All is well, I think."), Say(), Say("", (FINISH,))], 0)
    assert report["tool_calls"] == 1
    assert "No tool was called" in json.dumps(requests[1]["messages"][-1]) + json.dumps(requests[2]["messages"][-1])


@each
@pytest.mark.parametrize(
    ("call", "told"),
    [(Call("reboot", {}), "no tool `reboot`; there are: list_notes, read_note, finish"),
     (Call("finish", {}), "finish: summary: Field required"),
     (Call("finish", '{"summ'), "the arguments are not one JSON object"),
     (Call("read_note", {"name": "x"}), "no note `x`; there are: status, weather")],
)  # fmt: skip
def test_a_bad_call_is_answered_as_an_error_from_which_the_model_recovers(provider: str, call: Call, told: str) -> None:
    report, requests = probed(provider, [Say("", (call,)), Say("", (FINISH,))], 0)
    assert report["tool_calls"] == 2
    last = requests[1]["messages"][-1]
    assert told in json.dumps(last)
    assert "error:" in last["content"] if provider == "openai" else last["content"][0]["is_error"] is True


@each
def test_two_calls_of_one_turn_are_both_answered_even_under_one_id(provider: str) -> None:
    twice = (Call("list_notes", {}, "same"), Call("read_note", {"name": "status"}, "same"))
    report, _ = probed(provider, [Say("", twice), Say("", (Call("finish", {"summary": "x"}, "same"),))], 0)
    assert (report["model_calls"], report["tool_calls"]) == (2, 3)


@each
def test_what_is_tried_again_is_counted(provider: str) -> None:
    # given an endpoint that is busy, overloaded, cut off, and only then lets the model speak
    steps = [Status(429, "busy", NOW), Status(529, "full", NOW), Trouble("reset"), Say("", (FINISH,))]
    report, requests = probed(provider, steps, 0)
    assert (report["model_calls"], report["retries"]) == (1, 3)
    # and each try was the same request
    assert all(request == requests[0] for request in requests)


@each
def test_the_server_is_not_asked_before_the_time_it_named(provider: str) -> None:
    began = time.monotonic()
    probed(provider, [Status(429, "busy", (("retry-after", "1"),)), Say("", (FINISH,))], 0)
    assert time.monotonic() - began >= 1


@each
def test_a_wait_that_is_longer_than_the_session_ends_it(provider: str) -> None:
    report, _ = probed(provider, [Status(429, "busy", (("retry-after", "9999"),))], 4)
    assert report["exit_status"] == "model_error" and "9999" in report["error"]


@each
def test_a_model_that_declines_ends_the_session(provider: str) -> None:
    report, _ = probed(provider, [Say("I can't.", stop="declined")], 1)
    assert report["exit_status"] == "refused" and "I can't." in report["error"]


@each
def test_a_model_that_never_ends_meets_the_limit(provider: str) -> None:
    report, requests = probed(provider, [Say("", (READ,))] * 20, 1)
    assert report["exit_status"] == "limits" and len(requests) == 12 and "no `finish`" in report["error"]


@each
def test_a_request_that_is_refused_is_not_tried_again(provider: str) -> None:
    report, _ = probed(provider, [Status(401, "wrong key")], 1)
    assert report["exit_status"] == "model_error" and "401" in report["error"] and report["cost_usd"] is None


@each
def test_an_endpoint_that_stays_away_is_given_up(provider: str) -> None:
    report, _ = probed(provider, [Status(503, "away", NOW)] * 9, 4)
    assert report["exit_status"] == "model_error" and report["retries"] == 3


@each
def test_a_model_without_a_price_costs_null_and_its_tokens_count(provider: str) -> None:
    report, _ = probed(provider, [Say("", (FINISH,), model="nobody-knows")], 0)
    assert report["cost_usd"] is None and report["prompt_tokens"] == 100


@each
def test_tokens_that_nobody_counted_are_null(provider: str) -> None:
    report, _ = probed(provider, [Say("", (FINISH,), tokens=None)], 0)
    assert report["cost_usd"] is report["prompt_tokens"] is report["completion_tokens"] is None


@each
def test_without_a_key_and_an_endpoint_of_ones_own_the_way_out_is_told(provider: str) -> None:
    empty = {f"{provider.upper()}_{name}": "" for name in ("API_KEY", "BASE_URL")}
    result = ended(["agent", "probe", "--agent", provider], empty)
    assert isinstance(result.exception, Invalid) and f"{provider.upper()}_API_KEY: is not set" in str(result.exception)


@pytest.mark.parametrize("words", [["--agent", "runbook"], ["--agent", "openai", "--base-url", "nowhere"]])
def test_what_cannot_be_probed_is_invalid(words: list[str]) -> None:
    assert isinstance(ended(["agent", "probe", *words], KEYS).exception, Invalid)


@pytest.mark.parametrize("command", [["agent", "probe", "--agent", "openai"], ["up"]])
def test_a_key_that_cannot_be_one_is_refused_and_not_repeated(command: list[str]) -> None:
    result = ended(command, {"OPENAI_API_KEY": "sk-with space"})
    assert isinstance(result.exception, Invalid) and "OPENAI_API_KEY: the value given" in str(result.exception)
    assert "with space" not in str(result.exception) + result.output


@each
def test_a_stack_is_not_started_for_a_model_that_cannot_be_asked(provider: str, tmp_path: Path) -> None:
    empty = {f"{provider.upper()}_{name}": "" for name in ("API_KEY", "BASE_URL")}
    result = ended(["demo", "--agent", provider], empty | {"HARNESS_HOME": str(tmp_path / "h")})
    assert isinstance(result.exception, Invalid) and f"{provider.upper()}_API_KEY: is not set" in str(result.exception)
    assert not (tmp_path / "h").exists()


def test_commands_that_ask_no_model_do_not_pay_for_the_sdks() -> None:
    loads = "import sys, harness.cli, workflows.worker; print({'anthropic', 'openai'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True).stdout == "set()\n"
