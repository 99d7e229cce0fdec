"""A session as a dialogue with a model, rebuilt from its recorded steps: what was said, what comes next. Pure.

The ledger holds the dialogue: a briefing, the model's turns as they came, and what each call gave. A turn with several
calls becomes that many steps, one after the other; the model is asked again once all of them have their answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.agent.speech import NO_CALL, body_text, framed, unusable
from harness.core.action import Action, Observation
from harness.core.conversation import Message, Prompt, Reply, Result, Results, Said, ToolSchema
from harness.core.model_policy import ModelSession

NUDGE_AT = 3
"""From the so many-th time on, a call that gives the same as before is answered with a hint."""


@dataclass(frozen=True, slots=True)
class Step:
    """A call of a reply, what was done for it, and what that gave."""

    reply: Reply
    n_call: int
    action: Action
    observation: Observation
    seconds: float | None = None


def action_of(reply: Reply, n_call: int) -> Action:
    """What is to be done for this call of the reply, or for a reply without any."""
    if reply.stop == "declined":
        question = f"The model declined to go on: {reply.text or 'it gave no reason'}. What should be done?"
        return Action(tool="call_for_help", arguments={"question": question}, why="the model declined")
    call = reply.calls[n_call] if reply.calls else None
    if (why := unusable(reply, call)) is not None:
        return Action(tool=NO_CALL, arguments={"reason": why}, why=reply.text)
    assert call is not None and call.arguments is not None
    return Action(tool=call.tool, arguments=call.arguments, why=reply.text)


def waiting(steps: Sequence[Step]) -> tuple[Reply, int] | None:
    """The next call of the last reply that was not taken yet; None when the model has to be asked."""
    if not steps or steps[-1].n_call + 1 >= len(steps[-1].reply.calls):
        return None
    return steps[-1].reply, steps[-1].n_call + 1


def taken_ids(steps: Sequence[Step]) -> frozenset[str]:
    """Every id that a call of this dialogue has."""
    return frozenset(call.id for step in steps for call in step.reply.calls)


def prompt_of(
    briefing: Mapping[str, str], tools: tuple[ToolSchema, ...], steps: Sequence[Step], limits: ModelSession
) -> Prompt:
    """The whole dialogue; where it is longer than the context may be, without the oldest answers of tools."""
    answers = _shortened([_answer(steps, n, limits.result_chars) for n in range(len(steps))], limits.context_chars)
    messages: list[Message] = [Said(text=briefing["first"])]
    results: list[Result] = []
    for step, text in zip(steps, answers, strict=True):
        if step.n_call == 0:
            messages.append(step.reply)
        if not step.reply.calls:
            messages.append(Said(text=text))
            continue
        results.append(Result(id=step.reply.calls[step.n_call].id, text=text, ok=step.observation.ok))
        if step.n_call + 1 == len(step.reply.calls):
            messages.append(Results(results=tuple(results)))
            results = []
    return Prompt(briefing["system"], tools, tuple(messages))


def size_chars(prompt: Prompt) -> int:
    """How much is sent."""
    tools = sum(len(tool.description) + len(str(tool.parameters)) for tool in prompt.tools)
    return len(prompt.system) + tools + sum(len(message.model_dump_json()) for message in prompt.messages)


def _answer(steps: Sequence[Step], n: int, limit_chars: int) -> str:
    step = steps[n]
    if step.action.tool == NO_CALL:
        return str(step.observation.body.get("reason"))
    took = "" if step.seconds is None else f"\n(took {step.seconds:.1f} s)"
    again = sum(_same(step, earlier) for earlier in steps[: n + 1])
    hint = f"\nThis call gave this same answer {again} times now. Try something else." if again >= NUDGE_AT else ""
    return framed(step.action.tool, body_text(step.observation.body, limit_chars)) + took + hint


def _same(step: Step, other: Step) -> bool:
    mine = (step.action.tool, step.action.arguments, step.observation.body)
    return mine == (other.action.tool, other.action.arguments, other.observation.body)


def _shortened(answers: list[str], limit_chars: int) -> list[str]:
    """The answers; the oldest are left out until the rest fits."""
    total = sum(map(len, answers))
    for n, text in enumerate(answers[:-1]):
        if total <= limit_chars:
            break
        left_out = f"[an answer of {len(text)} characters, left out here as it is old; call the tool again to see it]"
        if len(left_out) < len(text):
            total -= len(text) - len(left_out)
            answers[n] = left_out
    return answers
