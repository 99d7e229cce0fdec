"""The port ``Model`` on OpenAI's Chat Completions API, streamed: many servers speak it. Touches only the endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, cast

from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    AsyncStream,
    DefaultAsyncHttpxClient,
)  # fmt: skip

from harness.adapters.models.wire import Endpoint, certificates
from harness.core.conversation import Call, Message, Prompt, Reply, Results, Said, Stop, Usage

_STOPS: dict[str, Stop] = {"length": "cut", "content_filter": "declined"}


class OpenAIModel:
    """One model at one endpoint. A client per request: nothing is shared between sessions."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.name = endpoint.model
        # The SDK imports this part of itself at its first use: here it holds up nobody's heartbeat.
        _ = self._client().chat.completions

    def _client(self) -> AsyncOpenAI:
        endpoint = self._endpoint
        return AsyncOpenAI(
            api_key=endpoint.key.get_secret_value(), base_url=endpoint.base_url or "https://api.openai.com/v1",
            max_retries=0, timeout=cast(Any, endpoint.timeout()),
            http_client=DefaultAsyncHttpxClient(verify=certificates()),
        )  # fmt: skip

    async def reply(self, prompt: Prompt) -> Reply:
        """The next turn."""
        endpoint = self._endpoint
        async with self._client() as client, endpoint.bounded():
            try:
                create = cast(Any, client.chat.completions.create)
                stream: AsyncStream[Any] = await create(
                    **_request(prompt, endpoint), stream=True, stream_options={"include_usage": True}
                )
                completion = await self._whole(stream)
            except APIStatusError as error:
                raise endpoint.failure(error.status_code, error.body or error, error.response.headers) from None
            except APITimeoutError:
                raise endpoint.incomplete(f"nothing came for {endpoint.bounds.stall_s:g} s") from None
            except APIConnectionError as error:
                raise endpoint.incomplete(f"cannot be reached ({error.__cause__ or error})") from None
            except APIError as error:  # an error within the stream
                raise endpoint.failure(200, error.body or error, {}) from None
        return self._reply(completion)

    async def _whole(self, stream: AsyncStream[Any]) -> dict[str, Any]:
        if stream.response.headers.get("content-type", "").startswith("application/json"):
            completion = json.loads(await stream.response.aread())  # an endpoint that does not stream
            if not isinstance(completion, dict) or completion.get("error") or not completion.get("choices"):
                raise self._endpoint.failure(200, completion, stream.response.headers)
            choice = completion["choices"][0]
            return completion | {"message": choice["message"], "finish_reason": choice.get("finish_reason")}
        whole: dict[str, Any] = {"message": {"content": "", "refusal": "", "tool_calls": []}}
        async for chunk in _chunks(stream):
            whole["model"] = chunk.get("model") or whole.get("model")
            whole["usage"] = chunk.get("usage") or whole.get("usage")
            for choice in chunk.get("choices") or []:
                whole["finish_reason"] = choice.get("finish_reason") or whole.get("finish_reason")
                _add(whole["message"], choice.get("delta") or {})
        if not whole.get("finish_reason"):
            raise self._endpoint.incomplete("the stream ended before the answer did")
        return whole

    def _reply(self, completion: dict[str, Any]) -> Reply:
        endpoint, message = self._endpoint, completion["message"]
        usage = completion.get("usage") or {}
        refusal = message.get("refusal") or ""
        return Reply(
            text=endpoint.clean((message.get("content") or "") or refusal),
            calls=tuple(self._call(call) for call in message.get("tool_calls") or []),
            stop="declined" if refusal else _STOPS.get(str(completion.get("finish_reason")), "whole"),
            usage=Usage(
                tokens_in=usage.get("prompt_tokens"), tokens_out=usage.get("completion_tokens"),
                cache_read=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            ),
            model=endpoint.answered_by(completion.get("model")),
        )  # fmt: skip

    def _call(self, call: dict[str, Any]) -> Call:
        function = call.get("function") or {}
        given = function.get("arguments") or ""
        return Call(
            id=str(call.get("id") or ""), tool=str(function.get("name") or ""),
            arguments=self._endpoint.arguments(given), given=self._endpoint.clean(given),
        )  # fmt: skip


async def _chunks(stream: AsyncStream[Any]) -> AsyncIterator[dict[str, Any]]:
    async for chunk in stream:
        yield chunk.to_dict()


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("content", "refusal"):
        message[name] += delta.get(name) or ""
    for piece in delta.get("tool_calls") or []:
        calls, index = message["tool_calls"], piece.get("index")
        known = next((call for call in calls if call["index"] == index and index is not None), None)
        if known is None:
            known = {"index": index, "id": "", "function": {"name": "", "arguments": ""}}
            calls.append(known)
        known["id"] = piece.get("id") or known["id"]
        function = piece.get("function") or {}
        known["function"]["name"] += function.get("name") or ""
        known["function"]["arguments"] += function.get("arguments") or ""


def _request(prompt: Prompt, endpoint: Endpoint) -> dict[str, Any]:
    messages = [{"role": "system", "content": prompt.system}]
    for message in prompt.messages:
        messages += _messages(message)
    return {
        "model": endpoint.model, "max_completion_tokens": endpoint.bounds.output_tokens, "messages": messages,
        "tools": [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in prompt.tools
        ],
    }  # fmt: skip


def _messages(message: Message) -> list[dict[str, Any]]:
    match message:
        case Said(text=text):
            return [{"role": "user", "content": text}]
        case Results(results=results):
            return [
                {"role": "tool", "tool_call_id": one.id, "content": one.text if one.ok else f"error: {one.text}"}
                for one in results
            ]
        case Reply(text=text, calls=calls):
            answer: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "(no answer)")}
            if calls:
                answer["tool_calls"] = [
                    {
                        "id": call.id, "type": "function",
                        "function": {"name": call.tool, "arguments": json.dumps(call.arguments or {})},
                    }
                    for call in calls
                ]  # fmt: skip
            return [answer]
