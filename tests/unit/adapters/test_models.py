"""What both providers' adapters make of their wire, against an endpoint on loopback: turns, troubles, keys."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate

import pytest
from pydantic import SecretStr

from harness.adapters.models.anthropic_messages import AnthropicModel
from harness.adapters.models.openai_chat import OpenAIModel
from harness.adapters.models.wire import Endpoint, retry_after_s
from harness.core import conversation as c
from harness.core.errors import HarnessError, Refused, Retryable
from harness.core.model_policy import Wire
from harness.ports import Model
from tests.models.endpoint import Call, Say, Script, Status, Step, Trouble, in_turn, serving
from tests.models.endpoint import Endpoint as Served

KEY = "sk-test-0123456789-never-shown"
BOUNDS = Wire(connect_s=1, stall_s=10, call_s=20, output_tokens=512)
PROVIDERS = ("anthropic", "openai")
TOOLS = (c.ToolSchema("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}}),)
FIRST = c.Said(text="Begin.")
each = pytest.mark.parametrize("provider", PROVIDERS)


def model_at(url: str, provider: str, bounds: Wire = BOUNDS, key: str = KEY) -> Model:
    endpoint = Endpoint(provider=provider, model="some-model", key=SecretStr(key), base_url=url, bounds=bounds)
    return AnthropicModel(endpoint) if provider == "anthropic" else OpenAIModel(endpoint)


@contextmanager
def playing(
    provider: str, script: Script | Step, *, streams: bool = True, bounds: Wire = BOUNDS
) -> Iterator[tuple[Model, Served]]:
    with serving(script if callable(script) else in_turn([script]), streams=streams) as served:
        yield model_at(served.url(provider), provider, bounds), served


def prompt(*messages: c.Message) -> c.Prompt:
    return c.Prompt("You look.", TOOLS, messages or (FIRST,))


async def failure(provider: str, step: Step, bounds: Wire = BOUNDS) -> HarnessError:
    with playing(provider, step, bounds=bounds) as (model, served):
        with pytest.raises(HarnessError) as caught:
            await model.reply(prompt())
        assert len(served.requests) == 1, "the SDK must not retry by itself"
    assert KEY not in str(caught.value) and caught.value.__cause__ is None
    return caught.value


# --- a turn ----------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("streams", [True, False])
async def test_a_turn_has_text_calls_usage_and_the_model_that_answered(provider: str, streams: bool) -> None:
    # given an endpoint, be it one that streams or not, whose model says something and calls two tools
    said = Say("I look – twice.", (Call("look", {"at": "ä{}"}, "a1"), Call("look", {}, "a2")), model="some-model-1")
    with playing(provider, said, streams=streams) as (model, served):
        # when it is asked
        reply = await model.reply(prompt())
    # then all of that is in the reply, and the request was one for a stream
    assert (reply.text, reply.stop, reply.model) == ("I look – twice.", "whole", "some-model-1")
    assert [(call.id, call.tool, call.arguments) for call in reply.calls] == [
        ("a1", "look", {"at": "ä{}"}), ("a2", "look", {}),
    ]  # fmt: skip
    assert (reply.usage.tokens_in, reply.usage.tokens_out) == (100, 10)
    assert served.requests[0]["stream"] is True and served.requests[0]["model"] == "some-model"


@each
async def test_an_endpoint_that_does_not_count_tokens_gives_none_and_not_zero(provider: str) -> None:
    with playing(provider, Say("hello", tokens=None)) as (model, _):
        usage = (await model.reply(prompt())).usage
    assert usage.tokens_in is None and usage.tokens_out is None


@each
async def test_arguments_that_were_cut_off_are_not_completed_by_anybody(provider: str) -> None:
    with playing(provider, Say(calls=(Call("look", '{"at": "he'),), stop="cut")) as (model, _):
        reply = await model.reply(prompt())
    assert reply.stop == "cut"
    assert reply.calls[0].arguments is None and reply.calls[0].given == '{"at": "he'


@each
async def test_arguments_that_are_json_and_no_object_count_as_unreadable(provider: str) -> None:
    with playing(provider, Say(calls=(Call("look", '["at"]'),))) as (model, _):
        assert (await model.reply(prompt())).calls[0].arguments is None


@each
async def test_a_refusal_is_told_apart_from_an_answer(provider: str) -> None:
    with playing(provider, Say("I can't help with that.", stop="declined")) as (model, _):
        reply = await model.reply(prompt())
    assert (reply.stop, reply.text) == ("declined", "I can't help with that.")


@each
async def test_an_empty_answer_is_a_reply_without_anything(provider: str) -> None:
    with playing(provider, Say()) as (model, _):
        reply = await model.reply(prompt())
    assert (reply.text, reply.calls, reply.stop) == ("", (), "whole")


@each
async def test_every_kind_of_turn_can_be_sent_back_without_the_provider_refusing_it(provider: str) -> None:
    # given a conversation in which the model said nothing, blanks, cut-off JSON, and two calls under one id
    usage = c.Usage()
    doubled = tuple(c.Call(id=id_, tool="look", arguments={}, given="{}") for id_ in ("x", "x", ""))
    cut = (c.Call(id="y", tool="look", arguments=None, given='{"a'),)
    replies = [
        c.Reply(text=text, calls=calls, stop="whole", usage=usage, model="m")
        for text, calls in [("", ()), ("  \n", ()), ("", cut), ("two", doubled), ("again", doubled)]
    ]
    messages: list[c.Message] = [FIRST]
    taken: frozenset[str] = frozenset()
    for reply in replies:
        unique = c.with_own_ids(reply, taken)
        taken |= {call.id for call in unique.calls}
        messages.append(unique)
        results = tuple(c.Result(id=call.id, text="no", ok=False) for call in unique.calls)
        messages.append(c.Results(results=results) if results else c.Said(text="Call a tool."))
    # when it is sent to an endpoint that checks what the providers check
    with playing(provider, Say("fine")) as (model, _):
        # then it is taken
        assert (await model.reply(prompt(*messages))).text == "fine"


async def test_anthropic_gets_its_thoughts_back_and_marks_for_its_cache() -> None:
    kept = ({"type": "thinking", "thinking": "hm", "signature": "s"},)
    before = c.Reply(
        text="", calls=(c.Call(id="a", tool="look", arguments={}, given=""),), stop="whole", usage=c.Usage(),
        model="m", kept=kept,
    )  # fmt: skip
    with playing("anthropic", Say("fine")) as (model, served):
        await model.reply(prompt(FIRST, before, c.Results(results=(c.Result(id="a", text="seen", ok=True),))))
    request = served.requests[0]
    assert request["messages"][1]["content"][0] == kept[0]
    assert request["system"][0]["cache_control"] == request["messages"][-1]["content"][-1]["cache_control"]


# --- trouble ---------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("code", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_what_may_pass_is_retryable(provider: str, code: int) -> None:
    assert isinstance(error := await failure(provider, Status(code, "busy")), Retryable)
    assert f"answered {code}" in str(error) and "busy" in str(error)


@each
@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 422])
async def test_what_will_not_pass_is_refused(provider: str, code: int) -> None:
    error = await failure(provider, Status(code, "wrong"))
    assert isinstance(error, Refused) and "wrong" in str(error) and "some-model" in str(error)


@each
async def test_the_servers_own_wait_is_kept(provider: str) -> None:
    error = await failure(provider, Status(429, "slow down", (("retry-after", "7"),)))
    assert isinstance(error, Retryable) and error.retry_after_s == 7


@each
@pytest.mark.parametrize("error", ["overloaded_error", "server_error", "rate_limit_error"])
async def test_overload_in_mid_stream_is_retryable_though_the_status_was_200(provider: str, error: str) -> None:
    assert isinstance(await failure(provider, Trouble("error", error=error)), Retryable)


@each
async def test_a_request_that_is_refused_in_mid_stream_is_not_tried_again(provider: str) -> None:
    assert isinstance(await failure(provider, Trouble("error", error="invalid_request_error")), Refused)


@each
@pytest.mark.parametrize("kind", ["reset", "end", "garbage"])
async def test_a_stream_that_breaks_off_is_never_taken_for_an_answer(provider: str, kind: str) -> None:
    assert isinstance(await failure(provider, Trouble(kind)), Retryable)  # type: ignore[arg-type]


@each
@pytest.mark.parametrize(("stall_s", "call_s"), [(0.3, 20.0), (20.0, 0.3)])
async def test_a_stream_that_stalls_is_given_up_within_its_bounds(provider: str, stall_s: float, call_s: float) -> None:
    bounds = BOUNDS.model_copy(update={"stall_s": stall_s, "call_s": call_s})
    began = time.monotonic()
    assert isinstance(await failure(provider, Trouble("stall"), bounds), Retryable)
    assert time.monotonic() - began < 10


@each
async def test_an_endpoint_that_is_not_there_is_retryable_and_named(provider: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(Retryable, match=f"{provider} at 127.0.0.1:{port}"):
            await model_at(f"http://127.0.0.1:{port}/v1", provider).reply(prompt())


@each
async def test_many_at_once_do_not_mix(provider: str) -> None:
    with playing(provider, lambda request: Say(str(len(request["messages"])))) as (model, _):
        prompts = [prompt(*[c.Said(text="a")] * n) for n in range(1, 5)]
        replies = await asyncio.gather(*(model.reply(one) for one in prompts))
    assert len({reply.text for reply in replies}) == 4


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [({}, None), ({"retry-after": "2"}, 2), ({"retry-after": "1.5"}, 1.5), ({"retry-after": "soon"}, None),
     ({"retry-after": "nan"}, None), ({"retry-after": "-3"}, None), ({"retry-after-ms": "250"}, 0.25),
     ({"retry-after": formatdate(0)}, 0)],
)  # fmt: skip
def test_a_wait_is_read_in_every_form_that_servers_give(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s


# --- the key ---------------------------------------------------------------------------------------------------------


@each
async def test_the_key_is_on_the_wire_and_nowhere_else(provider: str) -> None:
    # given an endpoint that repeats the key: in an error, in a text, in arguments, in its name
    assert "[key]" in str(await failure(provider, Status(401, f"bad key {KEY}")))
    assert "[key]" in str(await failure(provider, Status(500, f"{KEY} is slow")))
    echo = Say(f"your key is {KEY}", (Call("look", {"at": KEY}), Call("look", f'{{"{KEY}')), model=f"m-{KEY}")
    with playing(provider, echo) as (model, served):
        # when it is asked
        reply = await model.reply(prompt())
    # then the reply does not hold it
    assert KEY in " ".join(served.headers[0].values())
    assert KEY not in reply.model_dump_json() and KEY not in repr(model.__dict__)


@each
async def test_a_word_that_is_no_key_is_left_where_it_stands_in_others(provider: str) -> None:
    with serving(in_turn([Say("", (Call("look", {"at": "tests/a.py"}),))])) as served:
        reply = await model_at(served.url(provider), provider, key="test").reply(prompt())
    assert reply.calls[0].arguments == {"at": "tests/a.py"}
