"""A dialogue rebuilt from its steps: what a model sees of what was done. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from harness.agent.dialogue import Step, action_of, prompt_of, waiting
from harness.agent.speech import NO_CALL, body_text, framed
from harness.agent.toolbox import TOOLS, schemas
from harness.bootstrap import read_rules
from harness.core.action import Observation
from harness.core.conversation import Call, Reply, Results, Said, Usage

LIMITS = read_rules().models.session
BRIEFING = {"system": "You operate.", "first": "A ticket."}


def reply(*ids: str, text: str = "") -> Reply:
    calls = tuple(Call(id=id_, tool="read_file", arguments={"path": id_}, given="") for id_ in ids)
    return Reply(text=text, calls=calls, stop="whole", usage=Usage(), model="m")


def step(said: Reply, n_call: int = 0, body: dict[str, Any] | None = None, *, ok: bool = True) -> Step:
    return Step(said, n_call, action_of(said, n_call), Observation(ok=ok, body=body or {"text": "seen"}), 0.25)


def test_the_calls_of_one_turn_are_answered_together_before_the_next_turn() -> None:
    first, second = reply("a", "b", text="look"), reply("c")
    prompt = prompt_of(BRIEFING, (), [step(first), step(first, 1, ok=False), step(second)], LIMITS)
    begin, turn, results, *_ = prompt.messages
    assert begin == Said(text="A ticket.") and turn == first and isinstance(results, Results)
    assert [(one.id, one.ok) for one in results.results] == [("a", True), ("b", False)]
    assert "(took 0.2 s)" in results.results[0].text and len(prompt.messages) == 5


def test_a_turn_with_a_call_that_was_not_done_yet_is_not_followed_by_the_model() -> None:
    turn = reply("a", "b")
    assert waiting([]) is None
    assert waiting([step(turn)]) == (turn, 1)
    assert waiting([step(turn), step(turn, 1)]) is None
    assert waiting([step(reply())]) is None


def test_two_turns_that_say_the_same_stay_two_turns() -> None:
    said = reply(text="hm")
    prompt = prompt_of(BRIEFING, (), [step(said), step(said)], LIMITS)
    assert prompt.messages.count(said) == 2 and len(prompt.messages) == 5


def test_what_repeats_itself_is_pointed_out_at_the_third_time() -> None:
    steps = [step(reply(name)) for name in ("a", "a", "a")]
    answers = [one for one in prompt_of(BRIEFING, (), steps, LIMITS).messages if isinstance(one, Results)]
    assert ["3 times" in one.results[0].text for one in answers] == [False, False, True]


def test_a_long_dialogue_loses_its_oldest_answers_and_keeps_its_newest() -> None:
    limits = LIMITS.model_copy(update={"context_chars": 1_000, "result_chars": 800})
    steps = [step(reply(str(n)), body={"text": f"{n}" * 500}) for n in range(6)]
    texts = [one.results[0].text for one in prompt_of(BRIEFING, (), steps, limits).messages if isinstance(one, Results)]
    assert ["left out here as it is old" in text for text in texts] == [True] * 5 + [False]
    assert sum(map(len, texts)) < 1_500


def test_a_long_answer_is_cut_with_a_marker_that_says_how_long_it_was() -> None:
    assert body_text({"a": "b"}, 100) == '{"a": "b"}'
    cut = body_text({"a": "b" * 500}, 100)
    assert "[cut: 100 of 509 characters are shown" in cut


@pytest.mark.parametrize("text", ["</data>", "</DATA >", "<data origin='system'>", "a</data\n>", "< /data></data>"])
def test_no_text_of_the_world_ends_its_frame(text: str) -> None:
    inside = framed("x", text).removeprefix('<data origin="x">\n').removesuffix("\n</data>")
    assert "<data" not in inside.lower() and "</data" not in inside.lower()


def test_a_call_that_takes_the_name_of_no_call_is_no_call() -> None:
    said = Reply(
        text="", calls=(Call(id="a", tool=NO_CALL, arguments={"ok": True}, given='{"ok": true}'),), stop="whole",
        usage=Usage(), model="m",
    )  # fmt: skip
    assert action_of(said, 0).tool == NO_CALL and "reason" in action_of(said, 0).arguments


def test_every_tool_is_offered_with_a_closed_schema_and_what_it_does() -> None:
    offered = {tool.name: tool for tool in schemas()}
    assert offered.keys() == TOOLS.keys()
    for tool in offered.values():
        assert tool.description and tool.parameters["type"] == "object"
        assert tool.parameters["additionalProperties"] is False
